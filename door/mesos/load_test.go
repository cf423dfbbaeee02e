package mesos

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/door"
	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
	"polder.dev/polder/planfile"
	"polder.dev/polder/server"
	"polder.dev/polder/server/servertest"
	"polder.dev/polder/store"
)

// loadNodes is how many simulated machines stand behind the door in the benchmarks.
const loadNodes = 10_000

// load is a server with simulated machines and a door on a real socket.
type load struct {
	*world
	b *testing.B
}

// newLoad starts it. The machines say that tasks run, and nothing else.
func newLoad(b *testing.B, nodes int) *load {
	b.Helper()
	plan, err := planfile.Parse([]byte("roles: {default: {}, a: {}, b: {}}\n"))
	if err != nil {
		b.Fatal(err)
	}
	s := servertest.Start(b, func(c *server.Config) { c.FirstPlan = plan; c.Heartbeat = time.Hour })
	api := door.Open(s.Handler, "mesos")
	ctx, cancel := context.WithCancel(context.Background())
	var machines sync.WaitGroup
	b.Cleanup(func() { cancel(); machines.Wait() })
	var joined atomic.Int64
	for i := range nodes {
		machines.Go(func() { machine(ctx, api, fmt.Sprintf("sim-%05d", i), &joined) })
	}
	for joined.Load() < int64(nodes) {
		time.Sleep(10 * time.Millisecond)
	}
	l := &load{&world{api: api, admin: s.Admin}, b}
	l.http = httptest.NewUnstartedServer(nil)
	d, err := New(Config{API: api, Addr: l.http.Listener.Addr().String(), OfferTimeout: time.Hour, Resend: time.Hour, Store: store.NewMemory(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	l.door, l.http.Config.Handler = d, d.Handler()
	l.http.Start()
	l.base = l.http.URL
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-ended; l.http.CloseClientConnections(); l.http.Close() })
	for !d.isReady() {
		time.Sleep(10 * time.Millisecond)
	}
	return l
}

// machine is a node that is not there: every task it is given runs at once.
func machine(ctx context.Context, api *door.API, name string, joined *atomic.Int64) {
	stream := api.Agents.Session(door.As(ctx, door.Caller{Identity: auth.Identity{Kind: auth.Agent, Name: name}}))
	defer stream.CloseRequest()
	hello := &polderv1.Hello{Node: name, Ports: "31000-31099", Runtimes: []string{"process"}, Version: "simulated",
		Capacity: map[string]string{"cpu": "32", "memory": "128Gi", "disk": "100Gi"}, Attributes: map[string]string{"rack": name[:6]}}
	if stream.Send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Hello{Hello: hello}}) != nil {
		return
	}
	first := true
	for {
		m, err := stream.Receive()
		if err != nil {
			return
		}
		if first {
			first = false
			joined.Add(1)
		}
		if l := m.GetLaunch(); l != nil {
			r := &polderv1.TaskReport{Assignment: &polderv1.Assignment{Task: l.Task}, State: polderv1.TaskState_TASK_STATE_RUNNING, Started: timestamppb.Now()}
			if stream.Send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Report{Report: r}}) != nil {
				return
			}
		}
	}
}

// launched is how many tasks the door has launched.
func (l *load) launched() uint64 {
	l.door.mu.Lock()
	defer l.door.mu.Unlock()
	return l.door.counters.launched
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// framework subscribes and hands over its offers, one by one. It counts the bytes of the stream.
func (l *load) framework(name string, role string) (offers chan *mesosv1.Offer, call func(*schedulerv1.Call) int) {
	body, err := proto.Marshal(&schedulerv1.Call{Type: schedulerv1.Call_SUBSCRIBE.Enum(), Subscribe: &schedulerv1.Call_Subscribe{FrameworkInfo: info(name, []string{role})}})
	if err != nil {
		l.b.Fatal(err)
	}
	res := l.post(body, "")
	stream, id := res.Header.Get(streamHeader), make(chan string, 1)
	offers = make(chan *mesosv1.Offer, 2*loadNodes)
	go func() {
		defer res.Body.Close()
		in := wire.NewRecordReader(res.Body, 1<<28)
		for {
			data, err := in.Next()
			if err != nil {
				return
			}
			e := &schedulerv1.Event{}
			if err := proto.Unmarshal(data, e); err != nil {
				panic(err)
			}
			switch e.GetType() {
			case schedulerv1.Event_SUBSCRIBED:
				id <- e.Subscribed.FrameworkId.GetValue()
			case schedulerv1.Event_OFFERS:
				for _, o := range e.Offers.Offers {
					offers <- o
				}
			}
		}
	}()
	own := &mesosv1.FrameworkID{Value: new(<-id)}
	return offers, func(c *schedulerv1.Call) int {
		c.FrameworkId = own
		body, err := proto.Marshal(c)
		if err != nil {
			l.b.Fatal(err)
		}
		res := l.post(body, stream)
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		return res.StatusCode
	}
}

func (l *load) post(body []byte, stream string) *http.Response {
	r, err := http.NewRequest(http.MethodPost, l.base+"/api/v1/scheduler", bytes.NewReader(body))
	if err != nil {
		l.b.Fatal(err)
	}
	for name, value := range map[string]string{"Authorization": "Bearer " + l.admin, "Content-Type": "application/x-protobuf", "Accept": "application/x-protobuf", streamHeader: stream} {
		if value != "" {
			r.Header[name] = []string{value}
		}
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		l.b.Fatal(err)
	}
	return res
}

// BenchmarkAccept launches tasks on 10,000 machines over real sockets, so many in each call, from 8 connections. One operation is one
// task that is accepted; its framework is told meanwhile that it runs, and does not acknowledge that. The CPU time is that of the whole process: client,
// door, server and machines. Door and server each have a store in memory.
func BenchmarkAccept(b *testing.B) {
	l := newLoad(b, loadNodes)
	offers, call := l.framework("load", "a")
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 64
	run := 0
	for _, each := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(each), func(b *testing.B) {
			run++
			before := l.launched()
			var next atomic.Int64
			var workers sync.WaitGroup
			b.ResetTimer()
			from := cpuTime()
			for range 8 {
				workers.Go(func() {
					for {
						first := next.Add(int64(each)) - int64(each)
						if first >= int64(b.N) {
							return
						}
						o := <-offers
						var tasks []*mesosv1.TaskInfo
						for i := range each {
							tasks = append(tasks, command(o, fmt.Sprintf("t%d-%d", run, first+int64(i)), "sleep 1000", scalar("cpus", 0.01), scalar("mem", 8)))
						}
						if got := call(launchCall(o, tasks...)); got != http.StatusAccepted {
							b.Errorf("answered %d", got)
						}
					}
				})
			}
			workers.Wait()
			used := cpuTime() - from
			b.StopTimer()
			launched := l.launched() - before
			b.ReportMetric(float64(launched)/used.Seconds(), "launches/cpu-s")
			b.ReportMetric(float64(launched)/b.Elapsed().Seconds(), "launches/s")
		})
	}
}

// BenchmarkColdOffers is from the subscription of 300 frameworks until 10,000 machines are offered to them, to the last byte.
func BenchmarkColdOffers(b *testing.B) {
	l := newLoad(b, loadNodes)
	for range b.N {
		from := cpuTime()
		var all sync.WaitGroup
		var got atomic.Int64
		for i := range 300 {
			all.Go(func() {
				offers, _ := l.framework(fmt.Sprintf("cold-%d", i), "a")
				for got.Load() < loadNodes {
					select {
					case <-offers:
						got.Add(1)
					case <-time.After(20 * time.Millisecond):
					}
				}
			})
		}
		all.Wait()
		b.ReportMetric(float64((cpuTime() - from).Milliseconds()), "cpu-ms/op")
	}
}

// BenchmarkState is the document of 100,000 tasks.
func BenchmarkState(b *testing.B) {
	l := newLoad(b, 1000)
	offers, call := l.framework("load", "a")
	for i := range 1000 {
		o := <-offers
		var tasks []*mesosv1.TaskInfo
		for j := range 100 {
			tasks = append(tasks, command(o, fmt.Sprintf("t%d-%d", i, j), "sleep 1000", scalar("cpus", 0.01), scalar("mem", 8)))
		}
		call(launchCall(o, tasks...))
	}
	b.ResetTimer()
	from := cpuTime()
	for range b.N {
		r, _ := http.NewRequest(http.MethodGet, l.base+"/state", nil)
		r.SetBasicAuth("admin", l.admin)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		n, _ := io.Copy(io.Discard, res.Body)
		res.Body.Close()
		b.SetBytes(n)
	}
	b.ReportMetric(float64((cpuTime()-from).Milliseconds())/float64(b.N), "cpu-ms/op")
}
