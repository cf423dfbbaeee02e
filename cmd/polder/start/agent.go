package start

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"polder.dev/polder/agent"
	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/cgroup"
	"polder.dev/polder/agent/runtime/docker"
	"polder.dev/polder/agent/runtime/process"
	"polder.dev/polder/cmd/polder/cli"
)

// Agent runs an agent until ctx ends. Its tasks go on; the next agent takes them over.
func Agent(ctx context.Context, s cli.Streams, o cli.AgentOptions) error {
	defer outliveReaders()()
	m, err := newMachine(ctx, logger(s, slog.LevelInfo), o)
	if err != nil {
		return err
	}
	defer m.close()
	fmt.Fprintf(s.Out, "Agent of node %s: server %s, directory %s\n", m.node, o.Server, o.Dir)
	return m.agent.Run(ctx)
}

// machine is an agent with the runtimes it owns.
type machine struct {
	node     string
	agent    *agent.Agent
	runtimes []runtime.Runtime
	tree     *cgroup.Tree
}

// newMachine opens the runtimes and makes the agent. Nothing runs yet.
func newMachine(ctx context.Context, log *slog.Logger, o cli.AgentOptions) (*machine, error) {
	if o.Node == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("node name: %w; give one with --node", err)
		}
		o.Node = name
	}
	var err error
	if o.Dir, err = filepath.Abs(o.Dir); err != nil { // tasks start in other directories
		return nil, fmt.Errorf("agent directory: %w", err)
	}
	if err := os.MkdirAll(o.Dir, 0o711); err != nil {
		return nil, fmt.Errorf("agent directory: %w", err)
	}
	m := &machine{node: o.Node, tree: cgroup.Open(cgroup.Root, o.Node)}
	if err := m.openRuntimes(ctx, log, o); err != nil {
		m.close()
		return nil, err
	}
	m.agent, err = agent.New(agent.Config{
		Node: o.Node, Dir: o.Dir, Server: o.Server, Token: o.Token, Attributes: o.Attributes, Capacity: o.Capacity,
		GPUs: o.GPUs, Ports: o.Ports, Mounts: o.Mounts, Runtimes: m.runtimes, Version: Version, Logger: log,
	})
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// openRuntimes opens the runtimes asked for. Without a wish it takes process, and docker where an engine answers.
func (m *machine) openRuntimes(ctx context.Context, log *slog.Logger, o cli.AgentOptions) error {
	wanted := o.Runtimes
	if len(wanted) == 0 {
		wanted = []string{"process", "docker"}
	}
	o.TaskUser = taskUser(log, o)
	for _, name := range wanted {
		r, err := openRuntime(ctx, name, m.tree, o)
		if err != nil && slices.Contains(o.Runtimes, name) {
			return err
		}
		if err != nil {
			log.Warn("runtime not available", "runtime", name, "reason", err)
			continue
		}
		m.runtimes = append(m.runtimes, r)
		m.notes(log, r)
	}
	if o.Kube == "" && o.Kubelet == "" {
		return nil
	}
	r, err := openKube(log, m.tree, o)
	if err != nil {
		return err
	}
	m.runtimes = append(m.runtimes, r)
	return nil
}

func openRuntime(ctx context.Context, name string, tree *cgroup.Tree, o cli.AgentOptions) (runtime.Runtime, error) {
	if name == "process" {
		return process.New(process.Options{StateDir: filepath.Join(o.Dir, "process"), Tree: tree, User: o.TaskUser})
	}
	r, err := docker.New(docker.Options{Host: o.DockerHost, Agent: o.Node, Tree: tree, State: filepath.Join(o.Dir, "docker")})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := r.Ping(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// taskUser is whom process tasks run as. An agent that is not root cannot choose, and a user that cannot get to the tasks'
// directories cannot run there.
func taskUser(log *slog.Logger, o cli.AgentOptions) string {
	if os.Geteuid() != 0 || o.TaskUser == "root" {
		return ""
	}
	for dir := o.Dir; ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode()&1 == 0 {
			log.Warn("process tasks run as root: their user cannot get to their directories; choose another --dir, or open it with chmod o+x",
				"user", o.TaskUser, "closed", dir)
			return ""
		}
		if dir == filepath.Dir(dir) {
			return o.TaskUser
		}
	}
}

// notes logs once what a runtime has to say about this machine.
func (m *machine) notes(log *slog.Logger, r runtime.Runtime) {
	if n, ok := r.(runtime.Noter); ok {
		for _, note := range n.Notes() {
			log.Info("runtime note", "node", m.node, "runtime", r.Name(), "note", note)
		}
	}
}

func (m *machine) close() {
	for _, r := range m.runtimes {
		r.Close()
	}
	m.tree.Close()
}
