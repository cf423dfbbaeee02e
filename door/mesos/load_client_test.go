package mesos

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// clientVariable makes the test's binary a client of the door at the URL it holds, so that what a framework costs is not counted as
// what serving it costs.
const clientVariable, tokenVariable = "POLDER_LOAD_CLIENT", "POLDER_LOAD_TOKEN"

// What a client does with its orders is its first argument.
const (
	launchMode = "launch" // as one framework, launches so many tasks, so many in each call
	coldMode   = "cold"   // subscribes so many frameworks, waits for so many offers, and leaves
)

func TestMain(m *testing.M) {
	if base := os.Getenv(clientVariable); base != "" {
		clientMain(loadClient{base, os.Getenv(tokenVariable)}, os.Args[1])
		return
	}
	os.Exit(m.Run())
}

// clientWorkers is how many connections launch tasks.
const clientWorkers = 8

// order is what a client is told to do: so many tasks, so many in each call.
type order struct{ run, each, n int }

// outcome is how that went.
type outcome struct {
	CPU, Median, Most time.Duration // of the client; of a call, half and 99 of a hundred are not slower
	Refused           int64
	leave             func() // what is done after it was told
}

// clientMain does what lines on its input tell it to, and answers each with an outcome.
func clientMain(c loadClient, mode string) {
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 64
	do := c.offeredAll
	if mode == launchMode {
		offers, call := c.framework("load", "a")
		do = func(o order) outcome { return launchAll(o, offers, call) }
	}
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var o order
		if _, err := fmt.Sscan(in.Text(), &o.run, &o.each, &o.n); err != nil {
			panic(err)
		}
		r := do(o)
		fmt.Println(int64(r.CPU), int64(r.Median), int64(r.Most), r.Refused)
		if r.leave != nil {
			r.leave()
		}
	}
}

// offeredAll subscribes frameworks until so many offers came to any of them. Most is how long that took.
func (c loadClient) offeredAll(o order) outcome {
	from, began := cpuTime(), time.Now()
	offers := make(chan *mesosv1.Offer, 2*loadNodes)
	calls := make(chan func(*schedulerv1.Call) int, o.each)
	for i := range o.each {
		go func() { calls <- c.subscribe(fmt.Sprintf("cold-%d-%d", o.run, i), "a", offers) }()
	}
	for range o.n {
		<-offers
	}
	leave := func() {
		for range o.each {
			(<-calls)(&schedulerv1.Call{Type: schedulerv1.Call_TEARDOWN.Enum()})
		}
	}
	return outcome{CPU: cpuTime() - from, Most: time.Since(began), leave: leave}
}

// launchAll launches tasks from so many connections, each call on the node of one offer.
func launchAll(o order, offers <-chan *mesosv1.Offer, call func(*schedulerv1.Call) int) (out outcome) {
	var next, refused atomic.Int64
	var workers sync.WaitGroup
	var mu sync.Mutex // guards took
	var took []time.Duration
	from := cpuTime()
	for range clientWorkers {
		workers.Go(func() {
			for {
				first := next.Add(int64(o.each)) - int64(o.each)
				if first >= int64(o.n) {
					return
				}
				offer := <-offers
				var tasks []*mesosv1.TaskInfo
				for i := range o.each {
					tasks = append(tasks, command(offer, fmt.Sprintf("t%d-%d", o.run, first+int64(i)), "sleep 1000", scalar("cpus", 0.01), scalar("mem", 8)))
				}
				began := time.Now()
				if call(launchCall(offer, tasks...)) != http.StatusAccepted {
					refused.Add(1)
				}
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	slices.Sort(took)
	return outcome{CPU: cpuTime() - from, Median: took[len(took)/2], Most: took[len(took)*99/100], Refused: refused.Load()}
}

// client starts a framework in a process of its own. What is returned tells it what to launch.
func (l *load) client() func(order) outcome { return l.clientOf(launchMode) }

// clientOf starts a client in a process of its own. What is returned tells it what to do.
func (l *load) clientOf(mode string) func(order) outcome {
	self, err := os.Executable()
	if err != nil {
		l.b.Fatal(err)
	}
	cmd := exec.Command(self, mode)
	cmd.Env = append(os.Environ(), clientVariable+"="+l.base, tokenVariable+"="+l.admin)
	cmd.Stderr = os.Stderr
	in, _ := cmd.StdinPipe() // both are not set yet
	stdout, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		l.b.Fatal(err)
	}
	l.b.Cleanup(func() { in.Close(); _ = cmd.Wait() }) // it ends with its input
	out := bufio.NewReader(stdout)
	line := func() string {
		text, err := out.ReadString('\n')
		if err != nil {
			l.b.Fatalf("the client in a process of its own: %v", err)
		}
		return text
	}
	line()
	return func(o order) (r outcome) {
		fmt.Fprintln(in, o.run, o.each, o.n)
		if _, err := fmt.Sscan(line(), &r.CPU, &r.Median, &r.Most, &r.Refused); err != nil {
			l.b.Fatal(err)
		}
		return r
	}
}

// loadClient calls the door at a URL.
type loadClient struct{ base, token string }

// framework subscribes and hands over its offers, one by one.
func (c loadClient) framework(name string, role string) (offers chan *mesosv1.Offer, call func(*schedulerv1.Call) int) {
	offers = make(chan *mesosv1.Offer, 2*loadNodes)
	return offers, c.subscribe(name, role, offers)
}

// subscribe subscribes a framework, whose offers go where they are told to.
func (c loadClient) subscribe(name, role string, offers chan<- *mesosv1.Offer) (call func(*schedulerv1.Call) int) {
	body, err := proto.Marshal(&schedulerv1.Call{Type: schedulerv1.Call_SUBSCRIBE.Enum(), Subscribe: &schedulerv1.Call_Subscribe{FrameworkInfo: info(name, []string{role})}})
	if err != nil {
		panic(err)
	}
	res := c.post(body, "")
	stream, id := res.Header.Get(streamHeader), make(chan string, 1)
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
	return func(m *schedulerv1.Call) int {
		m.FrameworkId = own
		body, err := proto.Marshal(m)
		if err != nil {
			panic(err)
		}
		res := c.post(body, stream)
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		return res.StatusCode
	}
}

func (c loadClient) post(body []byte, stream string) *http.Response {
	r, err := http.NewRequest(http.MethodPost, c.base+"/api/v1/scheduler", bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	for name, value := range map[string]string{"Authorization": "Bearer " + c.token, "Content-Type": "application/x-protobuf", "Accept": "application/x-protobuf", streamHeader: stream} {
		if value != "" {
			r.Header[name] = []string{value}
		}
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		panic(err)
	}
	return res
}
