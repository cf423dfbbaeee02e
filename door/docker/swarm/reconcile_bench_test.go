package swarm

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/door"
	"polder.dev/polder/door/docker/swarm/orchestrator"
	"polder.dev/polder/planfile"
	"polder.dev/polder/server"
	"polder.dev/polder/server/servertest"
	"polder.dev/polder/store/etcd"
)

const (
	manyServices = 1000
	manyTasks    = 10 // of each
	manyNodes    = 1000
)

// BenchmarkReconcile makes many services on many nodes, from the calls of their client to the last task that runs: through the door, the
// server, its state machine and etcd, with agents that are not there and say at once that their tasks run. What it leaves out are
// networks and engines.
func BenchmarkReconcile(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		x, serve := manyMachines(b)
		b.StartTimer()
		before, began := spent(), time.Now()
		var clients errgroup.Group
		clients.SetLimit(8)
		for i := range manyServices {
			clients.Go(func() error { return serve(i) })
		}
		if err := clients.Wait(); err != nil {
			b.Fatal(err)
		}
		made := time.Since(began)
		for runs := 0; runs < manyServices*manyTasks; {
			time.Sleep(200 * time.Millisecond) // looking takes time, too
			runs = x.running()
		}
		b.ReportMetric(made.Seconds(), "s-to-make")
		b.ReportMetric(time.Since(began).Seconds(), "s-to-run")
		b.ReportMetric((spent() - before).Seconds(), "cpu-s")
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

// manyMachines starts a server on etcd with many nodes, and a swarm; serve makes a service.
func manyMachines(b *testing.B) (x *Swarm, serve func(i int) error) {
	plan, err := planfile.Parse([]byte("roles: {default: {}}\n"))
	if err != nil {
		b.Fatal(err)
	}
	kept, err := etcd.OpenEmbedded(b.Context(), etcd.Embedded{Dir: b.TempDir(), Logger: slog.DiscardHandler})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { kept.Close() })
	w := servertest.Start(b, func(c *server.Config) { c.FirstPlan, c.Store, c.Heartbeat = plan, kept, time.Hour })
	api := door.Open(w.Handler, "docker")
	ctx, cancel := context.WithCancel(context.Background())
	var machines sync.WaitGroup
	for i := range manyNodes {
		machines.Go(func() { machine(ctx, api, fmt.Sprintf("node-%04d", i)) })
	}
	x = New(Options{API: api, Containers: &described{}, Store: kept, Logger: slog.New(slog.DiscardHandler)})
	machines.Go(func() { _ = x.Run(ctx) }) // it ends with the benchmark
	b.Cleanup(func() { cancel(); machines.Wait() })
	for met := 0; met < manyNodes; {
		time.Sleep(10 * time.Millisecond)
		x.mu.Lock()
		met = len(x.engines)
		x.mu.Unlock()
	}
	<-x.up
	return x, func(i int) error {
		body := fmt.Sprintf(`{"Name":"s%04d","TaskTemplate":{"ContainerSpec":{"Image":"app"},"Resources":{"Limits":{"NanoCPUs":100000000,"MemoryBytes":268435456}}},`+
			`"Mode":{"Replicated":{"Replicas":%d}}}`, i, manyTasks)
		r := httptest.NewRequest(http.MethodPost, "/services/create", strings.NewReader(body))
		r.Pattern = "POST /services/create"
		r = r.WithContext(door.As(ctx, door.Bearer(w.Admin, "")))
		return x.Serve(httptest.NewRecorder(), r, "user:ann")
	}
}

// machine is a node that is not there: every task it is given runs at once.
func machine(ctx context.Context, api *door.API, name string) {
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
	}
}
