package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"polder.dev/polder/agent/checkpoint"
	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/core/resource"
)

// Config is everything an agent is told. Node, Dir, at least one runtime, and Server or Link are needed.
type Config struct {
	// Node is the machine's name in the cluster; it also names its certificate.
	Node string
	// Dir holds the checkpoint, the credentials and the tasks' sandboxes. One agent at a time.
	Dir string
	// Server is where the server answers, as host:port or https://host:port; several of one cluster have commas between
	// them, and are tried in turn. There is no other way than TLS.
	Server string
	// Token is a join token. It is needed until the agent has its certificate and ignored from then on.
	Token string
	// Attributes are what constraints and pool selectors look at, such as zone=a.
	Attributes map[string]string
	// Capacity by kind, without a pool. What is missing of cpu, memory and disk is detected; see [Detect].
	Capacity resource.Resources
	// GPUs are the machine's GPUs that tasks may have, as the engine and the driver call them, by number or UUID. Empty are the first
	// ones, as many as Capacity has; it has as many as are named here unless it says so itself.
	GPUs []string
	// Ports are the host ports tasks may hold; empty is none.
	Ports resource.PortSet
	// Mounts are the host directories that tasks may mount, with all below them; empty is none.
	Mounts []string
	// Runtimes start the tasks. The agent uses them until Run returns and does not close them.
	Runtimes []runtime.Runtime
	// Version is shown to people.
	Version string
	// Logger gets what happens; nil is silence.
	Logger *slog.Logger
	// Clock is nil for the machine's own.
	Clock Clock
	// Jitter spreads a waiting time so that agents do not come all at once; nil is between half of it and all of it.
	Jitter func(time.Duration) time.Duration
	// Link is how the agent reaches its server; nil joins and dials Server.
	Link Link
	// KeepEnded is how long logs and sandbox of an ended task stay after the server knows its end (default 1h). There
	// are never more than 200 such tasks.
	KeepEnded time.Duration
	// Checkpoint changes where the journal's bytes go; the zero value is the disk.
	Checkpoint checkpoint.Options
}

// resolve checks c and fills in the defaults.
func (c Config) resolve() (Config, error) {
	if err := c.check(); err != nil {
		return c, fmt.Errorf("agent: %w", err)
	}
	var err error
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return c, fmt.Errorf("agent: directory %q: %w", c.Dir, err)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With("node", c.Node)
	if c.Clock == nil {
		c.Clock = newSystemClock()
	}
	if c.Jitter == nil {
		c.Jitter = func(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
	}
	if c.KeepEnded <= 0 {
		c.KeepEnded = time.Hour
	}
	return c, nil
}

// servers are the URLs of the servers in a list.
func servers(list string) []string {
	urls := strings.Split(list, ",")
	for i, u := range urls {
		if u = strings.TrimSpace(u); !strings.Contains(u, "://") {
			u = "https://" + u
		}
		urls[i] = u
	}
	return urls
}

func (c Config) check() error {
	switch {
	case !runtime.ValidTaskID(c.Node):
		return fmt.Errorf("node name %q: use letters, digits, '.', '-' and '_'", c.Node)
	case c.Dir == "":
		return errors.New("no directory is given")
	case c.Server == "" && c.Link == nil:
		return errors.New("no server is given; name one as host:port")
	case len(c.Runtimes) == 0:
		return errors.New("no runtime is given: this machine could start nothing; use process or docker")
	}
	for _, url := range servers(c.Server) {
		if host := strings.TrimPrefix(url, "https://"); c.Server != "" && (host == "" || strings.Contains(host, "://")) {
			return fmt.Errorf("server %q: only https is spoken; name it as host:port", c.Server)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Attributes)) {
		if !resource.ValidName(name) {
			return fmt.Errorf("attribute %q: use lower-case letters, digits, '-', '_' and '.', starting with a letter", name)
		}
	}
	for _, name := range c.Capacity.Names() {
		if pool, _ := resource.SplitName(name); pool != "" {
			return fmt.Errorf("capacity %q: the plan decides the pool; give the kind alone", name)
		}
	}
	if err := c.checkGPUs(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, r := range c.Runtimes {
		if seen[r.Name()] {
			return fmt.Errorf("runtime %s is given twice", r.Name())
		}
		seen[r.Name()] = true
	}
	return nil
}

var gpuID = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.:-]*$`)

func (c Config) checkGPUs() error {
	for i, id := range c.GPUs {
		if !gpuID.MatchString(id) || slices.Contains(c.GPUs[:i], id) {
			return fmt.Errorf("GPU %q: name each once, by its number or UUID, as in nvidia-smi -L", id)
		}
	}
	if most := resource.Amount(len(c.GPUs)) * resource.Milli; len(c.GPUs) > 0 && c.Capacity["gpu"] > most {
		return fmt.Errorf("capacity gpu=%s, but %d GPUs are named", resource.FormatValue("gpu", c.Capacity["gpu"]), len(c.GPUs))
	}
	return nil
}
