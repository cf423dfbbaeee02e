package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// specFlags are the flags that describe an ask.
type specFlags struct {
	ask  polderv1.AskSpec
	task polderv1.TaskSpec

	resourceFlags
	env, mounts, volumes                     []string
	ports, labels                            []string
	spread                                   []string
	noPreempt, noRequeue                     bool
	grace, minRuntime, maxRuntime, killGrace time.Duration
	restart, killSignal                      string
	notice                                   polderv1.NoticeDelivery
	health                                   polderv1.HealthCheck
	healthCommand                            string
	healthInterval, healthTimeout            time.Duration
	healthStart                              time.Duration
}

// register defines the flags; count and gang only where many tasks are meant.
func (s *specFlags) register(a *app, cmd *cobra.Command, many bool) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&s.ask.Role, "role", "", "`role` it runs for (required)")
	f.StringVar(&s.ask.Name, "name", "", "`prefix` of its id: lower-case letters, digits and '-'")
	if many {
		f.Uint32Var(&s.ask.Count, "count", 1, "`number` of tasks")
		f.BoolVar(&s.ask.Gang, "gang", false, "start all tasks together or none")
		f.BoolVar(&s.task.Exclusive, "exclusive", false, "never two of its tasks on one node")
		f.StringArrayVar(&s.spread, "spread", nil, "spread tasks over an `attribute` (or node), as in zone, zone=1 or zone=1,required; repeatable")
	}
	s.resourceFlags.register(f)
	s.registerProgram(f)
	s.registerPlace(f)
	s.registerLife(f)
	a.completeFlag(cmd, "role", roleNames)
	a.completeFlag(cmd, "reservation", reservationNames)
	complete(cmd, "runtime", "docker", "process")
	complete(cmd, "restart", "never", "on-failure", "always")
}

func (s *specFlags) registerProgram(f *pflag.FlagSet) {
	f.StringVar(&s.task.Image, "image", "", "container `image`")
	f.StringVar(&s.task.Runtime, "runtime", "", "`runtime`: docker or process (default docker with an image, process without)")
	f.StringArrayVar(&s.env, "env", nil, "environment variable, `NAME=value`; repeatable")
	f.StringVar(&s.task.WorkDir, "workdir", "", "working `directory`")
	f.StringVar(&s.task.User, "user", "", "`user` it runs as: name or uid[:gid]")
	f.StringArrayVar(&s.mounts, "mount", nil, "host directory inside the task, `source:target[:ro]`; repeatable")
	f.StringArrayVar(&s.volumes, "volume", nil, "volume inside the task, which runs on its node then, `name:target[:ro]`; repeatable")
	f.StringArrayVar(&s.ports, "port", nil, "host port, `name[=host][:container][/udp]`; without host Polder chooses and sets $POLDER_PORT_<NAME>; repeatable")
	f.BoolVarP(&s.task.Stdin, "stdin", "i", false, "keep its input open, to be attached to")
	f.BoolVarP(&s.task.Tty, "tty", "t", false, "give it a terminal, to be attached to")
	f.StringArrayVar(&s.labels, "label", nil, "label, `key=value`; repeatable")
}

func (s *specFlags) registerPlace(f *pflag.FlagSet) {
	f.StringVar(&s.task.Reservation, "reservation", "", "`reservation` of its role that it is carved out of: it runs on that one's node, and is never taken back")
	f.StringVar(&s.task.Pool, "pool", "", "`pool` whose nodes may run it (default the default pool)")
	f.StringArrayVar(&s.task.Constraints, "constraint", nil, "node attribute it needs, as in `zone==a` or \"rack in (r1,r2)\"; repeatable")
	f.Int32Var(&s.task.Priority, "priority", 0, "order inside the role, a `number`; higher goes first")
	f.BoolVar(&s.noPreempt, "no-preempt", false, "never take it back: it runs only on its own role's guarantee")
	f.BoolVar(&s.noRequeue, "no-requeue", false, "do not put it back into the queue after a reclaim or a lost node")
	f.DurationVar(&s.grace, "grace", 0, "notice before a reclaim, at most the role's (default the role's)")
	f.DurationVar(&s.minRuntime, "min-runtime", 0, "undisturbed time after starting, at most the role's (default the role's)")
}

func (s *specFlags) registerLife(f *pflag.FlagSet) {
	f.StringVar(&s.notice.Http, "notice-http", "", "`URL` that gets a notice as a JSON POST; {port:NAME} is the host port of that name")
	f.StringVar(&s.notice.Signal, "notice-signal", "", "`signal` that tells it about a notice, as in SIGUSR1")
	f.StringVar(&s.healthCommand, "health-cmd", "", "shell `command` that succeeds while it is healthy")
	f.StringVar(&s.health.Http, "health-http", "", "`URL` that answers while it is healthy; {port:NAME} as above")
	f.StringVar(&s.health.Tcp, "health-tcp", "", "`host:port` that accepts while it is healthy; {port:NAME} as above")
	f.DurationVar(&s.healthInterval, "health-interval", 0, "time between health checks (default 10s)")
	f.DurationVar(&s.healthTimeout, "health-timeout", 0, "longest one health check may take (default 5s)")
	f.Uint32Var(&s.health.Failures, "health-failures", 0, "`number` of failed checks in a row that make it unhealthy (default 3)")
	f.DurationVar(&s.healthStart, "health-start-period", 0, "time after starting in which failed checks do not count")
	f.StringVar(&s.killSignal, "kill-signal", "", "first `signal` when it is stopped (default SIGTERM)")
	f.DurationVar(&s.killGrace, "kill-grace", 0, "time between that signal and SIGKILL (default 10s)")
	f.DurationVar(&s.maxRuntime, "max-runtime", 0, "end it as failed after this long")
	f.StringVar(&s.restart, "restart", "", "`policy` for when it ends by itself: never, on-failure[:N] or always (default never)")
}

// spec checks the flags and builds the ask. Errors name the flag.
func (s *specFlags) spec(command []string) (*polderv1.AskSpec, error) {
	if s.ask.Role == "" {
		return nil, fmt.Errorf("which role? Give --role")
	}
	if len(command) == 0 && s.task.Image == "" {
		return nil, fmt.Errorf("nothing to run: give a command after -- or an --image")
	}
	ask := proto.Clone(&s.ask).(*polderv1.AskSpec)
	ask.Task = proto.Clone(&s.task).(*polderv1.TaskSpec)
	ask.Task.Command = command
	steps := []func(*polderv1.TaskSpec) error{s.setResources, s.setMaps, s.setLists, s.setReclaim, s.setHealth, s.setEnd}
	for _, step := range steps {
		if err := step(ask.Task); err != nil {
			return nil, err
		}
	}
	return ask, nil
}

func (s *specFlags) setResources(t *polderv1.TaskSpec) (err error) {
	t.Resources, err = s.read()
	return err
}

func (s *specFlags) setMaps(t *polderv1.TaskSpec) error {
	var err error
	if t.Env, err = keyValues("--env", s.env); err != nil {
		return err
	}
	t.Labels, err = keyValues("--label", s.labels)
	return err
}

func (s *specFlags) setLists(t *polderv1.TaskSpec) error {
	for _, text := range s.mounts {
		m, err := parseMount("--mount", "source", text)
		if err != nil {
			return err
		}
		t.Mounts = append(t.Mounts, m)
	}
	for _, text := range s.volumes {
		m, err := parseMount("--volume", "name", text)
		if err != nil {
			return err
		}
		m.Volume, m.Source = m.Source, ""
		t.Mounts = append(t.Mounts, m)
	}
	for _, text := range s.ports {
		p, err := parsePort(text)
		if err != nil {
			return err
		}
		t.Ports = append(t.Ports, p)
	}
	for _, text := range s.spread {
		p, err := parseSpread(text)
		if err != nil {
			return err
		}
		t.Spread = append(t.Spread, p)
	}
	return nil
}

func (s *specFlags) setReclaim(t *polderv1.TaskSpec) error {
	if s.noPreempt {
		t.Preemptible = proto.Bool(false)
	}
	if s.noRequeue {
		t.Requeue = proto.Bool(false)
	}
	t.ReclaimGrace, t.MinRuntime = given(s.grace), given(s.minRuntime)
	if s.notice.Http != "" || s.notice.Signal != "" {
		t.Notice = proto.Clone(&s.notice).(*polderv1.NoticeDelivery)
	}
	return nil
}

func (s *specFlags) setHealth(t *polderv1.TaskSpec) error {
	ways := 0
	for _, w := range []string{s.healthCommand, s.health.Http, s.health.Tcp} {
		if w != "" {
			ways++
		}
	}
	tuned := s.healthInterval != 0 || s.healthTimeout != 0 || s.healthStart != 0 || s.health.Failures != 0
	switch {
	case ways > 1:
		return fmt.Errorf("give one of --health-cmd, --health-http and --health-tcp")
	case ways == 0 && tuned:
		return fmt.Errorf("the --health flags need --health-cmd, --health-http or --health-tcp")
	case ways == 0:
		return nil
	}
	t.Health = proto.Clone(&s.health).(*polderv1.HealthCheck)
	if s.healthCommand != "" {
		t.Health.Command = []string{"/bin/sh", "-c", s.healthCommand}
	}
	t.Health.Interval, t.Health.Timeout, t.Health.StartPeriod = given(s.healthInterval), given(s.healthTimeout), given(s.healthStart)
	return nil
}

func (s *specFlags) setEnd(t *polderv1.TaskSpec) error {
	t.MaxRunTime = given(s.maxRuntime)
	if s.killSignal != "" || s.killGrace != 0 {
		t.Kill = &polderv1.KillPolicy{Signal: s.killSignal, Grace: given(s.killGrace)}
	}
	if s.restart == "" {
		return nil
	}
	policy, attempts, bounded := strings.Cut(s.restart, ":")
	t.Restart = &polderv1.RestartPolicy{Policy: policy}
	if !slices.Contains([]string{"never", "on-failure", "always"}, policy) || bounded && policy != "on-failure" {
		return fmt.Errorf("--restart %q: choose never, on-failure[:N] or always", s.restart)
	}
	if bounded {
		n, err := strconv.ParseUint(attempts, 10, 32)
		if err != nil || n == 0 {
			return fmt.Errorf("--restart %q: the number after on-failure is 1 or more", s.restart)
		}
		t.Restart.MaxAttempts = uint32(n)
	}
	return nil
}

// given is nil for a duration that was not given.
func given(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// keyValues reads "a=1" "b=2"; the values may be empty, the keys not, and none twice.
func keyValues(what string, texts []string) (map[string]string, error) {
	var out map[string]string
	for _, t := range texts {
		k, v, ok := strings.Cut(t, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("%s %q: write key=value", what, t)
		}
		if _, dup := out[k]; dup {
			return nil, fmt.Errorf("%s: %s is given twice", what, k)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[k] = v
	}
	return out, nil
}

// parseMount reads "source:target[:ro|rw]".
func parseMount(flag, source, text string) (*polderv1.Mount, error) {
	p := strings.Split(text, ":")
	mode := "rw"
	if len(p) == 3 {
		mode = p[2]
	}
	if len(p) < 2 || len(p) > 3 || p[0] == "" || p[1] == "" || mode != "ro" && mode != "rw" {
		return nil, fmt.Errorf("%s %q: write %s:target or %s:target:ro", flag, text, source, source)
	}
	return &polderv1.Mount{Source: p[0], Target: p[1], ReadOnly: mode == "ro"}, nil
}

// parsePort reads "name[=host][:container][/tcp|udp]".
func parsePort(text string) (*polderv1.Port, error) {
	rest, protocol, _ := strings.Cut(text, "/")
	rest, container, hasContainer := strings.Cut(rest, ":")
	name, host, hasHost := strings.Cut(rest, "=")
	h, errHost := portNumber(host, hasHost)
	c, errContainer := portNumber(container, hasContainer)
	if name == "" || errHost != nil || errContainer != nil || !slices.Contains([]string{"", "tcp", "udp"}, protocol) {
		return nil, fmt.Errorf("--port %q: write name, name=8080, name:80 or name=8080:80, with /udp where needed", text)
	}
	return &polderv1.Port{Name: name, HostPort: h, ContainerPort: c, Protocol: protocol}, nil
}

func portNumber(text string, present bool) (uint32, error) {
	if !present {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err == nil && n == 0 {
		err = strconv.ErrRange
	}
	return uint32(n), err
}

// parseSpread reads "attribute[=skew][,required]".
func parseSpread(text string) (*polderv1.Spread, error) {
	rest, required := strings.CutSuffix(text, ",required")
	attribute, skew, hasSkew := strings.Cut(rest, "=")
	n := uint64(1)
	var err error
	if hasSkew {
		n, err = strconv.ParseUint(skew, 10, 32)
	}
	if err != nil || n == 0 || attribute == "" || strings.Contains(attribute, ",") {
		return nil, fmt.Errorf("--spread %q: write zone, zone=1 or zone=1,required", text)
	}
	return &polderv1.Spread{Attribute: attribute, MaxSkew: uint32(n), Required: required}, nil
}
