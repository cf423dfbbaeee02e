package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/role"
)

// refusedHello says hello and returns why there was no session.
func (w *world) refusedHello(h *polderv1.Hello, a *agent) error {
	w.t.Helper()
	stream := w.agentClient(a).agent.Session(w.t.Context())
	_ = stream.Send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Hello{Hello: h}})
	m, err := stream.Receive()
	for err == nil && m.GetWelcome() != nil {
		m, err = stream.Receive()
	}
	_ = stream.CloseRequest()
	if err == nil {
		w.t.Fatalf("the session goes on with %v", m)
	}
	return err
}

// TestHelloBounds: a node that says too much of itself is refused, and nobody else notices.
func TestHelloBounds(t *testing.T) {
	w := newWorld(t, nil)
	for name, c := range map[string]struct {
		spoil func(*polderv1.Hello)
		say   string
	}{
		"kinds": {func(h *polderv1.Hello) {
			h.Capacity = map[string]string{}
			for i := range 40 {
				h.Capacity[fmt.Sprintf("k%d", i)] = "1"
			}
		}, "at most 16"},
		"amount": {func(h *polderv1.Hello) { h.Capacity = map[string]string{"gpu": "9007199254740993"} }, "not between"},
		"attribute": {func(h *polderv1.Hello) {
			h.Attributes = map[string]string{"zone": strings.Repeat("x", 5000)}
		}, "more than 4096 bytes"},
		"attributes": {func(h *polderv1.Hello) {
			h.Attributes = map[string]string{}
			for i := range 300 {
				h.Attributes[fmt.Sprintf("a%d", i)] = "1"
			}
		}, "at most 256"},
		"version": {func(h *polderv1.Hello) { h.Version = strings.Repeat("x", 5000) }, "at most 4096"},
		"instant": {func(h *polderv1.Hello) {
			h.Tasks = []*polderv1.TaskReport{{Reason: &polderv1.Reason{Expected: &timestamppb.Timestamp{Seconds: 1 << 60}}}}
		}, "expected"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.newAgent("n-"+name, map[string]string{"cpu": "1"})
			h := a.hello()
			c.spoil(h)
			err := w.refusedHello(h, a)
			if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), c.say) {
				t.Errorf("%.300v", err)
			}
		})
	}
	if n := call(t, w.as(w.admin).node.List, &polderv1.NodeServiceListRequest{}).Nodes; len(n) != 0 {
		t.Errorf("%d nodes joined", len(n))
	}
}

// TestLongWarning: what is only for people is cut.
func TestLongWarning(t *testing.T) {
	w := newWorld(t, nil)
	a := w.newAgent("n1", map[string]string{"cpu": "1"})
	h := a.hello()
	h.Warnings = []string{strings.Repeat("x", 3<<20)}
	stream := w.agentClient(a).agent.Session(t.Context())
	_ = stream.Send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Hello{Hello: h}})
	w.until("the node", func(p *picture) bool { r, ok := p.nodes.Get("n1"); return ok && len(r.Warnings[0]) == maxName })
	_ = stream.CloseRequest()
}

// oneTask is a node with one running task.
func (w *world) oneTask(t *testing.T) (*agent, *link, *polderv1.TaskReport) {
	t.Helper()
	a := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	l := w.connect(a)
	ask := w.submit(w.as(w.admin), process("default", 1, "1"))
	a.until("the task", func() bool { return a.tasks[ask.Id+".0"] != nil })
	a.mu.Lock()
	defer a.mu.Unlock()
	return a, l, a.tasks[ask.Id+".0"]
}

// TestReportBounds: no report can stop the leader; what is for people is cut, what makes no sense ends the session.
func TestReportBounds(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*polderv1.TaskReport)
		ends  bool
	}{
		"expected": {func(r *polderv1.TaskReport) {
			r.Reason = &polderv1.Reason{Code: "x", Expected: &timestamppb.Timestamp{Seconds: 1 << 60}}
		}, true},
		"health":  {func(r *polderv1.TaskReport) { r.Health = strings.Repeat("x", 3<<20) }, false},
		"message": {func(r *polderv1.TaskReport) { r.Reason = &polderv1.Reason{Message: strings.Repeat("x", 3<<20)} }, false},
		"started": {func(r *polderv1.TaskReport) {
			r.Started = timestamppb.New(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC))
		}, false},
		"task id": {func(r *polderv1.TaskReport) { r.Assignment.Task = "a//b" }, true},
		"ask id":  {func(r *polderv1.TaskReport) { r.Assignment.Ask = "a/b" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			_, l, r := w.oneTask(t)
			c.spoil(r)
			l.report(r)
			if c.ends {
				<-l.done
				if connect.CodeOf(l.err) != connect.CodeInvalidArgument {
					t.Errorf("ended with %v", l.err)
				}
			}
			w.submit(w.as(w.admin), process("default", 1, "1")) // the same leader goes on
			for _, task := range call(t, w.as(w.admin).task.List, &polderv1.TaskServiceListRequest{}).Tasks {
				if len(task.Health) > maxName || len(task.Reason.GetMessage()) > maxMessage || task.Started.AsTime().Year() > time.Now().Year()+11 {
					t.Errorf("shown as %.300v", task)
				}
			}
		})
	}
}

// TestRecordLeftOut: a record that the store cannot take is left out and told, and the leader goes on.
func TestRecordLeftOut(t *testing.T) {
	w := newWorld(t, nil)
	w.oneTask(t)
	l := w.leader()
	err := l.change(t.Context(), func(t *turn) error {
		t.extras["n1"] = nodeExtra{Warnings: []string{strings.Repeat("x", 5<<20)}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	call(t, w.as(w.admin).node.Cordon, &polderv1.CordonRequest{Name: "n1", Cordoned: true})
	found := false
	for _, e := range call(t, w.as(w.admin).event.List, &polderv1.EventServiceListRequest{}).Events {
		found = found || e.Kind == "RecordLeftOut" && e.Subject == "/node/n1"
	}
	if !found {
		t.Error("no event tells")
	}
	w.submit(w.as(w.admin), process("default", 1, "1"))
}

// TestOnlyTaskID: what an agent says of a task it does not have ends the task, or nothing, but not the session.
func TestOnlyTaskID(t *testing.T) {
	w := newWorld(t, nil)
	_, l, r := w.oneTask(t)
	lost := func(id string) {
		l.report(&polderv1.TaskReport{
			Assignment: &polderv1.Assignment{Task: id}, State: polderv1.TaskState_TASK_STATE_LOST, Reason: &polderv1.Reason{Code: "UnknownTask"},
		})
	}
	lost("gone.0")
	id := r.Assignment.Task
	lost(id)
	w.until("the end of the task", func(p *picture) bool { v, ok := p.tasks.Get(id); return ok && v.State.Terminal() })
	select {
	case <-l.done:
		t.Errorf("the session ended with %v", l.err)
	default:
	}
}

// TestForeignNotice: an agent cannot show anybody a notice of a task, role or node that is not its own.
func TestForeignNotice(t *testing.T) {
	w := newWorld(t, nil)
	_, l, r := w.oneTask(t)
	r.Notice = &polderv1.Notice{Id: "forged", Task: "secret.0", Role: "corp/finance", Node: "other", State: "open", Kind: "x", Deadline: timestamppb.Now()}
	l.report(r)
	w.until("the notice", func(p *picture) bool { return p.notices.Len() > 0 })
	for _, n := range call(t, w.as(w.admin).notice.List, &polderv1.NoticeServiceListRequest{All: true}).Notices {
		if n.Role != "default" || n.Node != "n1" || n.Task != r.Assignment.Task || n.Kind != "claim" {
			t.Errorf("shown: %v", n)
		}
	}
}

// accept says that the agent has its notices on disk, and what their tasks released.
func (a *agent) accept(l *link, released map[string]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, n := range a.notices {
		a.tasks[id].Notice = n.Notice
		_ = l.send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Notice{Notice: &polderv1.NoticeReport{
			Task: id, Notice: n.Notice.Id, Accepted: true, Deadline: n.Notice.Deadline, Released: released,
		}}})
	}
}

// TestDrainSurvives: a drain and its notices are there after a restart.
func TestDrainSurvives(t *testing.T) {
	w := newWorld(t, nil)
	a, l, _ := w.oneTask(t)
	admin := w.as(w.admin)
	call(t, admin.node.Drain, &polderv1.DrainRequest{Name: "n1", Deadline: durationOf(time.Hour), Force: true})
	a.until("the notice", func() bool { return len(a.notices) == 1 })
	a.accept(l, nil)
	l.close()
	w.end()
	w.start()
	w.connect(a)
	admin = w.as(w.admin)
	w.until("the end of the recovery", func(p *picture) bool { r, _ := p.nodes.Get("n1"); return r.State == "draining" })
	w.submit(admin, process("default", 1, "1"))
	notices := call(t, admin.notice.List, &polderv1.NoticeServiceListRequest{All: true}).Notices
	if len(notices) != 1 || notices[0].State != "open" || notices[0].Kind != "drain" {
		t.Errorf("after a restart: %v", notices)
	}
}

// TestReleaseOnce: what a task released is taken off its lease once, however often its agent says so, to whatever leader.
func TestReleaseOnce(t *testing.T) {
	w := newWorld(t, nil)
	admin := w.as(w.admin)
	call(t, admin.plan.Apply, &polderv1.ApplyRequest{BaseRevision: 1,
		Plan: "cluster: {reclaimDelay: 0s}\nroles: {own: {guarantee: {cpu: 4}}, bor: {reclaimGrace: 60s}}"})
	a := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	l := w.connect(a)
	id := w.submit(admin, process("bor", 1, "4")).Id + ".0"
	a.until("the task", func() bool { return len(a.tasks) == 1 })
	mine := process("own", 1, "4")
	delete(mine.Task.Resources, "memory")
	w.submit(admin, mine)
	a.until("the notice", func() bool { return len(a.notices) == 1 })
	holds := func(cpu string) {
		t.Helper()
		w.until("the lease of "+cpu, func(p *picture) bool { v, _ := p.tasks.Get(id); return amountsProto(v.Resources)["cpu"] == cpu })
	}
	told := func(l *link, total, after string) {
		t.Helper()
		a.accept(l, map[string]string{"cpu": total})
		_ = l.send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Event{Event: &polderv1.AgentEvent{Kind: "After", Message: after}}})
		w.until("what follows", func(p *picture) bool {
			for _, e := range p.events.All() {
				if e.Kind == "AgentAfter" && e.Message == after {
					return true
				}
			}
			return false
		})
	}
	told(l, "1", "first")
	holds("3")
	l.close()
	l = w.connect(a)
	told(l, "1", "again")
	holds("3")
	l.close()
	w.end()
	w.start()
	l = w.connect(a)
	told(l, "1", "to another")
	holds("3")
	told(l, "2", "more")
	holds("2")
}

// TestKeyedAnswersAreSmall: requests with a key may be as large as others, and what is kept of their answers is small.
func TestKeyedAnswersAreSmall(t *testing.T) {
	w := newWorld(t, nil)
	req := &polderv1.SubmitRequest{IdempotencyKey: "k"}
	for range 15 {
		a := process("default", 1, "1")
		a.Task.Env = map[string]string{"A": strings.Repeat("x", 200<<10)}
		req.Asks = append(req.Asks, a)
	}
	bad := process("default", 1, "1")
	bad.Task.Env = map[string]string{strings.Repeat("!", 200<<10): ""}
	req.Asks = append(req.Asks, bad)
	ask := w.as(w.admin).ask
	first := call(t, ask.Submit, req)
	again := call(t, ask.Submit, req)
	for i, r := range first.Results {
		if r.Ask.GetId() != again.Results[i].Ask.GetId() || r.Refused.GetCode() != again.Results[i].Refused.GetCode() {
			t.Errorf("ask %d is told %.300v, then %.300v", i, r, again.Results[i])
		}
	}
	for key, kept := range w.leader().answers.byKey {
		if len(kept.Response) > 10_000 {
			t.Errorf("%d bytes are kept at %s", len(kept.Response), key)
		}
	}
	many := &polderv1.SubmitRequest{IdempotencyKey: "many", Asks: make([]*polderv1.AskSpec, maxKeyedAsks+1)}
	refusal(t, connect.CodeInvalidArgument, ask.Submit, many)
}

// TestLargePlan: a plan that cannot be kept is refused.
func TestLargePlan(t *testing.T) {
	w := newWorld(t, nil)
	plan := &role.Plan{Roles: map[string]role.RoleSpec{"a": {}}}
	err := w.leader().change(t.Context(), func(t *turn) error {
		return t.setPlan(planRecord{Revision: 2, Plan: plan, Comment: strings.Repeat("x", 3<<20)})
	})
	if err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("%v", err)
	}
	w.submit(w.as(w.admin), process("default", 1, "1"))
}

// TestJoinTokenOnce: a join token lets one node in.
func TestJoinTokenOnce(t *testing.T) {
	w := newWorld(t, nil)
	w.newAgent("n1", nil)
	if joins := w.leader().book.Joins(); len(joins) != 1 || joins[0].Uses != 1 || len(joins[0].Used) != 1 {
		t.Errorf("%+v", joins)
	}
}
