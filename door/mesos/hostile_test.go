package mesos

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door"
	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
	"polder.dev/polder/store"
)

// TestBadBodies: what no client of good faith sends is refused, quickly and with a reason; what a newer one may send is not.
func TestBadBodies(t *testing.T) {
	w := newWorld(t, onePlan, 0, nil)
	json, pb := "application/json", "application/x-protobuf"
	deep := strings.Repeat(`{"framework_id":`, 20_000)
	for name, x := range map[string]struct {
		path, kind, body string
		status           int
	}{
		"deep objects":            {"/api/v1/scheduler", json, deep, 400},
		"deep lists":              {"/api/v1", json, `{"type":"GET_STATE","x":` + strings.Repeat("[", 100_000), 400},
		"deep in what is unknown": {"/api/v1/scheduler", json, `{"x":` + strings.Repeat(`{"x":`, 100_000), 400},
		"deep containers":         {"/slave(1)/api/v1", json, `{"type":"WAIT_CONTAINER","wait_container":{"container_id":` + strings.Repeat(`{"value":"x","parent":`, 20_000), 400},
		"an unknown call":         {"/api/v1/scheduler", json, `{"type":"LEVITATE"}`, 400},
		"an unknown number":       {"/api/v1/scheduler", pb, "\x10\x63", 400},
		"an operator's":           {"/api/v1", json, `{"type":"LEVITATE"}`, 400},
		"an operator's number":    {"/api/v1", pb, "\x08\x63", 501},
		"an agent's":              {"/slave(1)/api/v1", json, `{"type":"LEVITATE"}`, 400},
		"an executor's":           {"/api/v1/executor", json, `{"executor_id":{"value":"e"},"framework_id":{"value":"f"},"type":"LEVITATE"}`, 501},
		"cut off":                 {"/api/v1/scheduler", pb, "\x10\x01\x1a\x7f", 400},
		"too long":                {"/api/v1", json, strings.Repeat(" ", maxBody+1), 413},
	} {
		if res, text := w.send(w.admin, x.path, []byte(x.body), "Content-Type", x.kind); res.StatusCode != x.status {
			t.Errorf("%s: answered %s: %.200s, want %d", name, res.Status, text, x.status)
		}
	}
	// An unknown capability is one the framework does without.
	res := w.raw(`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n","role":"a","capabilities":[{"type":"LEVITATION"}],"newer":{"than":["this"]}}}}`)
	if res.StatusCode != http.StatusOK {
		t.Errorf("a framework with an unknown capability is answered %s", res.Status)
	}
}

// TestRefusedSubscriptionChangesNothing: a framework that subscribes again with what is refused is as it was, and stays subscribed.
func TestRefusedSubscriptionChangesNothing(t *testing.T) {
	w := newWorld(t, onePlan, 0, nil)
	c := w.subscribe(w.admin, info("good", []string{"a", "b"}))
	c.next(schedulerv1.Event_HEARTBEAT)
	again := info("bad", []string{"a", "b"})
	again.Id = &mesosv1.FrameworkID{Value: &c.id}
	res := w.raw(string(wire.AppendJSON(nil, &schedulerv1.Call{
		Type: schedulerv1.Call_SUBSCRIBE.Enum(), FrameworkId: again.Id, Subscribe: &schedulerv1.Call_Subscribe{
			FrameworkInfo: again, SuppressedRoles: []string{"a"}, OfferConstraints: &schedulerv1.OfferConstraints{
				RoleConstraints: map[string]*schedulerv1.OfferConstraints_RoleConstraints{
					"b": {Groups: []*schedulerv1.OfferConstraints_RoleConstraints_Group{{}}}, // a group without constraints
				}}}})))
	for _, e := range events(res.Body) {
		if e.GetType() != schedulerv1.Event_ERROR {
			t.Errorf("the answer is %v", e)
		}
		break
	}
	w.door.mu.Lock()
	defer w.door.mu.Unlock()
	f := w.door.frameworks[c.id]
	if f.info.GetName() != "good" || f.subs["a"].suppressed || f.stream == nil || f.stream.id != c.stream {
		t.Errorf("it is called %s, role a is suppressed: %v, its stream is %v", f.info.GetName(), f.subs["a"].suppressed, f.stream)
	}
}

// TestPanicOfAReader: a bug in what shows the books costs its reader an answer, and nobody else the door.
func TestPanicOfAReader(t *testing.T) {
	w := newWorld(t, onePlan, 0, nil)
	broken := document(func(*Door, viewer, *http.Request) any { panic("a bug") })
	func() {
		defer func() { _ = recover() }()
		who := principal{name: "admin", caller: door.Bearer(w.admin, "")}
		if err := broken(w.door, who, httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/x", nil)); err != nil {
			t.Errorf("it did not panic, and says %v", err)
		}
	}()
	if res, text := w.send(w.admin, "/api/v1", []byte(`{"type":"GET_STATE"}`), "Content-Type", "application/json"); res.StatusCode != http.StatusOK {
		t.Errorf("the next reader is answered %s: %s", res.Status, text)
	}
}

// TestFrameworkThatStopsReading: it is disconnected, and what waits for it stays within its bound.
func TestFrameworkThatStopsReading(t *testing.T) {
	w := newWorld(t, onePlan, 0, nil)
	conn, err := net.Dial("tcp", w.door.c.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n","role":"a","failover_timeout":3600}}}`
	fmt.Fprintf(conn, "POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", w.admin, len(body), body)
	if line, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("it is answered %q, %v", line, err)
	}
	// It reads no more. Its executors have much to say.
	big := event(schedulerv1.Event_MESSAGE)
	big.Message = &schedulerv1.Event_Message{AgentId: &mesosv1.AgentID{Value: new("n")}, ExecutorId: &mesosv1.ExecutorID{Value: new("e")}, Data: make([]byte, 1<<20)}
	w.until("it is disconnected", func() bool {
		w.door.mu.Lock()
		defer w.door.mu.Unlock()
		for _, f := range w.door.frameworks {
			if f.stream == nil {
				return !f.awaySince.IsZero()
			}
			f.send(big)
			f.stream.mu.Lock()
			waits := f.stream.size
			f.stream.mu.Unlock()
			if waits > maxQueued {
				t.Fatalf("%d bytes wait for it", waits)
			}
		}
		return false
	})
}

// TestAcceptOfARescindedOffer: who accepts what was taken back is told at once that nothing was launched.
func TestAcceptOfARescindedOffer(t *testing.T) {
	w := newWorld(t, onePlan, 1, func(c *Config) { c.OfferTimeout = 100 * time.Millisecond })
	c := w.subscribe(w.admin, info("slow", []string{"a"}, mesosv1.FrameworkInfo_Capability_PARTITION_AWARE))
	o := c.offer()
	c.next(schedulerv1.Event_RESCIND)
	c.must(http.StatusAccepted, launchCall(o, command(o, "late", "forever", scalar("cpus", 1))))
	if s := c.next(schedulerv1.Event_UPDATE).Update.Status; s.GetState() != mesosv1.TaskState_TASK_DROPPED || s.GetReason() != mesosv1.TaskStatus_REASON_INVALID_OFFERS || s.Uuid != nil {
		t.Errorf("a rescinded offer: %v", s)
	}
}

// TestOptimisticLosersAreToldAtOnce: of those who accept the same machine at once, one runs its task and each other is told that its offer is void.
func TestOptimisticLosersAreToldAtOnce(t *testing.T) {
	w := newWorld(t, onePlan, 1, func(c *Config) { c.Optimistic = true })
	const n = 5
	states := make([]mesosv1.TaskState, n)
	var clients []*client
	var offers []*mesosv1.Offer
	for i := range n {
		clients = append(clients, w.subscribe(w.admin, info(fmt.Sprint(i), []string{"a"})))
		offers = append(offers, clients[i].offer())
	}
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() {
			c.call(launchCall(offers[i], command(offers[i], fmt.Sprintf("t%d", i), "forever", scalar("cpus", 4))), streamHeader, c.stream)
		})
	}
	all.Wait()
	won := 0
	for i, c := range clients {
		states[i] = c.next(schedulerv1.Event_UPDATE).Update.Status.GetState()
		if states[i] == mesosv1.TaskState_TASK_RUNNING {
			won++
		} else if states[i] != mesosv1.TaskState_TASK_LOST {
			t.Errorf("task %d is %v", i, states[i])
		}
	}
	if won != 1 {
		t.Errorf("%d of %d won: %v", won, n, states)
	}
}

// TestAcknowledgedTwice: the second acknowledgement of an update, and one of an update that nobody sent, change nothing.
func TestAcknowledgedTwice(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	c := w.subscribe(w.admin, info("ack", []string{"a"}))
	o := c.offer()
	c.must(http.StatusAccepted, launchCall(o, command(o, "t", "forever", scalar("cpus", 1))))
	running := c.next(schedulerv1.Event_UPDATE).Update.Status
	kill := &schedulerv1.Call{Type: schedulerv1.Call_KILL.Enum(), Kill: &schedulerv1.Call_Kill{TaskId: running.TaskId}}
	c.must(http.StatusAccepted, kill)
	w.until("its end waits for the acknowledgement", func() bool {
		w.door.mu.Lock()
		defer w.door.mu.Unlock()
		x := w.door.frameworks[c.id].tasks["t"]
		return x != nil && len(x.updates) == 2
	})
	other := acknowledge(running)
	other.Acknowledge.Uuid = []byte("0123456789abcdef")
	c.must(http.StatusAccepted, other)
	for range 3 {
		c.must(http.StatusAccepted, acknowledge(running))
	}
	killed := c.next(schedulerv1.Event_UPDATE).Update.Status
	if killed.GetState() != mesosv1.TaskState_TASK_KILLED {
		t.Fatalf("after running comes %v", killed)
	}
	w.door.mu.Lock()
	if x := w.door.frameworks[c.id].tasks["t"]; x == nil || len(x.updates) != 1 {
		t.Errorf("the end is acknowledged before its time: %v", x)
	}
	w.door.mu.Unlock()
	for range 2 {
		c.must(http.StatusAccepted, acknowledge(killed))
	}
	w.door.mu.Lock()
	defer w.door.mu.Unlock()
	if f := w.door.frameworks[c.id]; len(f.tasks) != 0 || len(f.completed) != 1 {
		t.Errorf("%d tasks, %d completed", len(f.tasks), len(f.completed))
	}
}

// TestLeaderChangesWhileSubscribing: a door ends while frameworks open their streams. Whoever was told SUBSCRIBED is known to the next door by
// that id; nobody is left with a stream that nobody serves.
func TestLeaderChangesWhileSubscribing(t *testing.T) {
	w := newWorld(t, onePlan, 1, func(c *Config) { c.Store = store.NewMemory() })
	const n = 8
	ids := make(chan string, n)
	base := w.base // of the door that ends
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			body := fmt.Sprintf(`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"f%d","role":"a","failover_timeout":3600}}}`, i)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/api/v1/scheduler", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			r.SetBasicAuth("admin", w.admin)
			r.Header.Set("Content-Type", "application/json")
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				return // the door was gone
			}
			defer res.Body.Close()
			for _, e := range events(res.Body) { // to its end
				if e.GetType() == schedulerv1.Event_SUBSCRIBED {
					ids <- e.Subscribed.FrameworkId.GetValue()
				}
			}
		})
	}
	w.until("somebody is subscribed", func() bool { return len(ids) > 0 || w.subscribed() > 0 })
	w.reopen()
	all.Wait()
	close(ids)
	for id := range ids {
		w.door.mu.Lock()
		known := w.door.frameworks[id] != nil
		w.door.mu.Unlock()
		if !known {
			t.Errorf("framework %s was told SUBSCRIBED and is forgotten", id)
		}
		if e := w.subscribe(w.admin, withID(info("again", []string{"a"}), id)).next(schedulerv1.Event_SUBSCRIBED); e.Subscribed.FrameworkId.GetValue() != id {
			t.Errorf("framework %s is now %v", id, e)
		}
	}
}

// subscribed counts the streams that are open.
func (w *world) subscribed() (n int) {
	w.door.mu.Lock()
	defer w.door.mu.Unlock()
	for _, f := range w.door.frameworks {
		if f.stream != nil {
			n++
		}
	}
	return n
}

// TestAgentLostWithUnacknowledgedUpdates: what happened before the agent was lost is told first, and again until it is acknowledged; then comes the end.
func TestAgentLostWithUnacknowledgedUpdates(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	c := w.subscribe(w.admin, info("lost", []string{"a"}, mesosv1.FrameworkInfo_Capability_PARTITION_AWARE))
	o := c.offer()
	c.must(http.StatusAccepted, launchCall(o, command(o, "t", "forever", scalar("cpus", 1))))
	running := c.next(schedulerv1.Event_UPDATE).Update.Status
	w.halt["n1"]()
	if e := c.next(schedulerv1.Event_FAILURE); e.Failure.AgentId.GetValue() != "n1" || e.Failure.ExecutorId != nil {
		t.Errorf("the failure is %v", e)
	}
	w.until("the node may be forgotten", func() bool {
		_, err := w.api.Nodes.Remove(w.as(w.admin), connect.NewRequest(&polderv1.NodeServiceRemoveRequest{Name: "n1"}))
		return err == nil
	})
	w.until("its end waits", func() bool {
		w.door.mu.Lock()
		defer w.door.mu.Unlock()
		x := w.door.frameworks[c.id].tasks["t"]
		return x != nil && x.over() && len(x.updates) == 2
	})
	again := w.subscribe(w.admin, withID(info("lost", []string{"a"}, mesosv1.FrameworkInfo_Capability_PARTITION_AWARE), c.id))
	again.next(schedulerv1.Event_SUBSCRIBED)
	if s := again.next(schedulerv1.Event_UPDATE).Update.Status; string(s.Uuid) != string(running.Uuid) || s.GetState() != mesosv1.TaskState_TASK_RUNNING {
		t.Fatalf("first comes %v", s)
	}
	again.must(http.StatusAccepted, acknowledge(running))
	gone := again.next(schedulerv1.Event_UPDATE).Update.Status
	if gone.GetState() != mesosv1.TaskState_TASK_GONE || len(gone.Uuid) != 16 {
		t.Fatalf("then comes %v", gone)
	}
	again.must(http.StatusAccepted, acknowledge(gone))
	w.door.mu.Lock()
	defer w.door.mu.Unlock()
	if left := len(w.door.frameworks[c.id].tasks); left != 0 {
		t.Errorf("%d tasks are left", left)
	}
}

// events yields the events of a stream until it ends.
func events(body io.Reader) iter.Seq2[int, *schedulerv1.Event] {
	return func(yield func(int, *schedulerv1.Event) bool) {
		in := wire.NewRecordReader(body, 1<<26)
		for i := 0; ; i++ {
			data, err := in.Next()
			e := &schedulerv1.Event{}
			if err != nil || wire.UnmarshalJSON(data, e) != nil || !yield(i, e) {
				return
			}
		}
	}
}

// TestTeardownWhileClaiming: a framework is torn down while what it launches is on its way to the pool. Nothing of it stays there.
func TestTeardownWhileClaiming(t *testing.T) {
	kept := store.NewMemory()
	w := newWorld(t, onePlan, 1, func(c *Config) { c.Store = kept })
	c := w.subscribe(w.admin, info("hasty", []string{"a"}))
	o := c.offer()
	with := command(o, "executed", "", scalar("cpus", 0.1))
	with.Command, with.Executor = nil, &mesosv1.ExecutorInfo{ExecutorId: &mesosv1.ExecutorID{Value: new("e")}, Command: &mesosv1.CommandInfo{Value: new("forever")}, Resources: []*mesosv1.Resource{scalar("cpus", 0.1)}}
	d := w.door
	var a *acceptance
	var f *framework
	d.with(func() {
		f = d.frameworks[c.id]
		a = d.begin(f, launchCall(o, command(o, "plain", "forever", scalar("cpus", 0.1)), with).Accept)
		d.remove(f)
	})
	var claimed []string
	for _, b := range a.batches {
		results, revision, err := d.commit(w.as(w.admin), a.node, b, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			claimed = append(claimed, r.Task)
		}
		d.with(func() { d.settle(a, b, results, revision, err) })
	}
	if len(claimed) != 3 {
		t.Fatalf("%d tasks of the pool were claimed", len(claimed))
	}
	w.until("all of them are over", func() bool {
		for _, id := range claimed {
			res, err := w.api.Tasks.Get(w.as(w.admin), connect.NewRequest(&polderv1.TaskServiceGetRequest{Id: id}))
			if err == nil && !(news{res.Msg.Task}).over() {
				return false
			}
		}
		return true
	})
	if err := d.durable(t.Context()); err != nil {
		t.Fatal(err)
	}
	snap, err := kept.View(t.Context(), keepPrefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range snap.Entries {
		if strings.HasPrefix(e.Key, taskPrefix) || strings.HasPrefix(e.Key, executorPrefix) {
			t.Errorf("%s is still written down", e.Key)
		}
	}
}
