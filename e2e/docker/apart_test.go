//go:build engines

package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/e2e/stage"
)

// machines are a pool of three nodes, each with an engine of its own, apart from the others, and a wire of its own to the server.
type machines struct {
	*client
	dirs    []string // of the engines
	engines []string // where they answer
	wires   []*wire
}

const machinesPlan = `cluster: {reclaimDelay: 100ms}
roles:
  default: {guarantee: {cpu: 3, memory: 3Gi}}
`

// newMachines makes them; capacity is that of each node.
func newMachines(t testing.TB, plan, capacity string) *machines {
	dir, remove, err := stage.TempDir("apart")
	must(t, err)
	t.Cleanup(func() { must(t, remove(t.Failed())) })
	m := &machines{dirs: make([]string, 3), engines: make([]string, 3), wires: make([]*wire, 3)}
	var starting errgroup.Group
	for i := range m.dirs {
		m.dirs[i] = filepath.Join(dir, fmt.Sprint("e", i+1))
		starting.Go(func() error {
			host, stop, err := stage.ApartEngine(t.Context(), m.dirs[i])
			m.engines[i] = host
			t.Cleanup(func() { must(t, stop()) })
			return err
		})
	}
	must(t, starting.Wait())
	programs, err := stage.Build(t.Context(), dir)
	must(t, err)
	pool, err := stage.Open(t.Context(), stage.Options{
		Dir: dir, Programs: programs, Agents: 3, Capacity: capacity, Runtime: "docker", DockerHosts: m.engines, Plan: plan,
		ServerFlags: []string{"--docker", freeDoor(t), "--node-lost-after", "40s"},
		Via: func(i int, server string) string {
			m.wires[i] = newWire(t, server)
			return m.wires[i].listener.Addr().String()
		},
	})
	must(t, err)
	t.Cleanup(func() { must(t, pool.Close()) })
	c := &client{t: t, env: append(os.Environ(), "POLDER_CONTEXT="+filepath.Join(dir, "server", "context.yaml")), dir: dir, tool: programs.Polder, pool: pool}
	m.client = c.configured("admin")
	return m
}

// freeDoor is an address that the door keeps when the server is started again.
func freeDoor(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// wire is a network between an agent and the server, which can be cut.
type wire struct {
	listener net.Listener
	server   string

	mu   sync.Mutex
	cut  bool
	open map[net.Conn]bool
}

func newWire(t testing.TB, server string) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w := &wire{listener: l, server: server, open: map[net.Conn]bool{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { w.carry(c) })
		}
	})
	t.Cleanup(func() { l.Close(); w.set(true); all.Wait() })
	return w
}

// carry carries one connection until either side ends or the wire is cut.
func (w *wire) carry(c net.Conn) {
	defer c.Close()
	far, err := net.Dial("tcp", w.server)
	if err != nil {
		return
	}
	defer far.Close()
	w.mu.Lock()
	cut := w.cut
	w.open[c], w.open[far] = true, true
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.open, c)
		delete(w.open, far)
	}()
	if cut {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { io.Copy(c, far); c.Close() })
	io.Copy(far, c)
	far.Close()
	back.Wait()
}

// set cuts the wire or mends it.
func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	for c := range w.open {
		if cut {
			c.Close()
		}
	}
}

// node is a constraint to one of the machines.
func (m *machines) node(i int) string { return "constraint:node==" + m.pool.Nodes[i] }

// signal sends a signal to an engine, with everything that belongs to it but its containers.
func (m *machines) signal(i int, sig syscall.Signal) {
	m.t.Helper()
	for _, name := range []string{"dockerd", "containerd"} {
		data, err := os.ReadFile(filepath.Join(m.dirs[i], name+".started"))
		must(m.t, err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		must(m.t, err)
		must(m.t, syscall.Kill(pid, sig))
		for sig == syscall.SIGKILL && !over(pid) {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// over reports whether a process has ended, reaped or not.
func over(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(data), ") Z ")
}

func (m *machines) startEngine(i int) {
	m.t.Helper()
	_, _, err := stage.ApartEngine(m.t.Context(), m.dirs[i])
	must(m.t, err)
}

// copies counts the containers of a name, running or not, that an engine itself knows.
func (m *machines) copies(i int, name string) int {
	m.t.Helper()
	direct := m.with(m.t, "DOCKER_HOST="+m.engines[i], "DOCKER_TLS_VERIFY=", "DOCKER_CONFIG=/nonexistent")
	return len(strings.Fields(direct.says("ps", "-aq", "--filter", "name=^/"+name+"$")))
}

// leases counts what the pool has leased.
func (m *machines) leases() int {
	m.t.Helper()
	res, err := m.pool.API.Tasks.List(m.t.Context(), connect.NewRequest(&polderv1.TaskServiceListRequest{}))
	must(m.t, err)
	return len(res.Msg.Tasks)
}

// steady waits until a container runs, once, on one engine, with the only lease there is.
func (m *machines) steady(name string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	must(m.t, stage.Retry(ctx, func(context.Context) error {
		if out, _ := m.docker("ps", "--filter", "name="+name, "--format", "{{.State}}"); strings.TrimSpace(out) != "running" {
			return fmt.Errorf("%s is %q", name, out)
		}
		if n := m.leases(); n != 1 {
			return fmt.Errorf("%d leases", n)
		}
		n := 0
		for i := range m.engines {
			n += m.copies(i, name)
		}
		if n != 1 {
			return fmt.Errorf("the engines have %d containers %s", n, name)
		}
		return nil
	}))
}

// gone removes a container and sees that nothing of it is left.
func (m *machines) gone(names ...string) {
	m.t.Helper()
	m.says(append([]string{"rm", "-f"}, names...)...)
	if n := m.leases(); n != 0 {
		m.t.Errorf("%d leases are left of %v", n, names)
	}
	for i := range m.engines {
		for _, name := range names {
			if n := m.copies(i, name); n != 0 {
				m.t.Errorf("engine %d still has %s", i+1, name)
			}
		}
	}
}

// TestThreeEngines: one Docker host of three machines, which break.
func TestThreeEngines(t *testing.T) {
	m := newMachines(t, machinesPlan, "cpu=1,memory=1Gi,disk=1Gi")
	for _, part := range []struct {
		name string
		run  func(*machines)
	}{
		{"one host", (*machines).oneHost}, {"one network", (*machines).oneNetwork}, {"an engine is killed", (*machines).killed}, {"an engine is frozen", (*machines).frozen},
		{"a machine is cut off", (*machines).cutOff}, {"killed in the middle of a start", (*machines).middle},
		{"an agent is lost between create and start", (*machines).between}, {"an engine loses its disk", (*machines).diskless},
		{"services outlive machines", (*machines).outlive},
	} {
		t.Run(part.name, func(t *testing.T) {
			own := *m
			own.client = m.with(t)
			part.run(&own)
		})
	}
}

// oneHost: images follow the containers, names are the pool's, and calls find their engine.
func (m *machines) oneHost() {
	if out := m.says("info", "--format", "{{.NCPU}} {{.Name}}"); !strings.HasSuffix(out, "polder") {
		m.t.Errorf("docker info says %s", out)
	}
	if out, code := m.run("FROM polder/busybox\nRUN echo made > /made\n", "docker", "build", "-q", "-t", "polder/built", "-"); code != 0 {
		m.t.Fatalf("docker build: %s", out)
	}
	var names []string
	for i := range m.engines {
		names = append(names, fmt.Sprint("c", i))
		m.says("run", "-d", "--name", names[i], "--memory", "32m", "--stop-timeout", "1", "-e", m.node(i), "polder/built", "sh", "-c", "cat /made; hostname; exec sleep 600")
		if n := m.copies(i, names[i]); n != 1 {
			m.t.Errorf("engine %d has %d containers %s", i+1, n, names[i])
		}
		m.until("made", "logs", names[i])
		if out := m.says("exec", names[i], "echo", "inside"); out != "inside" {
			m.t.Errorf("in %s: %q", names[i], out)
		}
	}
	listed := strings.Fields(m.says("ps", "--format", "{{.Names}}"))
	if slices.Sort(listed); !slices.Equal(listed, names) {
		m.t.Errorf("docker ps lists %v", listed)
	}
	m.gone(names...)
}

// oneNetwork: what shares a network is on one machine, and says so when there is no room for it.
func (m *machines) oneNetwork() {
	m.says("network", "create", "tight")
	m.says("run", "-d", "--name", "first", "--network", "tight", "--cpus", "0.7", "--memory", "32m", "--stop-timeout", "1", image, "sleep", "600")
	out, code := m.docker("run", "--rm", "--network", "tight", "--cpus", "0.7", "--memory", "32m", image, "true")
	if code != 125 || !strings.Contains(out, "it can be nowhere else, because network tight is there") {
		m.t.Errorf("one that does not fit there ends with %d and says %s", code, out)
	}
	m.gone("first")
	m.says("network", "rm", "tight")
}

// killed: the engine's death ends its containers. One comes back by its policy, the other is reported ended; neither is doubled.
func (m *machines) killed() {
	m.says("run", "-d", "--name", "again", "--restart", "always", "--memory", "32m", "--stop-timeout", "1", "-e", m.node(0), image, "sleep", "600")
	m.signal(0, syscall.SIGKILL)
	if out, code := m.docker("run", "--rm", "--memory", "32m", "-e", m.node(1), image, "echo", "elsewhere"); code != 0 || !strings.Contains(out, "elsewhere") {
		m.t.Errorf("with one engine dead another one's container ends with %d and says %s", code, out)
	}
	m.startEngine(0)
	m.steady("again")
	m.gone("again")
}

// frozen: an engine that stands still holds up what is about it only, and goes on where it was.
func (m *machines) frozen() {
	m.says("run", "-d", "--name", "still", "--memory", "32m", "--stop-timeout", "1", "-e", m.node(1), image, "sleep", "600")
	id := m.says("inspect", "still", "--format", "{{.Id}} {{.State.StartedAt}}")
	m.signal(1, syscall.SIGSTOP)
	began := time.Now()
	out, code := m.docker("run", "--rm", "--memory", "32m", "-e", m.node(2), image, "echo", "elsewhere")
	if code != 0 || !strings.Contains(out, "elsewhere") {
		m.t.Errorf("with one engine frozen another one's container ends with %d and says %s", code, out)
	}
	out, code = m.docker("ps", "-a", "--format", "{{.Names}}")
	m.t.Logf("with one engine frozen a run and docker ps took %v; it lists, with code %d: %q", time.Since(began).Round(time.Millisecond), code, out)
	m.signal(1, syscall.SIGCONT)
	m.steady("still")
	if now := m.says("inspect", "still", "--format", "{{.Id}} {{.State.StartedAt}}"); now != id {
		m.t.Errorf("it was %s and is %s", id, now)
	}
	m.gone("still")
}

// cutOff: a machine that the server does not reach keeps its container, which is neither doubled nor lost.
func (m *machines) cutOff() {
	m.says("run", "-d", "--name", "away", "--restart", "always", "--memory", "32m", "--stop-timeout", "1", "-e", m.node(2), image, "sleep", "600")
	id := m.says("inspect", "away", "--format", "{{.Id}} {{.State.StartedAt}}")
	m.wires[2].set(true)
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	must(m.t, stage.Retry(ctx, func(ctx context.Context) error {
		if n, err := m.pool.API.ReadyNodes(ctx); err != nil || n != 2 {
			return fmt.Errorf("%d nodes are ready, %w", n, err)
		}
		return nil
	}))
	if n := m.copies(2, "away"); n != 1 || m.leases() != 1 {
		m.t.Errorf("cut off, the engine has %d of it, and there are %d leases", n, m.leases())
	}
	if out, code := m.docker("run", "--rm", "--memory", "32m", image, "echo", "elsewhere"); code != 0 || !strings.Contains(out, "elsewhere") {
		m.t.Errorf("with one machine cut off another one's container ends with %d and says %s", code, out)
	}
	if out, code := m.docker("inspect", "away"); code == 0 || !strings.Contains(out, m.pool.Nodes[2]) {
		m.t.Errorf("asked for the container on it, the door says %d %s", code, out)
	}
	if out, code := m.docker("create", "--name", "away", image); code == 0 || !strings.Contains(out, "already in use") {
		m.t.Errorf("its name is free: %d %s", code, out)
	}
	m.wires[2].set(false)
	must(m.t, m.pool.AwaitNodes(ctx))
	m.steady("away")
	if now := m.says("inspect", "away", "--format", "{{.Id}} {{.State.StartedAt}}"); now != id {
		m.t.Errorf("it was %s and is %s", id, now)
	}
	m.gone("away")
}

// middle: whatever dies at whatever moment of a start, there is one container with one lease afterwards, or none of either.
func (m *machines) middle() {
	chance := rand.New(rand.NewPCG(1, 2))
	victims := map[string]func(){
		"agent":  func() { m.pool.Agents[0].Kill(); must(m.t, m.pool.Agents[0].Start()) },
		"server": func() { m.pool.Server.Kill(); must(m.t, m.pool.Server.Start()) },
		"engine": func() { m.signal(0, syscall.SIGKILL); m.startEngine(0) },
	}
	for round := range 2 {
		for _, name := range []string{"agent", "server", "engine"} {
			wait := time.Duration(chance.IntN(400)) * time.Millisecond
			ran := make(chan string, 1)
			go func() {
				out, code := m.docker("run", "-d", "--name", "mid", "--restart", "always", "--memory", "32m", "--stop-timeout", "1", "-e", m.node(0), image, "sleep", "600")
				ran <- fmt.Sprintf("%d %s", code, strings.TrimSpace(out))
			}()
			time.Sleep(wait)
			victims[name]()
			out := <-ran
			m.t.Logf("round %d: %s killed %v into a start, which says %s", round+1, name, wait, out)
			ctx, cancel := context.WithTimeout(m.t.Context(), patience)
			must(m.t, m.pool.AwaitNodes(ctx))
			must(m.t, stage.Retry(ctx, func(context.Context) error {
				if out, code := m.docker("ps", "-aq"); code != 0 {
					return errors.New(out)
				}
				return nil
			}))
			cancel()
			if strings.HasPrefix(out, "0 ") {
				m.steady("mid")
			}
			m.gone("mid")
		}
	}
}

// between: a container whose machine is lost after it was made is not started, which its client is told; it is there when the machine is.
func (m *machines) between() {
	m.says("create", "--name", "made", "--memory", "32m", "--stop-timeout", "1", "-e", m.node(1), image, "sleep", "600")
	m.pool.Agents[1].Kill()
	if out, code := m.docker("start", "made"); code == 0 || !strings.Contains(out, m.pool.Nodes[1]) {
		m.t.Errorf("with its agent lost a start ends with %d and says %s", code, out)
	}
	if n := m.leases(); n != 0 {
		m.t.Errorf("it holds %d leases", n)
	}
	must(m.t, m.pool.Agents[1].Start())
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	must(m.t, m.pool.AwaitNodes(ctx))
	m.until("made", "start", "made")
	m.steady("made")
	m.gone("made")
}

// diskless: an engine that comes back without what it had on its disk has nothing any more, and its names are free.
func (m *machines) diskless() {
	m.says("run", "--name", "was", "--memory", "32m", "-e", m.node(0), image, "true")
	m.signal(0, syscall.SIGKILL)
	must(m.t, os.RemoveAll(filepath.Join(m.dirs[0], "docker", "containers")))
	m.startEngine(0)
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	must(m.t, stage.Retry(ctx, func(context.Context) error {
		if out, code := m.docker("ps", "-aq"); code != 0 || out != "" || m.leases() != 0 {
			return fmt.Errorf("docker ps -a ends with %d and says %q; there are %d leases", code, out, m.leases())
		}
		return nil
	}))
	if out := m.says("run", "--rm", "--name", "was", "--memory", "32m", "-e", m.node(0), image, "echo", "again"); !strings.Contains(out, "again") {
		m.t.Errorf("on the engine that lost its disk a container says %q", out)
	}
}

// outlive: a service has what it wants when an engine dies, when an agent does, and when a machine is cut off for good; what comes back
// with it is stopped. Volumes stay where they are, with what is in them.
func (m *machines) outlive() {
	m.says("service", "create", "-q", "-d", "--name", "kept", "--replicas", "3", "--no-resolve-image", "--limit-memory", "32m", "--limit-cpu", "0.05",
		"--stop-grace-period", "1s", "--restart-delay", "0s", "--mount", "type=volume,source=pages,target=/d", image, "sh", "-c", "hostname >> /d/seen; exec sleep 600")
	m.served(3)
	for i := range m.engines {
		if n := m.tasks(i); n != 1 {
			m.t.Errorf("engine %d runs %d tasks of the service", i+1, n)
		}
	}
	m.signal(0, syscall.SIGKILL)
	m.startEngine(0)
	m.served(3)
	had := m.tasks(1) // what the engine that died had run may be anywhere by now
	m.pool.Agents[1].Kill()
	m.until("down", "node", "inspect", m.pool.Nodes[1], "--format", "{{.Status.State}}")
	if n := m.tasks(1); n != had {
		m.t.Errorf("an agent that died took %d of %d tasks with it", had-n, had)
	}
	must(m.t, m.pool.Agents[1].Start())
	m.served(3)

	had = m.tasks(2)
	m.wires[2].set(true)
	m.served(3, 0, 1) // some run on the others, until the rest counts as lost
	if n := m.tasks(2); n != had {
		m.t.Errorf("the engine that is cut off runs %d tasks, want the %d that nobody can stop", n, had)
	}
	m.wires[2].set(false)
	m.served(3) // and what came back is stopped
	for i := range m.engines {
		direct := m.with(m.t, "DOCKER_HOST="+m.engines[i], "DOCKER_TLS_VERIFY=", "DOCKER_CONFIG=/nonexistent")
		if seen := direct.says("run", "--rm", "-v", "pages:/d", image, "cat", "/d/seen"); seen == "" {
			m.t.Errorf("the volume of engine %d has lost what was in it", i+1)
		}
	}
	m.says("service", "rm", "kept")
	m.play(line{typed: "ps -a --format '{{.Names}}'", never: ".", until: true})
	for i := range m.engines {
		direct := m.with(m.t, "DOCKER_HOST="+m.engines[i], "DOCKER_TLS_VERIFY=", "DOCKER_CONFIG=/nonexistent")
		if out := direct.says("volume", "ls", "-q"); out != "pages" {
			m.t.Errorf("engine %d has the volumes %q", i+1, out)
		}
	}
}

// tasks counts the tasks of services that an engine itself runs.
func (m *machines) tasks(i int) int {
	m.t.Helper()
	direct := m.with(m.t, "DOCKER_HOST="+m.engines[i], "DOCKER_TLS_VERIFY=", "DOCKER_CONFIG=/nonexistent")
	return len(strings.Fields(direct.says("ps", "-q", "--filter", "label=com.docker.swarm.task.id")))
}

// served waits until a service has so many tasks that run, and some engines (all, when none are named) run as many and no more.
func (m *machines) served(want int, engines ...int) {
	m.t.Helper()
	if len(engines) == 0 {
		engines = []int{0, 1, 2}
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*patience)
	defer cancel()
	must(m.t, stage.Retry(ctx, func(context.Context) error {
		out, _ := m.docker("service", "ls", "--format", "{{.Replicas}}")
		n := 0
		for _, i := range engines {
			n += m.tasks(i)
		}
		if strings.TrimSpace(out) != fmt.Sprintf("%d/%[1]d", want) || n != want {
			return fmt.Errorf("docker service ls says %q, and the engines %v run %d", out, engines, n)
		}
		return nil
	}))
}
