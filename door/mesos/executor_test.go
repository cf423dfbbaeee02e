package mesos

import (
	"bytes"
	"net/http"
	"testing"

	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/executorv1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// custom is a task of an executor.
func custom(o *mesosv1.Offer, id, executor string) *mesosv1.TaskInfo {
	t := command(o, id, "", scalar("cpus", 0.5))
	t.Command = nil
	t.Executor = &mesosv1.ExecutorInfo{ExecutorId: &mesosv1.ExecutorID{Value: &executor}, Command: &mesosv1.CommandInfo{Value: new("forever")},
		Resources: []*mesosv1.Resource{scalar("cpus", 0.1), scalar("mem", 32)}}
	return t
}

// program is an executor's side of its stream.
type program struct {
	w         *world
	framework string
	id, token string
	in        *wire.RecordReader
}

func (w *world) execute(framework, id string) *program {
	w.t.Helper()
	p := w.program(framework, id)
	res := p.subscribe(w.base)
	if res.StatusCode != http.StatusOK {
		w.t.Fatalf("an executor's SUBSCRIBE is answered %s", res.Status)
	}
	p.in = wire.NewRecordReader(res.Body, 1<<20)
	return p
}

// program is an executor that has not subscribed yet.
func (w *world) program(framework, id string) *program {
	w.door.mu.Lock()
	defer w.door.mu.Unlock()
	p := &program{w: w, framework: framework, id: id}
	for _, e := range w.door.frameworks[framework].executors {
		if e.id == id {
			p.token = e.token
		}
	}
	return p
}

// subscribe sends its SUBSCRIBE to where agents are said to be.
func (p *program) subscribe(base string) *http.Response {
	p.w.t.Helper()
	call := p.call(executorv1.Call_SUBSCRIBE)
	call.Subscribe = &executorv1.Call_Subscribe{}
	r, err := http.NewRequestWithContext(p.w.t.Context(), http.MethodPost, base+"/api/v1/executor", bytes.NewReader(wire.AppendJSON(nil, call)))
	if err != nil {
		p.w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.w.t.Cleanup(func() { res.Body.Close() })
	return res
}

func (p *program) call(kind executorv1.Call_Type) *executorv1.Call {
	return &executorv1.Call{Type: kind.Enum(), FrameworkId: &mesosv1.FrameworkID{Value: &p.framework}, ExecutorId: &mesosv1.ExecutorID{Value: &p.id}}
}

func (p *program) next(want executorv1.Event_Type) *executorv1.Event {
	p.w.t.Helper()
	data, err := p.in.Next()
	if err != nil {
		p.w.t.Fatal(err)
	}
	e := &executorv1.Event{}
	if err := wire.UnmarshalJSON(data, e); err != nil || e.GetType() != want {
		p.w.t.Fatalf("got %v, %v, want %v", e, err, want)
	}
	return e
}

func (p *program) update(id string, state mesosv1.TaskState) (uuid []byte) {
	p.w.t.Helper()
	c := p.call(executorv1.Call_UPDATE)
	uuid = uuidBytes()
	c.Update = &executorv1.Call_Update{Status: &mesosv1.TaskStatus{
		TaskId: &mesosv1.TaskID{Value: &id}, State: state.Enum(), Source: mesosv1.TaskStatus_SOURCE_EXECUTOR.Enum(), Uuid: uuid,
	}}
	if res, text := p.w.send(p.token, "/api/v1/executor", wire.AppendJSON(nil, c), "Content-Type", "application/json"); res.StatusCode != http.StatusAccepted {
		p.w.t.Fatalf("UPDATE is answered %s: %s", res.Status, text)
	}
	return uuid
}

// TestQ7AndCustomExecutors: an executor is told who it works for, by exactly the id of its environment; it launches, updates, is
// acknowledged, kills, and ends; each of its tasks has a lease of its own, for as long as it runs.
func TestQ7AndCustomExecutors(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	c := w.subscribe(w.admin, info("custom", []string{"a"}))
	o := c.offer()
	c.must(http.StatusAccepted, launchCall(o, custom(o, "t1", "e"), custom(o, "t2", "e")))
	p := w.execute(c.id, "e")
	s := p.next(executorv1.Event_SUBSCRIBED).Subscribed
	if s.FrameworkInfo.Id.GetValue() != c.id || s.AgentInfo.Id.GetValue() != "n1" || s.ExecutorInfo.ExecutorId.GetValue() != "e" {
		t.Errorf("subscribed is %v", s)
	}
	for range 2 {
		p.next(executorv1.Event_LAUNCH)
	}
	if n := w.running(); n != 3 {
		t.Errorf("%d leases, want one for the executor and each task", n)
	}
	uuid := p.update("t1", mesosv1.TaskState_TASK_RUNNING)
	p.update("t1", mesosv1.TaskState_TASK_FINISHED)
	c.state("t1", mesosv1.TaskState_TASK_FINISHED)
	if a := p.next(executorv1.Event_ACKNOWLEDGED).Acknowledged; string(a.Uuid) != string(uuid) {
		t.Errorf("acknowledged is %v", a)
	}
	p.next(executorv1.Event_ACKNOWLEDGED)
	w.until("the lease of t1 is free", func() bool { return w.running() == 2 })
	c.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_KILL.Enum(), Kill: &schedulerv1.Call_Kill{TaskId: &mesosv1.TaskID{Value: new("t2")}}})
	p.next(executorv1.Event_KILL)
	p.update("t2", mesosv1.TaskState_TASK_KILLED)
	c.state("t2", mesosv1.TaskState_TASK_KILLED)
	p.next(executorv1.Event_ACKNOWLEDGED)
	c.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_MESSAGE.Enum(), Message: &schedulerv1.Call_Message{
		AgentId: o.AgentId, ExecutorId: &mesosv1.ExecutorID{Value: new("e")}, Data: []byte("hi")}})
	if m := p.next(executorv1.Event_MESSAGE); string(m.Message.Data) != "hi" {
		t.Errorf("the message is %v", m)
	}
	c.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_SHUTDOWN.Enum(), Shutdown: &schedulerv1.Call_Shutdown{
		AgentId: o.AgentId, ExecutorId: &mesosv1.ExecutorID{Value: new("e")}}})
	p.next(executorv1.Event_SHUTDOWN)
	if e := c.next(schedulerv1.Event_FAILURE); e.Failure.ExecutorId.GetValue() != "e" {
		t.Errorf("the failure is %v", e)
	}
}

// TestGroupOfACustomExecutor: an executor gets a group as one, all of it or nothing; each of its tasks has a lease of its own.
func TestGroupOfACustomExecutor(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	c := w.subscribe(w.admin, info("group", []string{"a"}))
	group := func(o *mesosv1.Offer, tasks ...*mesosv1.TaskInfo) *schedulerv1.Call {
		e := custom(o, "", "e").Executor
		e.Type = mesosv1.ExecutorInfo_CUSTOM.Enum()
		call := launchCall(o)
		call.Accept.Operations[0] = &mesosv1.Offer_Operation{Type: mesosv1.Offer_Operation_LAUNCH_GROUP.Enum(), LaunchGroup: &mesosv1.Offer_Operation_LaunchGroup{
			Executor: e, TaskGroup: &mesosv1.TaskGroupInfo{Tasks: tasks},
		}}
		return call
	}
	o := c.offer()
	c.must(http.StatusAccepted, group(o, command(o, "x", "x", scalar("cpus", 1)), command(o, "y", "y", scalar("cpus", 9))))
	for range 2 {
		if s := c.next(schedulerv1.Event_UPDATE).Update.Status; s.GetState() != mesosv1.TaskState_TASK_ERROR || s.GetReason() != mesosv1.TaskStatus_REASON_TASK_GROUP_INVALID {
			t.Errorf("a group that does not fit: %v", s)
		}
	}
	o = c.offer()
	bare := command(o, "y", "", scalar("cpus", 1))
	bare.Command, bare.Data = nil, []byte("y")
	c.must(http.StatusAccepted, group(o, command(o, "x", "x", scalar("cpus", 1)), bare))
	p := w.execute(c.id, "e")
	p.next(executorv1.Event_SUBSCRIBED)
	list := p.next(executorv1.Event_LAUNCH_GROUP).LaunchGroup.TaskGroup.Tasks
	if len(list) != 2 || list[0].TaskId.GetValue() != "x" || string(list[1].Data) != "y" || list[1].Executor.ExecutorId.GetValue() != "e" {
		t.Fatalf("the group is %v", list)
	}
	if n := w.running(); n != 3 {
		t.Errorf("%d leases, want one for the executor and each task", n)
	}
	for _, id := range []string{"x", "y"} {
		p.update(id, mesosv1.TaskState_TASK_FINISHED)
		c.state(id, mesosv1.TaskState_TASK_FINISHED)
		p.next(executorv1.Event_ACKNOWLEDGED)
	}
	w.until("the tasks' leases are free", func() bool { return w.running() == 1 })
}

// TestKillsWaitOnce: however often a framework asks, an executor that is not there yet has one KILL of a task waiting, the last.
func TestKillsWaitOnce(t *testing.T) {
	e := &executor{}
	of := func(id string) *task { return &task{info: &mesosv1.TaskInfo{TaskId: &mesosv1.TaskID{Value: &id}}} }
	one, two := of("one"), of("two")
	e.launch(one)
	e.kill(two, nil)
	for i := range int64(100) {
		e.kill(one, &mesosv1.KillPolicy{GracePeriod: &mesosv1.DurationInfo{Nanoseconds: &i}})
	}
	if len(e.waiting) != 3 {
		t.Fatalf("%d events wait", len(e.waiting))
	}
	last := e.waiting[2].(*executorv1.Event).GetKill()
	if last.GetTaskId().GetValue() != "one" || last.GetKillPolicy().GetGracePeriod().GetNanoseconds() != 99 {
		t.Errorf("the last is %v", last)
	}
}

// TestExecutorsAreTheirOwn: without its token, or with another's, nobody is an executor.
func TestExecutorsAreTheirOwn(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	c := w.subscribe(w.admin, info("own", []string{"a"}))
	o := c.offer()
	c.must(http.StatusAccepted, launchCall(o, custom(o, "t1", "e1"), custom(o, "t2", "e2")))
	one, two := w.execute(c.id, "e1"), w.execute(c.id, "e2")
	call := one.call(executorv1.Call_UPDATE)
	call.Update = &executorv1.Call_Update{Status: &mesosv1.TaskStatus{
		TaskId: &mesosv1.TaskID{Value: new("t1")}, State: mesosv1.TaskState_TASK_FINISHED.Enum(), Source: mesosv1.TaskStatus_SOURCE_EXECUTOR.Enum(), Uuid: uuidBytes(),
	}}
	for token, want := range map[string]int{"": 401, two.token: 403, w.admin: 403, one.token: 202} {
		if res, text := w.send(token, "/api/v1/executor", wire.AppendJSON(nil, call), "Content-Type", "application/json"); res.StatusCode != want {
			t.Errorf("answered %s: %s, want %d", res.Status, text, want)
		}
	}
}

// TestExecutorOnNode: an executor calls its node's agent, which passes that on to the door over the cluster's TLS; with a token of an executor
// on another node it is refused.
func TestExecutorOnNode(t *testing.T) {
	w := newWorld(t, "roles: {a: {}}\n", 2, nil)
	c := w.subscribe(w.user("ann", "run a", "view a"), info("f", []string{"a"}))
	offers := map[string]*mesosv1.Offer{}
	for len(offers) < 2 {
		for _, o := range c.next(schedulerv1.Event_OFFERS).Offers.Offers {
			offers[o.AgentId.GetValue()] = o
		}
	}
	c.must(http.StatusAccepted, launchCall(offers["n1"], custom(offers["n1"], "t1", "x1")))
	c.must(http.StatusAccepted, launchCall(offers["n2"], custom(offers["n2"], "t2", "x2")))
	gate := map[string]string{}
	w.until("the executors run", func() bool {
		for _, n := range []string{"n1", "n2"} {
			if addr, ok := w.gate.Load(n); ok {
				gate[n] = "http://" + addr.(string)
			}
		}
		return len(gate) == 2
	})
	if gate["n1"] == gate["n2"] {
		t.Fatalf("both nodes have %s", gate["n1"])
	}
	p := w.program(c.id, "x2")
	if res := p.subscribe(gate["n1"]); res.StatusCode != http.StatusForbidden {
		t.Errorf("from another node it is answered %s", res.Status)
	}
	res := p.subscribe(gate["n2"])
	if res.StatusCode != http.StatusOK {
		t.Fatalf("from its own node it is answered %s", res.Status)
	}
	p.in = wire.NewRecordReader(res.Body, 1<<20)
	p.next(executorv1.Event_SUBSCRIBED)
	if e := p.next(executorv1.Event_LAUNCH); e.Launch.Task.TaskId.GetValue() != "t2" {
		t.Errorf("it is to launch %v", e.Launch)
	}
}
