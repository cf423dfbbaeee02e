package mesos

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door"
	"polder.dev/polder/door/mesos/wire/mesosv1"
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
		name := fmt.Sprintf("sim-%05d", i)
		hello := &polderv1.Hello{Node: name, Ports: "31000-31099", Runtimes: []string{"process"}, Version: "simulated",
			Capacity: map[string]string{"cpu": "32", "memory": "128Gi", "disk": "100Gi"}, Attributes: map[string]string{"rack": name[:6]}}
		machines.Go(func() { (&machine{}).run(ctx, s.Handler, hello, func() { joined.Add(1) }) })
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
	open, shut := context.WithCancel(context.Background())
	go func() { ended <- d.Run(open) }()
	b.Cleanup(func() { shut(); <-ended; l.http.CloseClientConnections(); l.http.Close() }) // before the machines go: nobody is to be told of each
	for !d.isReady() {
		time.Sleep(10 * time.Millisecond)
	}
	return l
}

// launched is how many tasks the door has launched.
func (l *load) launched() uint64 {
	l.door.mu.Lock()
	defer l.door.mu.Unlock()
	return l.door.counters.launched
}

// frameworks is how many there are.
func (l *load) frameworks() int {
	l.door.mu.Lock()
	defer l.door.mu.Unlock()
	return len(l.door.frameworks)
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAccept launches tasks on 10,000 machines over real sockets, so many in each call, from 8 connections. One operation is one
// task that is accepted; its framework is told meanwhile that it runs, and does not acknowledge that. The framework is a process of its own.
// The server's CPU time is that of this process: door, server and machines, that cost next to nothing. Door and server each have a store
// in memory.
func BenchmarkAccept(b *testing.B) {
	l := newLoad(b, loadNodes)
	client := l.client()
	run := 0
	for _, each := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(each), func(b *testing.B) {
			run++
			before := l.launched()
			runtime.GC() // of what was before
			b.ResetTimer()
			from := cpuTime()
			got := client(order{run, each, b.N})
			used := cpuTime() - from
			b.StopTimer()
			if got.Refused > 0 {
				b.Errorf("%d calls were refused", got.Refused)
			}
			launched := float64(l.launched() - before)
			b.ReportMetric(launched/used.Seconds(), "launches/server-cpu-s")
			b.ReportMetric(launched/(used+got.CPU).Seconds(), "launches/cpu-s")
			b.ReportMetric(launched/b.Elapsed().Seconds(), "launches/s")
			b.ReportMetric(float64(got.Median.Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(got.Most.Microseconds())/1000, "p99-ms")
		})
	}
}

// BenchmarkColdOffers is from the subscription of 300 frameworks until 10,000 machines are offered to them, to the last byte. They are a
// process of their own, which decodes what it is offered; they leave before the next turn. The door and the machines are there before.
func BenchmarkColdOffers(b *testing.B) {
	l := newLoad(b, loadNodes)
	client := l.clientOf(coldMode)
	var server, clients, wall, slowest time.Duration
	runtime.GC() // of what was before
	b.ResetTimer()
	for run := range b.N {
		from := cpuTime()
		got := client(order{run, 300, loadNodes})
		server += cpuTime() - from
		clients += got.CPU
		wall += got.Most
		slowest = max(slowest, got.Most)
		for l.frameworks() > 0 { // they said that they leave
			time.Sleep(10 * time.Millisecond)
		}
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(server)/float64(b.N), "server-cpu-ms/op")
	b.ReportMetric(ms(clients)/float64(b.N), "clients-cpu-ms/op")
	b.ReportMetric(ms(wall)/float64(b.N), "wall-ms/op")
	b.ReportMetric(ms(slowest), "slowest-ms")
}

// BenchmarkState is the document of 100,000 tasks.
func BenchmarkState(b *testing.B) {
	l := newLoad(b, 1000)
	offers, call := loadClient{l.base, l.admin}.framework("load", "a")
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
		b.SetBytes(l.state())
	}
	b.ReportMetric(float64((cpuTime()-from).Milliseconds())/float64(b.N), "cpu-ms/op")
}

// state reads /state and returns how long it is.
func (l *load) state() int64 {
	r, err := http.NewRequest(http.MethodGet, l.base+"/state", nil)
	if err != nil {
		panic(err)
	}
	r.SetBasicAuth("admin", l.admin)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		panic(err)
	}
	defer res.Body.Close()
	n, _ := io.Copy(io.Discard, res.Body)
	return n
}

// BenchmarkPolled launches tasks while 10,000 others run, by turns alone and while 20 tools ask for /state every ten seconds each, the first of
// them at once. One operation is one task launched either way. The CPU time is the server's, and that of the tools that read.
func BenchmarkPolled(b *testing.B) {
	const turn, tools = 10_000, 20
	l := newLoad(b, 1000)
	client := l.client()
	client(order{0, 100, turn})
	var sides [2]struct{ cpu, wall, launched, polls float64 }
	b.ResetTimer()
	for run, left := 1, b.N; left > 0; left -= turn {
		for i := range sides {
			before, from, began := l.launched(), cpuTime(), time.Now()
			stop := l.poll(i*tools, 10*time.Second)
			client(order{run, 100, min(turn, left)})
			run++
			side := &sides[i]
			side.polls += float64(stop())
			side.cpu += (cpuTime() - from).Seconds()
			side.wall += time.Since(began).Seconds()
			side.launched += float64(l.launched() - before)
		}
	}
	alone, polled := sides[0], sides[1]
	b.ReportMetric(alone.launched/alone.wall, "alone/s")
	b.ReportMetric(polled.launched/polled.wall, "polled/s")
	b.ReportMetric(alone.launched/alone.cpu, "alone/cpu-s")
	b.ReportMetric(polled.launched/polled.cpu, "polled/cpu-s")
	b.ReportMetric(polled.polls/polled.wall, "polls/s")
	b.ReportMetric(1000*(polled.cpu-polled.launched*alone.cpu/alone.launched)/polled.polls, "cpu-ms/poll")
	b.ReportMetric(100*(polled.wall/polled.launched/(alone.wall/alone.launched)-1), "%-slower")
}

// poll asks for /state from so many clients, each once in every, evenly spread. What it returns ends that and says how often they asked.
func (l *load) poll(clients int, every time.Duration) (stop func() int64) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	var asked atomic.Int64
	for i := range clients {
		all.Go(func() {
			next := time.After(time.Duration(i) * every / time.Duration(clients))
			for {
				select {
				case <-ctx.Done():
					return
				case <-next:
				}
				next = time.After(every)
				l.state()
				asked.Add(1)
			}
		})
	}
	return func() int64 { cancel(); all.Wait(); return asked.Load() }
}
