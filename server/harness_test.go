package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/auth"
	"polder.dev/polder/core/role"
	"polder.dev/polder/planfile"
	"polder.dev/polder/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipes is a listener whose connections are pipes inside this process.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// trail is an audit trail in memory that can break.
type trail struct {
	mu      sync.Mutex
	entries []auth.Entry
	broken  error
}

func (a *trail) Record(_ context.Context, e auth.Entry) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.broken == nil {
		a.entries = append(a.entries, e)
	}
	return a.broken
}

func (a *trail) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.broken = err
}

func (a *trail) len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.entries)
}

func (a *trail) since(n int) []auth.Entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.entries[n:])
}

// world is a server on a memory store, and what outlives it.
type world struct {
	t     *testing.T
	dir   string
	store store.Store
	ca    *auth.CA
	audit *trail
	admin string // token
	cfg   func(*Config)

	server *Server
	pipes  *pipes
	stop   context.CancelFunc
	result chan error
}

func newWorld(t *testing.T, cfg func(*Config)) *world {
	t.Helper()
	dir := t.TempDir()
	ca, err := auth.OpenCA(filepath.Join(dir, "ca"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	memory := store.NewMemory()
	t.Cleanup(func() { memory.Close() })
	w := &world{t: t, dir: dir, store: memory, ca: ca, audit: &trail{}, cfg: cfg}
	w.start()
	return w
}

// start starts a server; the one before must have stopped.
func (w *world) start() {
	w.t.Helper()
	cfg := Config{
		Store: w.store, CA: w.ca, Audit: w.audit, Logger: slog.New(slog.NewTextHandler(w.logs(), nil)), Version: "test",
		AdminToken: func(s auth.Secret) error { w.admin = s.Reveal(); return nil }, RecoverWait: 2 * time.Second,
	}
	if w.cfg != nil {
		w.cfg(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.server, w.pipes, w.stop, w.result = s, newPipes(), cancel, make(chan error, 1)
	result, listener := w.result, w.pipes
	go func() { result <- s.Run(ctx, listener) }()
	select {
	case <-s.Leading():
	case err := <-result:
		w.t.Fatalf("server ended: %v", err)
	}
	w.t.Cleanup(func() { cancel(); w.wait(result) })
}

func (w *world) logs() io.Writer {
	if os.Getenv("POLDER_TEST_LOGS") != "" {
		return os.Stderr
	}
	return io.Discard
}

// wait returns how the server ended, again and again.
func (w *world) wait(result chan error) error {
	err := <-result
	result <- err
	return err
}

// end stops the server.
func (w *world) end() {
	w.t.Helper()
	w.stop()
	if err := w.wait(w.result); err != nil {
		w.t.Fatalf("server ended: %v", err)
	}
}

// bearer puts a token on every call.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}

// http returns a client that speaks TLS with the given configuration and token.
func (w *world) http(config *tls.Config, token string) *http.Client {
	transport := &http.Transport{DialContext: w.pipes.dial, TLSClientConfig: config, ForceAttemptHTTP2: true}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: bearer{token, transport}}
}

// as returns a client with a token.
func (w *world) as(token string) *client {
	w.t.Helper()
	config, err := auth.ClientTLS(w.ca.RootPEM())
	if err != nil {
		w.t.Fatal(err)
	}
	return newClient(w.http(config, token))
}

const baseURL = "https://polder-server"

type client struct {
	http        *http.Client
	plan        api.PlanServiceClient
	role        api.RoleServiceClient
	node        api.NodeServiceClient
	ask         api.AskServiceClient
	claim       api.ClaimServiceClient
	task        api.TaskServiceClient
	lease       api.LeaseServiceClient
	notice      api.NoticeServiceClient
	event       api.EventServiceClient
	access      api.AccessServiceClient
	volume      api.VolumeServiceClient
	reservation api.ReservationServiceClient
	agent       api.AgentServiceClient
}

func newClient(h *http.Client, opts ...connect.ClientOption) *client {
	return &client{
		h, api.NewPlanServiceClient(h, baseURL, opts...), api.NewRoleServiceClient(h, baseURL, opts...),
		api.NewNodeServiceClient(h, baseURL, opts...), api.NewAskServiceClient(h, baseURL, opts...),
		api.NewClaimServiceClient(h, baseURL, opts...), api.NewTaskServiceClient(h, baseURL, opts...),
		api.NewLeaseServiceClient(h, baseURL, opts...), api.NewNoticeServiceClient(h, baseURL, opts...),
		api.NewEventServiceClient(h, baseURL, opts...), api.NewAccessServiceClient(h, baseURL, opts...),
		api.NewVolumeServiceClient(h, baseURL, opts...), api.NewReservationServiceClient(h, baseURL, opts...),
		api.NewAgentServiceClient(h, baseURL, opts...),
	}
}

// call makes a unary call that must succeed.
func call[Req, Res any](t testing.TB, method func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error), msg *Req) *Res {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	res, err := method(ctx, connect.NewRequest(msg))
	if err != nil {
		t.Fatalf("%T: %v", msg, err)
	}
	return res.Msg
}

// refusal makes a unary call that must fail with a code, and returns the error.
func refusal[Req, Res any](t testing.TB, code connect.Code, method func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error), msg *Req) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := method(ctx, connect.NewRequest(msg))
	if connect.CodeOf(err) != code || err == nil {
		t.Fatalf("%T: %v, want %v", msg, err, code)
	}
	return err
}

// agent is a machine whose tasks live only in its memory, which is durable enough here.
type agent struct {
	t        *testing.T
	name     string
	creds    *auth.Credentials
	capacity map[string]string
	runtimes []string

	mu       sync.Mutex // guards everything below
	tasks    map[string]*polderv1.TaskReport
	launches map[string]int
	stops    map[string]int
	acks     map[string]bool
	notices  map[string]*polderv1.NoticeTask
	changed  chan struct{}
	epoch    int64
	serve    func(*polderv1.OpenRelay)
}

func (w *world) newAgent(name string, capacity map[string]string) *agent {
	w.t.Helper()
	token := call(w.t, w.as(w.admin).access.CreateToken, &polderv1.CreateTokenRequest{Kind: "join"}).Secret
	id := auth.Identity{Kind: auth.Agent, Name: name}
	creds, err := auth.OpenCredentials(filepath.Join(w.dir, name), id)
	if err != nil {
		w.t.Fatal(err)
	}
	join, err := auth.ParseJoinToken(token)
	if err != nil {
		w.t.Fatal(err)
	}
	csr, err := creds.Request()
	if err != nil {
		w.t.Fatal(err)
	}
	res := call(w.t, newClient(w.http(auth.JoinTLS(join), "")).agent.Join, &polderv1.JoinRequest{Token: token, Node: name, Csr: csr})
	if err := creds.Accept(res.Certificate, join.Digest); err != nil {
		w.t.Fatal(err)
	}
	return &agent{
		t: w.t, name: name, creds: creds, capacity: capacity, runtimes: []string{"process", "volume"}, tasks: map[string]*polderv1.TaskReport{}, launches: map[string]int{},
		stops: map[string]int{}, acks: map[string]bool{}, notices: map[string]*polderv1.NoticeTask{}, changed: make(chan struct{}),
	}
}

func (w *world) agentClient(a *agent) *client {
	w.t.Helper()
	config, err := a.creds.TLS()
	if err != nil {
		w.t.Fatal(err)
	}
	return newClient(w.http(config, ""))
}

// link is one session of an agent.
type link struct {
	agent  *agent
	stream *connect.BidiStreamForClient[polderv1.AgentMessage, polderv1.ServerMessage]
	cancel context.CancelFunc
	done   chan struct{}
	err    error
	mu     sync.Mutex // one sender at a time
}

// connect opens a session and serves it until it ends or the returned link is closed.
func (w *world) connect(a *agent) *link {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{agent: a, stream: w.agentClient(a).agent.Session(ctx), cancel: cancel, done: make(chan struct{})}
	if err := l.send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Hello{Hello: a.hello()}}); err != nil {
		w.t.Fatal(err)
	}
	first, err := l.stream.Receive()
	if err != nil || first.GetWelcome() == nil {
		w.t.Fatalf("no welcome for %s: %v, %v", a.name, first, err)
	}
	a.mu.Lock()
	a.epoch = first.GetWelcome().Epoch
	a.mu.Unlock()
	go func() {
		defer close(l.done)
		for {
			m, err := l.stream.Receive()
			if err != nil {
				l.err = err
				return
			}
			l.obey(m)
		}
	}()
	w.t.Cleanup(l.close)
	return l
}

func (a *agent) hello() *polderv1.Hello {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := &polderv1.Hello{Node: a.name, Capacity: a.capacity, Ports: "31000-31099", Runtimes: a.runtimes, Version: "test", Epoch: a.epoch, Volumes: "/agent/volumes"}
	for _, id := range sortedKeys(a.tasks) {
		h.Tasks = append(h.Tasks, proto.Clone(a.tasks[id]).(*polderv1.TaskReport))
	}
	return h
}

func (l *link) send(m *polderv1.AgentMessage) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stream.Send(m)
}

// close ends the session as a machine that dies does. Cancelling alone does not end a stream that is still being written.
func (l *link) close() {
	l.cancel()
	_ = l.stream.CloseRequest()
	<-l.done
}

// obey does what the server says at once.
func (l *link) obey(m *polderv1.ServerMessage) {
	a := l.agent
	var report *polderv1.TaskReport
	a.mu.Lock()
	switch body := m.Body.(type) {
	case *polderv1.ServerMessage_Launch:
		id := body.Launch.Task
		if a.tasks[id] == nil {
			a.launches[id]++
			a.tasks[id] = &polderv1.TaskReport{Assignment: body.Launch, State: polderv1.TaskState_TASK_STATE_RUNNING, Started: timestamppb.Now()}
		}
		report = a.tasks[id]
	case *polderv1.ServerMessage_Stop:
		a.stops[body.Stop.Task]++
		if t := a.tasks[body.Stop.Task]; t != nil {
			t.State, t.Ended = polderv1.TaskState_TASK_STATE_KILLED, timestamppb.Now()
			report = t
		}
	case *polderv1.ServerMessage_Notice:
		a.notices[body.Notice.Notice.Task] = body.Notice
	case *polderv1.ServerMessage_Ack:
		a.acks[body.Ack.Task] = true
		delete(a.tasks, body.Ack.Task)
	case *polderv1.ServerMessage_Relay:
		if a.serve != nil {
			go a.serve(body.Relay)
		}
	}
	close(a.changed)
	a.changed = make(chan struct{})
	if report != nil {
		report = proto.Clone(report).(*polderv1.TaskReport)
	}
	a.mu.Unlock()
	if report != nil {
		l.report(report)
	}
}

// report sends news about a task; a broken session is found by the reader.
func (l *link) report(r *polderv1.TaskReport) {
	_ = l.send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Report{Report: r}})
}

// finish ends a task by itself.
func (l *link) finish(id string, state polderv1.TaskState) {
	l.agent.mu.Lock()
	t := l.agent.tasks[id]
	t.State, t.Ended = state, timestamppb.Now()
	t = proto.Clone(t).(*polderv1.TaskReport)
	l.agent.mu.Unlock()
	l.report(t)
}

// until waits for something about the agent to become true.
func (a *agent) until(what string, ok func() bool) {
	a.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		a.mu.Lock()
		good, changed := ok(), a.changed
		a.mu.Unlock()
		if good {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			a.t.Fatalf("agent %s: waited in vain for %s", a.name, what)
		}
	}
}

// until waits for the published picture to show something.
func (w *world) until(what string, ok func(*picture) bool) {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	l := w.leader()
	for {
		l.board.mu.RLock()
		changed := l.board.changed
		l.board.mu.RUnlock()
		if ok(l.board.look()) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			w.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (w *world) leader() *leader { return w.server.leader.Load() }

func process(role string, count uint32, cpu string) *polderv1.AskSpec {
	return &polderv1.AskSpec{Name: "job", Role: role, Count: count, Task: &polderv1.TaskSpec{
		Command: []string{"sleep", "1000"}, Resources: map[string]string{"cpu": cpu, "memory": "64Mi"},
	}}
}

func (w *world) submit(c *client, a *polderv1.AskSpec) *polderv1.Ask {
	w.t.Helper()
	res := call(w.t, c.ask.Submit, &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{a}})
	if res.Results[0].Ask == nil {
		w.t.Fatalf("refused: %v", res.Results[0].Refused)
	}
	return res.Results[0].Ask
}

var errBroken = errors.New("disk is full")

const codeUnavailable = connect.CodeUnavailable

func durationOf(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

func parse(t *testing.T, text string) *role.Plan {
	t.Helper()
	p, err := planfile.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func testCA(t *testing.T) *auth.CA {
	t.Helper()
	ca, err := auth.OpenCA(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}
