package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// Options say what a pool is like. All but Plan and DockerHost are needed.
type Options struct {
	Dir      string
	Programs Programs
	Agents   int
	Capacity string // of each node, as in cpu=1,memory=1Gi
	Runtime  string
	// DockerHost is where the engine of runtime docker answers; DockerHosts is that for each agent, where they have engines of their own.
	DockerHost  string
	DockerHosts []string
	// Via is the address at which an agent reaches the server; nil is the server's own.
	Via  func(agent int, server string) string
	Plan string // YAML
	// ServerFlags are further flags of the server.
	ServerFlags []string
	// Standby starts a second server with the same flags, which must name a store that servers share.
	Standby bool
}

// Pool is a server with agents, each a process of its own.
type Pool struct {
	Server *Process
	// Standby is the second server, where there is one.
	Standby *Process
	servers [2]string // directories
	Agents  []*Process
	Nodes   []string // the agents' names, in their order
	API     *API
	worker  string
	program string
	bare    bool // no image: processes of this machine
	dir     string
}

// Open starts a pool and returns when every node is ready. On an error nothing is left running.
func Open(ctx context.Context, o Options) (*Pool, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("the pool was not ready in two minutes"))
	defer cancel()
	p := &Pool{worker: o.Programs.Worker, program: o.Programs.Polder, bare: o.Runtime == "process", dir: o.Dir}
	err := p.serve(ctx, o)
	for i := 0; err == nil && i < o.Agents; i++ {
		err = p.join(ctx, o, i)
	}
	if err == nil {
		err = p.AwaitNodes(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close(), p.tails())
	}
	return p, nil
}

// serve starts the server on a free port, which it keeps over restarts, and puts the plan in force.
func (p *Pool) serve(ctx context.Context, o Options) error {
	addr, err := freeAddress()
	if err != nil {
		return err
	}
	dir := filepath.Join(o.Dir, "server")
	argv := append([]string{o.Programs.Polder, "server", "--dir", dir, "--listen", addr}, o.ServerFlags...)
	p.Server, p.servers[0] = newProcess("server", filepath.Join(o.Dir, "server.log"), argv...), dir
	if err := p.Server.Start(); err != nil {
		return err
	}
	err = Retry(ctx, func(context.Context) (err error) {
		if p.Server.PID() == 0 {
			return errors.New("the server ended")
		}
		p.API, err = dial(dir)
		return err
	})
	if err == nil && o.Standby {
		err = p.standBy(o)
	}
	if err != nil || o.Plan == "" {
		return err
	}
	return p.API.apply(ctx, o.Plan)
}

// standBy starts the second server, with the certificate authority of the first.
func (p *Pool) standBy(o Options) error {
	addr, err := freeAddress()
	if err != nil {
		return err
	}
	dir := filepath.Join(o.Dir, "standby")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if _, err := run(exec.Command("cp", "-a", filepath.Join(p.servers[0], "ca"), dir)); err != nil {
		return err
	}
	argv := append([]string{o.Programs.Polder, "server", "--dir", dir, "--listen", addr}, o.ServerFlags...)
	p.Standby, p.servers[1] = newProcess("standby", filepath.Join(o.Dir, "standby.log"), argv...), dir
	return p.Standby.Start()
}

// Failover kills the server that leads, waits until the other one does, and starts the killed one again to stand by.
func (p *Pool) Failover(ctx context.Context) error {
	token, err := os.ReadFile(filepath.Join(p.servers[0], "admin.token"))
	if err != nil {
		return err
	}
	p.Server.Kill()
	if err := os.WriteFile(filepath.Join(p.servers[1], "admin.token"), token, 0o600); err != nil {
		return err
	}
	p.Server, p.Standby = p.Standby, p.Server
	p.servers[0], p.servers[1] = p.servers[1], p.servers[0]
	err = Retry(ctx, func(ctx context.Context) (err error) {
		if p.Server.PID() == 0 {
			return errors.New("the second server ended: " + p.Server.Tail())
		}
		if p.API, err = dial(p.servers[0]); err == nil {
			_, err = p.API.ReadyNodes(ctx)
		}
		return err
	})
	return errors.Join(err, p.Standby.Start())
}

func (p *Pool) join(ctx context.Context, o Options, i int) error {
	// Names are this story's own: the cgroups of a node are named by it.
	node := fmt.Sprintf("e2e-%d-%d", os.Getpid(), i+1)
	token, err := p.API.joinToken(ctx, node)
	if err != nil {
		return err
	}
	file := filepath.Join(o.Dir, node+".token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		return err
	}
	server := address(p.Server)
	if p.Standby != nil {
		server += "," + address(p.Standby)
	}
	if o.Via != nil {
		server = o.Via(i, server)
	}
	host := o.DockerHost
	if len(o.DockerHosts) > 0 {
		host = o.DockerHosts[i]
	}
	argv := []string{o.Programs.Polder, "agent", "--server", server, "--token-file", file, "--node", node,
		"--dir", filepath.Join(o.Dir, node), "--capacity", o.Capacity, "--runtime", o.Runtime, "--task-user", "root"}
	if host != "" {
		argv = append(argv, "--docker-host", host, "--allow-mount", o.Dir)
	}
	a := newProcess(node, filepath.Join(o.Dir, node+".log"), argv...)
	p.Agents, p.Nodes = append(p.Agents, a), append(p.Nodes, node)
	return a.Start()
}

// Polder runs the command line as the administrator, who knows both servers, and returns what it prints.
func (p *Pool) Polder(ctx context.Context, args ...string) (string, error) {
	addresses := address(p.Server)
	if p.Standby != nil {
		addresses = address(p.Standby) + "," + addresses
	}
	cmd := exec.CommandContext(ctx, p.program, args...)
	cmd.Env = append(os.Environ(), "POLDER_ADDR="+addresses, "POLDER_CONTEXT="+filepath.Join(p.servers[0], "context.yaml"))
	return run(cmd)
}

func address(server *Process) string {
	for i, arg := range server.argv {
		if arg == "--listen" {
			return server.argv[i+1]
		}
	}
	return ""
}

// freeAddress is one on loopback where nobody listens now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// AwaitNodes waits until every node is ready.
func (p *Pool) AwaitNodes(ctx context.Context) error {
	return Retry(ctx, func(ctx context.Context) error {
		n, err := p.API.ReadyNodes(ctx)
		if err == nil && n < len(p.Nodes) {
			err = fmt.Errorf("%d of %d nodes are ready", n, len(p.Nodes))
		}
		return err
	})
}

// Close ends the agents and the server. Tasks go on: end them before.
func (p *Pool) Close() error {
	var errs []error
	for _, a := range p.Agents {
		errs = append(errs, a.Stop())
	}
	for _, s := range []*Process{p.Server, p.Standby} {
		if s != nil {
			errs = append(errs, s.Stop())
		}
	}
	return errors.Join(errs...)
}

// tails is what the processes said last, as an error.
func (p *Pool) tails() error {
	var b strings.Builder
	for _, x := range append([]*Process{p.Server, p.Standby}, p.Agents...) {
		if x != nil {
			fmt.Fprintf(&b, "--- %s\n%s\n", x.Name, x.Tail())
		}
	}
	return errors.New(b.String())
}

// Worker is a task that runs the worker program; see its package for what env says. A container has the whole of
// the pool's directory at the same place.
func (p *Pool) Worker(env map[string]string, cpu string) *polderv1.TaskSpec {
	spec := &polderv1.TaskSpec{Command: []string{p.worker}, Env: env, Resources: map[string]string{"cpu": cpu}}
	if !p.bare {
		spec.Image = Image
		spec.Mounts = []*polderv1.Mount{
			{Source: p.dir, Target: p.dir},
		}
	}
	return spec
}

// Image is the image that engine.sh makes.
const Image = "polder/busybox"
