package mesos

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"polder.dev/polder/agent"
	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/fake"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/door"
	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
	"polder.dev/polder/planfile"
	"polder.dev/polder/server"
	"polder.dev/polder/server/servertest"
	"polder.dev/polder/server/traffic"
	"polder.dev/polder/store"
)

// patience bounds every wait of a test.
const patience = 30 * time.Second

// world is a server with agents of fake machines and a door.
type world struct {
	t    *testing.T
	api  *door.API
	door *Door
	http *httptest.Server
	kept store.Store       // of the door; nil is none
	gate sync.Map          // by node, where its tasks reach the door
	dirs map[string]string // of agents, by node
	halt map[string]func() // ends an agent, by node
	stop func()            // ends the door
	admin,
	base string
}

// processes is a fake runtime under the name of the real one. The last word of a command says how the task behaves: "forever",
// or "exit N".
type processes struct{ *fake.Runtime }

// Name implements runtime.Runtime.
func (processes) Name() string { return "process" }

func (w *world) script(s runtime.Spec) fake.Script {
	w.gate.Store(s.Node, s.Gate)
	word := s.Command[len(s.Command)-1]
	if code, ok := strings.CutPrefix(word, "exit "); ok {
		out := fake.Script{ExitAtOnce: true}
		fmt.Sscan(code, &out.ExitCode)
		return out
	}
	out := fake.Script{Exec: inside, Usage: runtime.Usage{CPUSeconds: 1.5, MemoryBytes: 5 << 20}}
	if word == "cat" {
		out.Main = func(c fake.Console) int {
			_, _ = io.Copy(c.Stdout, c.Stdin)
			return 0
		}
	}
	return out
}

// inside runs a command in a task: "cat" says again what it reads, "size" what size its terminal has, "exit N" ends at once.
func inside(o runtime.ExecOptions) (code int, err error) {
	switch word, rest, _ := strings.Cut(o.Command[len(o.Command)-1], " "); word {
	case "cat":
		_, err = io.Copy(o.Stdout, o.Stdin)
	case "size":
		size := <-o.Resize
		fmt.Fprintf(o.Stdout, "%d x %d", size.Rows, size.Cols)
	case "exit":
		fmt.Fprint(o.Stderr, "oops")
		fmt.Sscan(rest, &code)
	}
	return code, err
}

// newWorld starts everything; change may be nil. Each node has 4 cpus and 4 GiB.
func newWorld(t *testing.T, plan string, nodes int, change func(*Config)) *world {
	t.Helper()
	first, err := planfile.Parse([]byte(plan))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dirs: map[string]string{}, halt: map[string]func(){}}
	doors := &traffic.Book{}
	doors.Opens(func(node string, rw http.ResponseWriter, r *http.Request) { w.door.Gate(node, rw, r) })
	s := servertest.Start(t, func(c *server.Config) { c.FirstPlan = first; c.Heartbeat = 2 * time.Second; c.Doors = doors })
	w.api, w.admin = door.Open(s.Handler, "mesos"), s.Admin
	for i := range nodes {
		w.join(s, fmt.Sprintf("n%d", i+1))
	}
	w.until("the nodes are ready", func() bool {
		r, err := w.api.Nodes.List(w.as(s.Admin), connect.NewRequest(&polderv1.NodeServiceListRequest{State: "ready"}))
		return err == nil && len(r.Msg.Nodes) == nodes
	})
	w.http = httptest.NewUnstartedServer(nil)
	cfg := Config{API: w.api, Addr: w.http.Listener.Addr().String(), Heartbeat: time.Hour, Resend: time.Hour, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	w.kept = cfg.Store
	w.open(cfg)
	return w
}

// open puts a door in front of the server.
func (w *world) open(cfg Config) {
	w.t.Helper()
	d, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	s := w.http
	s.Config.Handler = d.Handler()
	s.Start()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	w.door, w.base = d, s.URL
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the door ended: %v", err)
		}
		s.Close()
	})
	w.t.Cleanup(w.stop)
	w.until("the door is ready", d.isReady)
}

func (w *world) join(s *servertest.World, name string) {
	token, err := w.api.Access.CreateToken(w.as(s.Admin), connect.NewRequest(&polderv1.CreateTokenRequest{Kind: "join", Name: name, ValidFor: durationpb.New(time.Minute)}))
	if err != nil {
		w.t.Fatal(err)
	}
	ports, err := resource.ParsePorts("31000-31099")
	if err != nil {
		w.t.Fatal(err)
	}
	w.dirs[name] = w.t.TempDir()
	a, err := agent.New(agent.Config{
		Node: name, Dir: w.dirs[name], Server: s.Addr, Token: token.Msg.Secret, Runtimes: []runtime.Runtime{processes{fake.New(w.script)}},
		Capacity: resource.Resources{"cpu": 4 * resource.Milli, "memory": 4 << 30, "disk": 10 << 30}, Ports: ports, Attributes: map[string]string{"rack": name},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	w.halt[name] = sync.OnceFunc(func() { cancel(); <-ended })
	w.t.Cleanup(w.halt[name])
}

func (w *world) as(token string) context.Context {
	return door.As(w.t.Context(), door.Bearer(token, ""))
}

// user makes a token for somebody with permissions, "verb role" each.
func (w *world) user(name string, may ...string) string {
	w.t.Helper()
	now, err := w.api.Access.GetPermissions(w.as(w.admin), connect.NewRequest(&polderv1.GetPermissionsRequest{}))
	if err != nil {
		w.t.Fatal(err)
	}
	set := &polderv1.SetPermissionsRequest{BaseRevision: now.Msg.Revision, Permissions: now.Msg.Permissions}
	for _, m := range may {
		verb, role, _ := strings.Cut(m, " ")
		set.Permissions = append(set.Permissions, &polderv1.Permission{Subject: "user:" + name, Verbs: []string{verb}, Role: role})
	}
	if _, err := w.api.Access.SetPermissions(w.as(w.admin), connect.NewRequest(set)); err != nil {
		w.t.Fatal(err)
	}
	t, err := w.api.Access.CreateToken(w.as(w.admin), connect.NewRequest(&polderv1.CreateTokenRequest{Kind: "user", Name: name, ValidFor: durationpb.New(time.Hour)}))
	if err != nil {
		w.t.Fatal(err)
	}
	return t.Msg.Secret
}

// until polls for what other goroutines bring about.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("not in time: %s", what)
		}
	}
}

// send posts a body and returns the status and the text of the answer.
func (w *world) send(token, path string, body []byte, header ...string) (*http.Response, string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.base+path, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res, string(text)
}

// client is a scheduler.
type client struct {
	w      *world
	token  string
	id     string
	stream string
	events chan *schedulerv1.Event // closed when the stream ends
	hangUp context.CancelFunc
	head   http.Header
}

func info(name string, roles []string, caps ...mesosv1.FrameworkInfo_Capability_Type) *mesosv1.FrameworkInfo {
	f := &mesosv1.FrameworkInfo{User: new("root"), Name: &name, Roles: roles}
	for _, c := range append(caps, mesosv1.FrameworkInfo_Capability_MULTI_ROLE) {
		f.Capabilities = append(f.Capabilities, &mesosv1.FrameworkInfo_Capability{Type: c.Enum()})
	}
	return f
}

// subscribe opens a stream. The framework keeps its id when it has one.
func (w *world) subscribe(token string, f *mesosv1.FrameworkInfo) *client {
	w.t.Helper()
	call := &schedulerv1.Call{Type: schedulerv1.Call_SUBSCRIBE.Enum(), FrameworkId: f.Id, Subscribe: &schedulerv1.Call_Subscribe{FrameworkInfo: f}}
	ctx, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.base+"/api/v1/scheduler", bytes.NewReader(wire.AppendJSON(nil, call)))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		w.t.Fatalf("SUBSCRIBE is answered %s: %s", res.Status, text)
	}
	c := &client{w: w, token: token, stream: res.Header.Get(streamHeader), events: make(chan *schedulerv1.Event, 10_000), hangUp: cancel, head: res.Header}
	go c.read(res.Body)
	return c
}

func (c *client) read(body io.ReadCloser) {
	defer close(c.events)
	defer body.Close()
	in := wire.NewRecordReader(body, 1<<26)
	for {
		data, err := in.Next()
		if err != nil {
			return
		}
		e := &schedulerv1.Event{}
		if err := wire.UnmarshalJSON(data, e); err != nil {
			panic(err)
		}
		if e.GetType() == schedulerv1.Event_SUBSCRIBED {
			c.id = e.Subscribed.FrameworkId.GetValue()
		}
		c.events <- e
	}
}

// next returns the next event of a kind, and forgets those before it.
func (c *client) next(kind schedulerv1.Event_Type) *schedulerv1.Event {
	c.w.t.Helper()
	late := time.After(patience)
	for {
		select {
		case e, ok := <-c.events:
			if !ok {
				c.w.t.Fatalf("the stream ended before %v", kind)
			}
			if e.GetType() == kind {
				return e
			}
		case <-late:
			c.w.t.Fatalf("no %v in time", kind)
		}
	}
}

// offer returns the first offer that comes.
func (c *client) offer() *mesosv1.Offer { return c.next(schedulerv1.Event_OFFERS).Offers.Offers[0] }

// containers waits until tasks run, whichever is first, and returns their containers by their ids.
func (c *client) containers(ids ...string) map[string]string {
	c.w.t.Helper()
	out := map[string]string{}
	for len(out) < len(ids) {
		s := c.next(schedulerv1.Event_UPDATE).Update.Status
		if id := s.TaskId.GetValue(); slices.Contains(ids, id) && s.GetState() == mesosv1.TaskState_TASK_RUNNING {
			out[id] = s.GetContainerStatus().GetContainerId().GetValue()
		}
		c.acknowledge(s)
	}
	return out
}

func (c *client) acknowledge(s *mesosv1.TaskStatus) {
	if s.Uuid != nil {
		c.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_ACKNOWLEDGE.Enum(),
			Acknowledge: &schedulerv1.Call_Acknowledge{AgentId: s.AgentId, TaskId: s.TaskId, Uuid: s.Uuid}})
	}
}

// state waits for an update of a task in a state, acknowledging every one on the way.
func (c *client) state(id string, want mesosv1.TaskState) *mesosv1.TaskStatus {
	c.w.t.Helper()
	for {
		s := c.next(schedulerv1.Event_UPDATE).Update.Status
		if s.TaskId.GetValue() != id {
			continue
		}
		c.acknowledge(s)
		if s.GetState() == want {
			return s
		}
		if terminal(s.GetState()) {
			c.w.t.Fatalf("task %s is %v (%v: %s), want %v", id, s.GetState(), s.GetReason(), s.GetMessage(), want)
		}
	}
}

// must calls and checks the status.
func (c *client) must(status int, call *schedulerv1.Call) string {
	c.w.t.Helper()
	res, text := c.call(call, streamHeader, c.stream)
	if res.StatusCode != status {
		c.w.t.Fatalf("%v is answered %s: %s", call.GetType(), res.Status, text)
	}
	return text
}

func (c *client) call(call *schedulerv1.Call, header ...string) (*http.Response, string) {
	c.w.t.Helper()
	call.FrameworkId = &mesosv1.FrameworkID{Value: &c.id}
	body, err := proto.Marshal(call)
	if err != nil {
		c.w.t.Fatal(err)
	}
	return c.w.send(c.token, "/api/v1/scheduler", body, append(header, "Content-Type", "application/x-protobuf")...)
}

func scalar(name string, v float64) *mesosv1.Resource {
	return &mesosv1.Resource{Name: &name, Type: mesosv1.Value_SCALAR.Enum(), Scalar: &mesosv1.Value_Scalar{Value: &v}}
}

func revocable(r *mesosv1.Resource) *mesosv1.Resource {
	r.Revocable = &mesosv1.Resource_RevocableInfo{}
	return r
}

// command is a task on an offer's node.
func command(o *mesosv1.Offer, id, word string, resources ...*mesosv1.Resource) *mesosv1.TaskInfo {
	return &mesosv1.TaskInfo{Name: new("Task " + id), TaskId: &mesosv1.TaskID{Value: &id}, AgentId: o.AgentId, Resources: resources,
		Command: &mesosv1.CommandInfo{Value: &word}}
}

// launch accepts an offer with tasks.
func launchCall(o *mesosv1.Offer, tasks ...*mesosv1.TaskInfo) *schedulerv1.Call {
	return &schedulerv1.Call{Type: schedulerv1.Call_ACCEPT.Enum(), Accept: &schedulerv1.Call_Accept{
		OfferIds:   []*mesosv1.OfferID{o.Id},
		Operations: []*mesosv1.Offer_Operation{{Type: mesosv1.Offer_Operation_LAUNCH.Enum(), Launch: &mesosv1.Offer_Operation_Launch{TaskInfos: tasks}}},
		Filters:    &mesosv1.Filters{RefuseSeconds: new(0.0)},
	}}
}

func decline(o *mesosv1.Offer, seconds float64) *schedulerv1.Call {
	return &schedulerv1.Call{Type: schedulerv1.Call_DECLINE.Enum(), Decline: &schedulerv1.Call_Decline{
		OfferIds: []*mesosv1.OfferID{o.Id}, Filters: &mesosv1.Filters{RefuseSeconds: &seconds},
	}}
}
