package server

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/store"
)

// TestRestart: nothing is lost, killed or doubled, and what a client remembers is still good.
func TestRestart(t *testing.T) {
	w := newWorld(t, nil)
	admin := w.as(w.admin)
	call(t, admin.plan.Apply, &polderv1.ApplyRequest{Plan: "roles: {default: {}, batch: {}}", BaseRevision: 1, Comment: "two"})
	one, two := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"}), w.newAgent("n2", map[string]string{"cpu": "4", "memory": "8Gi"})
	first, second := w.connect(one), w.connect(two)
	ask := w.submit(admin, process("batch", 12, "1"))
	one.until("four tasks", func() bool { return len(one.tasks) == 4 })
	two.until("four tasks", func() bool { return len(two.tasks) == 4 })
	w.until("eight running", func(p *picture) bool { r, _ := p.asks.Get(ask.Id); return r.Running == 8 })
	before := call(t, admin.ask.Get, &polderv1.AskServiceGetRequest{Id: ask.Id})
	revision := call(t, admin.event.List, &polderv1.EventServiceListRequest{}).Revision

	w.end()
	first.close()
	second.close()
	w.start()
	admin = w.as(w.admin)
	if got := call(t, admin.plan.Get, &polderv1.PlanServiceGetRequest{}).Revision; got.Revision != 2 || got.Comment != "two" {
		t.Errorf("plan is %v", got)
	}
	w.connect(one)
	if n := call(t, admin.node.Get, &polderv1.NodeServiceGetRequest{Name: "n2"}); n.State != "unreachable" || n.Version != "test" {
		t.Errorf("n2 is %v before it is back", n)
	}
	link := w.connect(two)
	w.until("eight running tasks", func(p *picture) bool {
		running := 0
		for _, v := range p.tasks.All() {
			if v.State.String() == "running" {
				running++
			}
		}
		r, _ := p.asks.Get(ask.Id)
		return running == 8 && r.Running == 8 && r.Pending == 4
	})
	after := call(t, admin.ask.Get, &polderv1.AskServiceGetRequest{Id: ask.Id})
	if after.SubmittedBy != before.SubmittedBy || after.Spec.Name != before.Spec.Name || !after.Submitted.AsTime().Equal(before.Submitted.AsTime()) {
		t.Errorf("ask is %v, was %v", after, before)
	}
	if now := call(t, admin.event.List, &polderv1.EventServiceListRequest{}).Revision; now <= revision {
		t.Errorf("revision is %d after the restart, was %d", now, revision)
	}
	// A task that ends now makes room for one of the four that wait.
	link.finish(sortedKeys(two.tasks)[0], polderv1.TaskState_TASK_STATE_SUCCEEDED)
	two.until("a fifth launch", func() bool { return len(two.launches) == 5 })
	for _, a := range []*agent{one, two} {
		a.mu.Lock()
		if len(a.stops) > 0 {
			t.Errorf("%s was told to stop %v", a.name, a.stops)
		}
		for id, n := range a.launches {
			if n != 1 {
				t.Errorf("%s was launched %d times", id, n)
			}
		}
		a.mu.Unlock()
	}
}

// TestRecoveryWaits: what an agent has not said yet is neither free nor lost.
func TestRecoveryWaits(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.RecoverWait = time.Hour })
	admin := w.as(w.admin)
	one, two := w.newAgent("n1", map[string]string{"cpu": "2", "memory": "8Gi"}), w.newAgent("n2", map[string]string{"cpu": "2", "memory": "8Gi"})
	first, second := w.connect(one), w.connect(two)
	w.submit(admin, process("default", 4, "1"))
	one.until("two tasks", func() bool { return len(one.tasks) == 2 })
	two.until("two tasks", func() bool { return len(two.tasks) == 2 })
	w.end()
	first.close()
	second.close()
	w.start()
	admin = w.as(w.admin)
	w.connect(one)
	late := w.submit(admin, process("default", 1, "1"))
	if got := call(t, admin.ask.Get, &polderv1.AskServiceGetRequest{Id: late.Id}); got.Pending != 1 || got.Running != 0 {
		t.Errorf("a task was started before all agents were back: %v", got)
	}
	w.connect(two)
	w.until("the end of the recovery", func(p *picture) bool { n, _ := p.nodes.Get("n2"); return n.State == "ready" })
	if one.stops != nil && len(one.stops)+len(two.stops) > 0 {
		t.Errorf("stops: %v %v", one.stops, two.stops)
	}
}

// TestDeposed: a leader that was deposed acknowledges nothing and ends with an error; its successor knows only what was
// acknowledged.
func TestDeposed(t *testing.T) {
	w := newWorld(t, nil)
	admin := w.as(w.admin)
	w.submit(admin, process("default", 1, "1"))
	w.store.(*store.Memory).Depose(election)
	_, err := admin.ask.Submit(t.Context(), connect.NewRequest(&polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{process("default", 1, "1")}}))
	if err == nil {
		t.Error("a deposed leader took an ask")
	}
	if err := w.wait(w.result); err == nil {
		t.Error("the server ended without an error")
	}
	w.start()
	if n := len(call(t, w.as(w.admin).ask.List, &polderv1.AskServiceListRequest{}).Asks); n != 1 {
		t.Errorf("the next leader knows %d asks, want 1", n)
	}
}

// slowStore holds its leaders' writes up while its gate is shut.
type slowStore struct {
	store.Store
	gate sync.RWMutex // a write holds it for reading
}

func (s *slowStore) Campaign(ctx context.Context, name string) (store.Leadership, error) {
	won, err := s.Store.Campaign(ctx, name)
	return slowWrites{won, s}, err
}

type slowWrites struct {
	store.Leadership
	of *slowStore
}

func (l slowWrites) Update(ctx context.Context, t store.Txn) (int64, error) {
	l.of.gate.RLock()
	defer l.of.gate.RUnlock()
	return l.Leadership.Update(ctx, t)
}

// TestLaunchWaitsForItsAsk: what a client was not promised does not run. Were the leader to die now, its owner would ask
// again, and the work run twice.
func TestLaunchWaitsForItsAsk(t *testing.T) {
	slow := &slowStore{}
	w := newWorld(t, func(c *Config) { slow.Store, c.Store = c.Store, slow })
	admin := w.as(w.admin)
	one := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	w.connect(one)
	first := w.submit(admin, process("default", 1, "1")).Id + ".0"
	one.until("the first launch", func() bool { return len(one.launches) == 1 })

	slow.gate.Lock()
	var calls sync.WaitGroup
	calls.Go(func() { w.submit(admin, process("default", 2, "1")) })
	w.until("two more leases", func(p *picture) bool { return p.tasks.Len() == 3 })
	calls.Go(func() { call(t, admin.task.Kill, &polderv1.KillRequest{Ids: []string{first}}) })
	one.until("the order to stop the first", func() bool { return one.stops[first] == 1 }) // it goes the way of the launches, after them
	one.mu.Lock()
	if len(one.launches) != 1 {
		t.Errorf("%d tasks were launched, want the one whose ask is durable", len(one.launches))
	}
	one.mu.Unlock()
	slow.gate.Unlock()
	one.until("both launches", func() bool { return len(one.launches) == 3 })
	calls.Wait()
}

// TestWriteFails: a store that cannot be written ends the leadership; nothing is acknowledged.
func TestWriteFails(t *testing.T) {
	w := newWorld(t, nil)
	admin := w.as(w.admin)
	call(t, admin.access.WhoAmI, &polderv1.WhoAmIRequest{})
	w.store.Close()
	refusal(t, connect.CodeUnavailable, admin.ask.Submit, &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{process("default", 1, "1")}})
	if err := w.wait(w.result); err == nil || errors.Is(err, errStopped) {
		t.Errorf("the server ended with %v", err)
	}
}

// TestUnreadableRecord: a record is never dropped; the start names it and says what to do.
func TestUnreadableRecord(t *testing.T) {
	for key, value := range map[string]string{
		planKey(7):         "\x02{}",
		askPrefix + "a-1":  "\x01{\"id\":\"a-1\",\"surprise\":1}",
		nodePrefix + "n":   "\x01{\"name\":\"n\"",
		taskPrefix + "a.1": "",
		revisionKey:        "\x01{}{}",
	} {
		st := store.NewMemory()
		if _, err := st.Update(t.Context(), store.Txn{Ops: []store.Op{store.Put(key, []byte(value))}}); err != nil {
			t.Fatal(err)
		}
		cfg, err := Config{Store: st, CA: testCA(t), Audit: &trail{}}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		lead, err := st.Campaign(t.Context(), election)
		if err != nil {
			t.Fatal(err)
		}
		_, err = newLeader(t.Context(), cfg, lead)
		if err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "backup") {
			t.Errorf("%s: %v", key, err)
		}
		st.Close()
	}
}

// TestLostNode: a node that stays away gives its tasks back to the queue; when it returns, it is told to stop them.
func TestLostNode(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.NodeLostAfter = 50 * time.Millisecond })
	admin := w.as(w.admin)
	one := w.newAgent("n1", map[string]string{"cpu": "2", "memory": "8Gi"})
	two := w.newAgent("n2", map[string]string{"cpu": "2", "memory": "8Gi"})
	first := w.connect(one)
	ask := w.submit(admin, process("default", 1, "1"))
	one.until("a task", func() bool { return len(one.tasks) == 1 })
	w.until("a running task", func(p *picture) bool { r, _ := p.tasks.Get(ask.Id + ".0"); return r.State.String() == "running" })
	w.connect(two)
	first.close()
	two.until("the task's second attempt", func() bool { return len(two.tasks) == 1 })
	w.connect(one)
	one.until("a stop", func() bool { return one.stops[ask.Id+".0"] > 0 })
}

// TestSessions: a second session of a node replaces the first; an agent cannot speak for another node.
func TestSessions(t *testing.T) {
	w := newWorld(t, nil)
	one := w.newAgent("n1", map[string]string{"cpu": "2", "memory": "8Gi"})
	first := w.connect(one)
	second := w.connect(one)
	<-first.done
	if connect.CodeOf(first.err) != connect.CodeAborted {
		t.Errorf("the first session ended with %v", first.err)
	}
	w.submit(w.as(w.admin), process("default", 1, "1"))
	one.until("a task", func() bool { return len(one.tasks) == 1 })
	select {
	case <-second.done:
		t.Errorf("the second session ended with %v", second.err)
	default:
	}
	stream := w.agentClient(one).agent.Session(t.Context())
	hello := one.hello()
	hello.Node = "n2"
	if err := stream.Send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Hello{Hello: hello}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Receive(); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("n1 speaks for n2: %v", err)
	}
	_ = stream.CloseRequest()
	refusal(t, connect.CodeFailedPrecondition, w.as(w.admin).node.Remove, &polderv1.NodeServiceRemoveRequest{Name: "n1"})
}

// TestSilentAgent: three missed heartbeats end a session; the node is unreachable, its tasks neither running nor lost.
func TestSilentAgent(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Heartbeat = 50 * time.Millisecond })
	one := w.newAgent("n1", map[string]string{"cpu": "2", "memory": "8Gi"})
	link := w.connect(one)
	<-link.done
	if connect.CodeOf(link.err) != connect.CodeDeadlineExceeded {
		t.Errorf("the session ended with %v", link.err)
	}
	w.until("the node to be unreachable", func(p *picture) bool { n, _ := p.nodes.Get("n1"); return n.State == "unreachable" })
}
