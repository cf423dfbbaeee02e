package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"polder.dev/polder/agent/checkpoint"
	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/fake"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	starting  = polderv1.TaskState_TASK_STATE_STARTING
	running   = polderv1.TaskState_TASK_STATE_RUNNING
	leaving   = polderv1.TaskState_TASK_STATE_LEAVING
	stopping  = polderv1.TaskState_TASK_STATE_STOPPING
	succeeded = polderv1.TaskState_TASK_STATE_SUCCEEDED
	failed    = polderv1.TaskState_TASK_STATE_FAILED
	killed    = polderv1.TaskState_TASK_STATE_KILLED
	reclaimed = polderv1.TaskState_TASK_STATE_RECLAIMED
	lost      = polderv1.TaskState_TASK_STATE_LOST
)

// server is the other end of a session, in memory. It remembers what it is told and says only what a test lets it say.
type server struct {
	mu      sync.Mutex
	epoch   int64
	away    bool
	session *pipe[polderv1.AgentMessage, polderv1.ServerMessage]
	relays  chan *pipe[polderv1.RelayUp, polderv1.RelayDown]
	hellos  []*polderv1.Hello
	reports map[string][]*polderv1.TaskReport
	notices map[string][]*polderv1.NoticeReport
	gone    [][]string // as told, one after the other
	events  []*polderv1.AgentEvent
	beats   []*polderv1.Heartbeat
}

func newServer() *server {
	return &server{
		epoch: 1, relays: make(chan *pipe[polderv1.RelayUp, polderv1.RelayDown], 10),
		reports: map[string][]*polderv1.TaskReport{}, notices: map[string][]*polderv1.NoticeReport{},
	}
}

func (s *server) Join(context.Context) error { return nil }

func (s *server) Session(ctx context.Context) (Stream[polderv1.AgentMessage, polderv1.ServerMessage], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, errors.New("connection refused")
	}
	s.session = &pipe[polderv1.AgentMessage, polderv1.ServerMessage]{
		ctx: ctx, down: make(chan *polderv1.ServerMessage, 100), hung: make(chan struct{}), got: s.got,
	}
	return s.session, nil
}

func (s *server) Relay(ctx context.Context) (Stream[polderv1.RelayUp, polderv1.RelayDown], error) {
	p := &pipe[polderv1.RelayUp, polderv1.RelayDown]{
		ctx: ctx, down: make(chan *polderv1.RelayDown, 100), up: make(chan *polderv1.RelayUp, 100), hung: make(chan struct{}),
	}
	s.relays <- p
	return p, nil
}

func (s *server) got(m *polderv1.AgentMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch b := m.Body.(type) {
	case *polderv1.AgentMessage_Hello:
		s.hellos = append(s.hellos, b.Hello)
		for _, r := range b.Hello.Tasks {
			s.reports[r.Assignment.Task] = append(s.reports[r.Assignment.Task], r)
		}
		s.session.down <- &polderv1.ServerMessage{Body: &polderv1.ServerMessage_Welcome{
			Welcome: &polderv1.Welcome{Epoch: s.epoch, Heartbeat: durationpb.New(5 * time.Second)},
		}}
	case *polderv1.AgentMessage_Report:
		s.reports[b.Report.Assignment.Task] = append(s.reports[b.Report.Assignment.Task], b.Report)
	case *polderv1.AgentMessage_Notice:
		s.notices[b.Notice.Notice] = append(s.notices[b.Notice.Notice], b.Notice)
	case *polderv1.AgentMessage_Event:
		s.events = append(s.events, b.Event)
	case *polderv1.AgentMessage_Runtimes:
		s.gone = append(s.gone, b.Runtimes.Away)
	case *polderv1.AgentMessage_Heartbeat:
		s.beats = append(s.beats, b.Heartbeat)
	}
}

// hangUp ends the session; with away the agent cannot come back.
func (s *server) hangUp(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
	close(s.session.hung)
}

func (s *server) comeBack(epoch int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.epoch = false, epoch
}

func (s *server) say(m *polderv1.ServerMessage) {
	s.mu.Lock()
	session := s.session
	s.mu.Unlock()
	session.down <- m
	synctest.Wait()
}

func (s *server) launch(a *polderv1.Assignment) {
	s.say(&polderv1.ServerMessage{Body: &polderv1.ServerMessage_Launch{Launch: a}})
}

func (s *server) stop(m *polderv1.StopTask) {
	s.say(&polderv1.ServerMessage{Body: &polderv1.ServerMessage_Stop{Stop: m}})
}

// notice sends a notice of id "n" and the task's id.
func (s *server) notice(task string, grace time.Duration) {
	now := time.Now()
	s.say(&polderv1.ServerMessage{Body: &polderv1.ServerMessage_Notice{Notice: &polderv1.NoticeTask{
		Grace: durationpb.New(grace),
		Notice: &polderv1.Notice{
			Id: "n" + task, Task: task, Claimant: "corp/search for ask web", Amount: map[string]string{"cpu": "2"},
			Issued: timestamppb.New(now), Deadline: timestamppb.New(now.Add(grace)), State: "open",
		},
	}}})
}

func (s *server) withdraw(task string) {
	s.say(&polderv1.ServerMessage{Body: &polderv1.ServerMessage_Withdraw{Withdraw: &polderv1.WithdrawNotice{Notice: "n" + task, Task: task}}})
}

func (s *server) ack(task string) {
	s.say(&polderv1.ServerMessage{Body: &polderv1.ServerMessage_Ack{Ack: &polderv1.AckTask{Task: task}}})
}

// last is the newest report of a task.
func (s *server) last(task string) *polderv1.TaskReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.reports[task]; len(r) > 0 {
		return r[len(r)-1]
	}
	return &polderv1.TaskReport{}
}

func (s *server) lastNotice(task string) *polderv1.NoticeReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.notices["n"+task]; len(r) > 0 {
		return r[len(r)-1]
	}
	return &polderv1.NoticeReport{}
}

func (s *server) hello() *polderv1.Hello {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hellos[len(s.hellos)-1]
}

func (s *server) saw(kind string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Kind == kind {
			return true
		}
	}
	return false
}

// pipe is a stream between an agent and a test.
type pipe[Up, Down any] struct {
	ctx  context.Context
	down chan *Down
	up   chan *Up // or got
	got  func(*Up)
	hung chan struct{}
}

func (p *pipe[Up, Down]) Send(m *Up) error {
	select {
	case <-p.hung:
		return io.EOF
	case <-p.ctx.Done():
		return p.ctx.Err()
	default:
	}
	if p.got != nil {
		p.got(m)
		return nil
	}
	select {
	case p.up <- m:
		return nil
	case <-p.hung:
		return io.EOF
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

func (p *pipe[Up, Down]) Receive() (*Down, error) {
	select {
	case m := <-p.down:
		return m, nil
	case <-p.hung:
		return nil, io.EOF
	case <-p.ctx.Done():
		return nil, p.ctx.Err()
	}
}

func (p *pipe[Up, Down]) CloseRequest() error  { return nil }
func (p *pipe[Up, Down]) CloseResponse() error { return nil }

// testClock is a machine whose wall clock can be set and that can boot.
type testClock struct {
	mu    sync.Mutex
	start time.Time
	skew  time.Duration
	boot  string
}

func newTestClock() *testClock { return &testClock{start: time.Now(), boot: "boot-1"} }

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.skew)
}

func (c *testClock) Boot() (string, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boot, time.Since(c.start)
}

func (c *testClock) jump(d time.Duration) { c.mu.Lock(); c.skew += d; c.mu.Unlock() }

// machine is an agent with everything around it; it can be restarted.
type machine struct {
	t        *testing.T
	dir      string
	server   *server
	runtime  *fake.Runtime
	clock    *testClock
	disk     func(path string) (checkpoint.File, error)
	callback func(*http.Request) (*http.Response, error)
	gpus     []string
	agent    *Agent
	halt     func()
}

// newMachine starts an agent whose tasks behave as scripted. It ends with the test.
func newMachine(t *testing.T, script func(runtime.Spec) fake.Script) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir(), server: newServer(), runtime: fake.New(script), clock: newTestClock()}
	m.start()
	t.Cleanup(func() { m.halt() })
	return m
}

func (m *machine) start() {
	m.t.Helper()
	c := Config{
		Node: "n1", Dir: m.dir, Runtimes: []runtime.Runtime{m.runtime}, Clock: m.clock, Link: m.server, GPUs: m.gpus,
		Capacity: resource.Resources{"cpu": 4000, "memory": 8 << 30, "disk": 1 << 40},
		Jitter:   func(d time.Duration) time.Duration { return d }, Checkpoint: checkpoint.Options{Create: m.disk},
	}
	c.Ports.AddRange(resource.PortRange{First: 31000, Last: 31010})
	a, err := New(c)
	if err != nil {
		m.t.Fatal(err)
	}
	a.changes = func(ctx context.Context, _ string) iter.Seq[struct{}] { return poll(ctx) }
	a.callbacks = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if m.callback == nil {
			return nil, errors.New("nobody listens")
		}
		return m.callback(r)
	})}
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	m.agent = a
	m.halt = sync.OnceFunc(func() {
		cancel(fmt.Errorf("%w by a signal", context.Canceled)) // as package signal does
		if err := <-done; err != nil {
			m.t.Errorf("run: %v", err)
		}
	})
	synctest.Wait()
}

// restart ends the agent and starts another on the same directory and the same runtime.
func (m *machine) restart() {
	m.t.Helper()
	m.halt()
	m.start()
}

func (m *machine) write(task, name, text string) {
	m.t.Helper()
	path := filepath.Join(m.dir, "sandboxes", task, name)
	if err := os.WriteFile(path+".tmp", []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) read(task, name string) string {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.dir, "sandboxes", task, name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}

// want fails unless the server's newest report of the task is in the state, with the reason's code.
func (m *machine) want(task string, state polderv1.TaskState, code string) {
	m.t.Helper()
	r := m.server.last(task)
	if r.State != state || r.Reason.GetCode() != code {
		m.t.Fatalf("%s: task %s is %v (%s: %s), want %v (%s)", time.Now().Format("15:04:05.000"), task, r.State,
			r.Reason.GetCode(), r.Reason.GetMessage(), state, code)
	}
}

// pass lets time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answering(text string) *http.Response {
	return &http.Response{StatusCode: 200, Status: "200 OK", Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text))}
}

// assignment is a task of 2 cpus for corp/batch that wants ten seconds after its stop signal.
func assignment(id string, change ...func(*polderv1.TaskSpec)) *polderv1.Assignment {
	spec := &polderv1.TaskSpec{Runtime: "fake", Command: []string{"work"},
		Kill: &polderv1.KillPolicy{Grace: durationpb.New(10 * time.Second)}}
	for _, c := range change {
		c(spec)
	}
	return &polderv1.Assignment{
		Task: id, Ask: "ask", Role: "corp/batch", Resources: map[string]string{"cpu": "2", "memory": "1Gi"}, Spec: spec,
		Funding: "borrowed", Ports: map[string]uint32{"http": 31000},
	}
}

// plain is a task that runs until it is told to stop.
func plain(runtime.Spec) fake.Script { return fake.Script{} }

// stubborn is a task that only SIGKILL ends.
func stubborn(runtime.Spec) fake.Script {
	return fake.Script{Ignore: []runtime.Signal{15, 2, 10}}
}
