//go:build bench

package bench

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/door"
	"polder.dev/polder/kube/pool"
	"polder.dev/polder/server/servertest"
)

// What a node has, on both sides.
const (
	nodeCPU    = "8"
	nodeMemory = "32Gi"
)

// Files by which the control plane finds the pool, in the directory of both.
const (
	addressFile = "address"
	rootFile    = "root.pem"
	tokenFile   = "token"
)

// runPool is a server with so many nodes, until it is interrupted.
func runPool(t *testing.T) {
	w := servertest.Start(t, nil)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	client := pool.NewClient(w.HTTP(t), "https://"+w.Addr, w.Admin)
	plan := fmt.Sprintf("roles:\n  %s: {guarantee: {cpu: %d}}\n", namespace, *nodeCount*4)
	if _, err := client.Plans.Apply(ctx, connect.NewRequest(&polderv1.ApplyRequest{Plan: plan, BaseRevision: 1})); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	api := door.Open(w.Handler, "bench")
	for i := range *nodeCount {
		running.Go(func() { machine(ctx, api, nodeName(i)) })
	}
	for len(readyNodes(ctx, t, client)) < *nodeCount {
		time.Sleep(200 * time.Millisecond)
	}
	for file, text := range map[string]string{addressFile: w.Addr, rootFile: string(w.CA.RootPEM()), tokenFile: w.Admin} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Println("ready")
	<-ctx.Done()
}

func readyNodes(ctx context.Context, t *testing.T, client *pool.Client) (out []*polderv1.Node) {
	t.Helper()
	for token := ""; ; {
		res, err := client.Nodes.List(ctx, connect.NewRequest(&polderv1.NodeServiceListRequest{State: pool.Ready, PageSize: 1000, PageToken: token}))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, res.Msg.Nodes...)
		if token = res.Msg.NextPageToken; token == "" {
			return out
		}
	}
}

// machine is a node that says of every lease that it runs. A session that ends, as some do while thousands begin, is followed by another.
func machine(ctx context.Context, api *door.API, name string) {
	ctx = door.As(ctx, door.Caller{Identity: auth.Identity{Kind: auth.Agent, Name: name}})
	var runs []*polderv1.TaskReport
	for ctx.Err() == nil {
		session(ctx, api, name, &runs)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// session is one session of a machine. What runs on it is in runs.
func session(ctx context.Context, api *door.API, name string, runs *[]*polderv1.TaskReport) {
	ctx, cancel := context.WithCancel(ctx)
	var beating sync.WaitGroup
	defer beating.Wait()
	defer cancel()
	stream := api.Agents.Session(ctx)
	hello := &polderv1.Hello{Node: name, Runtimes: []string{pool.KubeRuntime}, Version: "bench", Tasks: *runs,
		Capacity: map[string]string{"cpu": nodeCPU, "memory": nodeMemory}}
	if stream.Send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Hello{Hello: hello}}) != nil {
		return
	}
	var sending sync.Mutex
	say := func(m *polderv1.AgentMessage) error {
		sending.Lock()
		defer sending.Unlock()
		return stream.Send(m)
	}
	beating.Go(func() {
		beat := time.NewTicker(4 * time.Second)
		defer beat.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-beat.C:
				_ = say(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Heartbeat{Heartbeat: &polderv1.Heartbeat{}}}) // the reader sees the end
			}
		}
	})
	for {
		m, err := stream.Receive()
		if err != nil {
			return
		}
		if launch := m.GetLaunch(); launch != nil {
			r := &polderv1.TaskReport{Assignment: launch, State: polderv1.TaskState_TASK_STATE_RUNNING, Started: timestamppb.Now()}
			*runs = append(*runs, r)
			_ = say(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Report{Report: r}})
		}
	}
}

// ticksOf reads user and system time of a line of /proc/PID/stat.
func ticksOf(t *testing.T, line string) time.Duration {
	t.Helper()
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// resident is the most memory that this process had, in kB.
func resident(t *testing.T) int64 {
	t.Helper()
	for line := range strings.Lines(read(t, "/proc/self/status")) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no VmHWM in /proc/self/status")
	return 0
}
