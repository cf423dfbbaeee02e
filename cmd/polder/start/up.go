package start

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"polder.dev/polder/agent"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/cmd/polder/cli"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// stopTimeout is how long tasks have to end when everything stops.
const stopTimeout = 30 * time.Second

// Up runs a server and agents on slices of this machine until ctx ends, then stops the tasks, the agents and the server. The
// tasks come back to the queue: the next Up with the same directory continues where this one was.
func Up(ctx context.Context, s cli.Streams, o cli.UpOptions) error {
	defer outliveReaders()()
	if o.Simulate > 0 {
		return upSimulated(ctx, s, o)
	}
	began := time.Now()
	p, err := newPool(ctx, s, o, slog.LevelWarn)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "The pool is up after %.1fs: a server on %s and %d nodes, each with %s.\n", time.Since(began).Seconds(), p.addr, len(p.machines), p.slice)
	if !p.engine {
		fmt.Fprintln(s.Out, "No container engine answers; tasks run as processes. Install docker.io and start it for containers.")
	}
	p.explain(s, o)
	select {
	case <-ctx.Done():
	case err = <-p.failed:
	}
	fmt.Fprintf(s.Out, "\nStopping tasks, agents and the server; tasks have %v. The next \"polder up\" continues from here.\n"+
		"Ctrl-C again stops waiting for tasks and lets them run.\n", stopTimeout)
	if err = errors.Join(err, p.stop()); err == nil {
		fmt.Fprintln(s.Out, "Everything has stopped.")
	}
	return err
}

// pool is a server with agents in this process.
type pool struct {
	dir      string
	addr     string
	slice    resource.Resources
	engine   bool
	machines []*machine
	failed   chan error // the first thing that ended by itself

	serving, working sync.WaitGroup
	stopServer       context.CancelFunc
	level            *slog.LevelVar // of everything's log
	stopAgents       context.CancelFunc
}

// newPool starts everything and waits until every node is ready.
func newPool(ctx context.Context, s cli.Streams, o cli.UpOptions, level slog.Level) (*pool, error) {
	if err := os.MkdirAll(o.Dir, 0o711); err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	whole, err := agent.Detect(o.Dir)
	if err != nil {
		return nil, err
	}
	p := &pool{dir: o.Dir, failed: make(chan error, 1), slice: slicesOf(whole, o.Agents), level: new(slog.LevelVar)}
	p.level.Set(level)
	log := logger(s, p.level)
	if err := p.serve(ctx, o, log, firstPlan(p.slice, o.Agents)); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	if err := p.work(ctx, o, log); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// slicesOf divides a machine by n.
func slicesOf(whole resource.Resources, n int) resource.Resources {
	out := resource.Resources{}
	for name, a := range whole {
		out[name] = round(name, a.MulDiv(1, int64(n)))
	}
	return out
}

// round makes an amount of bytes whole Mi, which read better.
func round(name string, a resource.Amount) resource.Amount {
	if resource.Scale(name) == 1 {
		a -= a % (1 << 20)
	}
	return a
}

// firstPlan is a plan to try things with: online is guaranteed 60 % of the pool and lends it, offline borrows. Volumes are kept inside a
// role's guarantee, so online and default have a fifth of the disk each.
func firstPlan(slice resource.Resources, n int) *role.Plan {
	guarantee := resource.Resources{}
	for _, name := range []string{"cpu", "memory"} {
		guarantee[name] = round(name, slice[name].MulDiv(int64(6*n), 10))
	}
	disk := round("disk", slice["disk"].MulDiv(int64(n), 5))
	guarantee["disk"] = disk
	lend, notice := role.Duration(30*time.Second), role.Duration(15*time.Second)
	return &role.Plan{Roles: map[string]role.RoleSpec{
		"online":  {Guarantee: guarantee, LendGrace: &lend},
		"offline": {ReclaimGrace: &notice},
		"default": {Guarantee: resource.Resources{"disk": disk}},
	}}
}

// serve starts the server and waits until it leads.
func (p *pool) serve(ctx context.Context, o cli.UpOptions, log *slog.Logger, first *role.Plan) error {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.stopServer = cancel
	ready := make(chan string, 1)
	ended := make(chan error, 1)
	p.serving.Go(func() {
		ended <- runServer(life, log, cli.ServerOptions{Dir: p.dir, Listen: o.Listen, Store: "embedded", Mesos: o.Mesos, Docker: o.Docker, DockerSocket: true, OneMachine: true}, first, func(addr string) { ready <- addr })
	})
	select {
	case p.addr = <-ready:
		p.serving.Go(func() { p.watch(life, <-ended, "server") })
		return nil
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watch reports something that ended although it was not told to.
func (p *pool) watch(life context.Context, err error, what string) {
	if life.Err() != nil {
		return
	}
	select {
	case p.failed <- fmt.Errorf("the %s ended: %w", what, err):
	default:
	}
}

// work starts the agents and waits until their nodes are ready.
func (p *pool) work(ctx context.Context, o cli.UpOptions, log *slog.Logger) error {
	api, err := dialAdmin(p.dir, p.addr)
	if err != nil {
		return err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.stopAgents = cancel
	for i := range o.Agents {
		if err := p.workOne(ctx, life, o, log, api, i); err != nil {
			return err
		}
	}
	return p.await(ctx, api)
}

func (p *pool) workOne(ctx, life context.Context, o cli.UpOptions, log *slog.Logger, api *apiClient, i int) error {
	name := fmt.Sprintf("node-%d", i+1)
	token, err := api.joinToken(ctx, name)
	if err != nil {
		return err
	}
	ports, err := resource.ParsePorts(fmt.Sprintf("%d-%d", 31000+i*500, 31499+i*500))
	if err != nil {
		return err
	}
	m, err := newMachine(ctx, log, cli.AgentOptions{
		Server: p.addr, Token: token, Dir: filepath.Join(p.dir, "agents", name), Node: name, Capacity: p.slice, Ports: ports,
		Attributes: map[string]string{"slice": fmt.Sprint(i + 1)}, Mounts: o.Mounts, TaskUser: o.TaskUser, Runtimes: o.Runtimes, DockerHost: o.DockerHost,
		Kube: kubeFile(o),
	})
	if err != nil {
		return err
	}
	p.machines = append(p.machines, m)
	for _, r := range m.runtimes {
		p.engine = p.engine || r.Name() == "docker"
	}
	p.working.Go(func() { p.watch(life, m.agent.Run(life), "agent of "+name) })
	return nil
}

// await polls until every node is ready: joining takes a few round trips.
func (p *pool) await(ctx context.Context, api *apiClient) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not every agent joined within a minute; see the log above"))
	defer cancel()
	for {
		list, err := api.nodes.List(ctx, connect.NewRequest(&polderv1.NodeServiceListRequest{State: "ready"}))
		if err == nil && len(list.Msg.Nodes) >= len(p.machines) {
			return nil
		}
		select {
		case err := <-p.failed:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop ends the server, then the tasks, then the agents. The server goes first so that it does not start again what the agents
// stop; it learns from them what ended when it is back.
func (p *pool) stop() error {
	p.level.Set(slog.LevelError + 1) // that the others are gone is no news now
	if p.stopServer != nil {
		p.stopServer()
	}
	p.serving.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	ctx, cancelAgain := orderedAgain(ctx)
	defer cancelAgain()
	errs := make([]error, len(p.machines))
	var stopping sync.WaitGroup
	for i, m := range p.machines {
		stopping.Go(func() { errs[i] = m.agent.StopAll(ctx) })
	}
	stopping.Wait()
	if p.stopAgents != nil {
		p.stopAgents()
	}
	p.working.Wait()
	for _, m := range p.machines {
		m.close()
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w. They go on without an agent: start \"polder up\" with the same --dir again, it takes them over, and \"polder kill --force TASK\" stops one", err)
	}
	return nil
}

// explain prints how to reach the pool and what to try.
func (p *pool) explain(s cli.Streams, o cli.UpOptions) {
	dir, err := filepath.Abs(p.dir)
	if err != nil {
		dir = p.dir
	}
	exe, err := os.Executable()
	if err != nil {
		exe = "polder"
	}
	if o.Mesos != "" {
		fmt.Fprintln(s.Out, "Mesos clients connect as \"polder door env mesos\" says.")
	}
	cpu := resource.FormatValue("cpu", p.slice["cpu"].MulDiv(8, 10)/100*100)
	fmt.Fprintf(s.Out, `
  address  https://%s
  console  https://%[1]s/   "polder console" prints a link that logs you in
  token    %s
  context  %s

Three things to try in another terminal:

  export POLDER_CONTEXT=%[3]s PATH=%[4]s:$PATH

  1. Let offline borrow what online does not use:
       polder ask submit --name batch --role offline --count %[5]d --cpu %[6]s -- sh -c 'while :; do sleep 1; done'
       polder role tree
  2. Let online ask for what it is guaranteed; offline is told, and leaves in time:
       polder run --name web --role online --cpu %[6]s --wait -- sh -c 'echo serving; sleep 10'
       polder notice list --all
  3. Ask why something waits, and see what happened:
       polder why batch
       polder event

Ctrl-C stops everything.
`, p.addr, filepath.Join(dir, adminTokenFile), filepath.Join(dir, contextFile), filepath.Dir(exe), len(p.machines), cpu)
}

// joinToken makes a token for one node.
func (a *apiClient) joinToken(ctx context.Context, name string) (string, error) {
	res, err := a.access.CreateToken(ctx, connect.NewRequest(&polderv1.CreateTokenRequest{Kind: "join", Name: name, ValidFor: durationpb.New(10 * time.Minute)}))
	if err != nil {
		return "", fmt.Errorf("join token for %s: %w", name, err)
	}
	return res.Msg.Secret, nil
}
