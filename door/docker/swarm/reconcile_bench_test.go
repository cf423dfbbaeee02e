package swarm

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/door"
	"polder.dev/polder/door/docker/swarm/orchestrator"
	"polder.dev/polder/planfile"
	"polder.dev/polder/server"
	"polder.dev/polder/server/servertest"
	"polder.dev/polder/store"
	"polder.dev/polder/store/etcd"
)

const (
	manyServices = 1000
	manyTasks    = 10 // of each
	manyNodes    = 1000
	manyClients  = 32
)

// BenchmarkReconcile brings the tasks of many services to run on many nodes: through the door, the server, its state machine and etcd, with
// agents that are not there and say at once that their tasks run. What it leaves out are networks and engines. Made is from the first call
// of clients that make the services, Found from the start of a door that finds them in its store and none of their tasks in the pool.
//
// With -cpuprofile, the label part says whose work it was: go tool pprof -tags.
func BenchmarkReconcile(b *testing.B) {
	b.Run("Made", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			p := newPool(b)
			p.machines(b)
			x := p.door(b)
			b.StartTimer()
			p.measure(b, func() *Swarm {
				p.make(b, x)
				return x
			})
		}
	})
	b.Run("Found", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			p := newPool(b)
			p.make(b, p.door(b)) // nodes there are none
			p.stop()
			p.machines(b)
			b.StartTimer()
			p.measure(b, func() *Swarm { return p.door(b) })
		}
	})
}

// measure reports the time and the work from now until all tasks run.
func (p *pool) measure(b *testing.B, begin func() *Swarm) {
	before, began := spent(), time.Now()
	x := begin()
	b.ReportMetric(time.Since(began).Seconds(), "s-to-make")
	for p.runs.Load() < manyServices*manyTasks { // looking into the door takes time, too
		time.Sleep(5 * time.Millisecond)
	}
	for x.running() < manyServices*manyTasks {
		time.Sleep(50 * time.Millisecond)
	}
	b.ReportMetric(time.Since(began).Seconds(), "s-to-run")
	b.ReportMetric((spent() - before).Seconds(), "cpu-s")
}

// pool is a server on etcd, and what is connected to it.
type pool struct {
	world *servertest.World
	kept  store.Store
	api   *door.API
	stop  func()       // the door
	runs  atomic.Int64 // tasks, as their machines say
}

func newPool(b *testing.B) *pool {
	plan, err := planfile.Parse([]byte("roles: {default: {}}\n"))
	if err != nil {
		b.Fatal(err)
	}
	p := &pool{}
	part("store", func() {
		kept, err := etcd.OpenEmbedded(b.Context(), etcd.Embedded{Dir: b.TempDir(), Logger: slog.DiscardHandler})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { kept.Close() })
		p.kept = kept
	})
	part("server", func() {
		p.world = servertest.Start(b, func(c *server.Config) { c.FirstPlan, c.Store, c.Heartbeat = plan, p.kept, time.Hour })
	})
	p.api = door.Open(p.world.Handler, "docker")
	return p
}

// part says whose work it is what f does, and what it starts.
func part(name string, f func()) {
	pprof.Do(context.Background(), pprof.Labels("part", name), func(context.Context) { f() })
}

// door starts a door and waits until it serves.
func (p *pool) door(b *testing.B) *Swarm {
	x := New(Options{API: p.api, Containers: &described{}, Store: p.kept, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	part("door", func() { go func() { ended <- x.Run(ctx) }() })
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(p.stop)
	<-x.up
	return x
}

// machines connects the nodes and waits until the server knows them all.
func (p *pool) machines(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	b.Cleanup(func() { cancel(); all.Wait() })
	part("agents", func() {
		for i := range manyNodes {
			all.Go(func() { machine(ctx, p.api, fmt.Sprintf("node-%04d", i), &p.runs) })
		}
	})
	admin := door.As(ctx, door.Bearer(p.world.Admin, ""))
	for {
		res, err := p.api.Nodes.List(admin, connect.NewRequest(&polderv1.NodeServiceListRequest{PageSize: manyNodes}))
		if err != nil {
			b.Fatal(err)
		}
		if len(res.Msg.Nodes) == manyNodes {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// make has clients make the services.
func (p *pool) make(b *testing.B, x *Swarm) {
	as := door.As(context.Background(), door.Bearer(p.world.Admin, ""))
	var clients errgroup.Group
	clients.SetLimit(manyClients)
	part("clients", func() {
		for i := range manyServices {
			clients.Go(func() error {
				body := fmt.Sprintf(`{"Name":"s%04d","TaskTemplate":{"ContainerSpec":{"Image":"app"},"Resources":{"Limits":{"NanoCPUs":100000000,"MemoryBytes":268435456}}},`+
					`"Mode":{"Replicated":{"Replicas":%d}}}`, i, manyTasks)
				r := httptest.NewRequest(http.MethodPost, "/services/create", strings.NewReader(body))
				r.Pattern = "POST /services/create"
				return x.Serve(httptest.NewRecorder(), r.WithContext(as), "user:ann")
			})
		}
	})
	if err := clients.Wait(); err != nil {
		b.Fatal(err)
	}
}

// running counts the tasks that run.
func (s *Swarm) running() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, service := range s.m.Services() {
		for _, t := range s.m.Tasks(service.ID) {
			if t.State == orchestrator.Running {
				n++
			}
		}
	}
	return n
}

// spent is the processor time of this process.
func spent() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// described are containers whose engines are there and have everything.
type described struct{ containers }

func (*described) Engine(_ context.Context, node string) (Engine, bool) {
	return Engine{ID: "engine of " + node, Arch: "x86_64"}, true
}

func (*described) Task(_ context.Context, c Container) (*polderv1.TaskSpec, error) {
	return &polderv1.TaskSpec{
		Runtime: "docker", Image: "app", Resources: map[string]string{"cpu": "100m", "memory": "268435456"}, Labels: map[string]string{},
		Container: &polderv1.Container{Id: c.ID, Role: c.Role, Name: c.Name, Version: "1.41", Create: []byte(`{"Image":"app","Hostname":"` + c.ID + `"}`)},
	}, nil
}

// machine is a node that is not there: every task it is given runs at once.
func machine(ctx context.Context, api *door.API, name string, runs *atomic.Int64) {
	stream := api.Agents.Session(door.As(ctx, door.Caller{Identity: auth.Identity{Kind: auth.Agent, Name: name}}))
	defer stream.CloseRequest()
	hello := &polderv1.Hello{Node: name, Runtimes: []string{"docker"}, Version: "simulated",
		Capacity: map[string]string{"cpu": "32", "memory": "128Gi", "disk": "100Gi"}}
	if stream.Send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Hello{Hello: hello}}) != nil {
		return
	}
	for {
		m, err := stream.Receive()
		if err != nil {
			return
		}
		l := m.GetLaunch()
		if l == nil {
			continue
		}
		r := &polderv1.TaskReport{Assignment: &polderv1.Assignment{Task: l.Task}, State: polderv1.TaskState_TASK_STATE_RUNNING, Started: timestamppb.Now()}
		if stream.Send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Report{Report: r}}) != nil {
			return
		}
		runs.Add(1)
	}
}
