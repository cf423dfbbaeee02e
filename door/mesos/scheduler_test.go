package mesos

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

const onePlan = "roles: {default: {}, a: {}, b: {}}\n"

// TestLife: a framework subscribes, is offered a node, runs tasks that finish, fail and are killed, and is torn down.
func TestLife(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	c := w.subscribe(w.admin, info("life", []string{"a"}))
	o := c.offer()
	if o.AllocationInfo.GetRole() != "a" || o.AgentId.GetValue() != "n1" {
		t.Errorf("the offer is %v", o)
	}
	c.must(http.StatusAccepted, launchCall(o, command(o, "fine", "exit 0", scalar("cpus", 1)), command(o, "bad", "exit 3", scalar("cpus", 1)), command(o, "long", "forever", scalar("cpus", 1), scalar("mem", 64))))
	seen := map[string]mesosv1.TaskState{}
	for len(seen) < 2 {
		s := c.next(schedulerv1.Event_UPDATE).Update.Status
		c.must(http.StatusAccepted, acknowledge(s))
		if terminal(s.GetState()) {
			seen[s.TaskId.GetValue()] = s.GetState()
		}
	}
	if seen["fine"] != mesosv1.TaskState_TASK_FINISHED || seen["bad"] != mesosv1.TaskState_TASK_FAILED {
		t.Errorf("the ends are %v", seen)
	}
	c.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_KILL.Enum(), Kill: &schedulerv1.Call_Kill{TaskId: &mesosv1.TaskID{Value: new("long")}}})
	c.state("long", mesosv1.TaskState_TASK_KILLED)
	c.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_TEARDOWN.Enum()})
	for range c.events { // the stream ends
	}
	again := w.subscribe(w.admin, withID(info("life", []string{"a"}), c.id))
	if e := <-again.events; e.GetType() != schedulerv1.Event_ERROR || !strings.Contains(e.Error.GetMessage(), "has been removed") {
		t.Errorf("after the teardown: %v", e)
	}
}

func acknowledge(s *mesosv1.TaskStatus) *schedulerv1.Call {
	return &schedulerv1.Call{Type: schedulerv1.Call_ACKNOWLEDGE.Enum(), Acknowledge: &schedulerv1.Call_Acknowledge{AgentId: s.AgentId, TaskId: s.TaskId, Uuid: s.Uuid}}
}

func withID(f *mesosv1.FrameworkInfo, id string) *mesosv1.FrameworkInfo {
	f.Id, f.FailoverTimeout = &mesosv1.FrameworkID{Value: &id}, new(3600.0)
	return f
}

// TestStatusCodes: what is wrong with a call, as Mesos answers it.
func TestStatusCodes(t *testing.T) {
	w := newWorld(t, onePlan, 0, nil)
	c := w.subscribe(w.admin, info("codes", []string{"a"}))
	c.next(schedulerv1.Event_HEARTBEAT)
	other := w.user("ann", "run a")
	json, pb := "application/json", "application/x-protobuf"
	revive := `{"type":"REVIVE","framework_id":{"value":"` + c.id + `"}}`
	tests := []struct {
		name, token, body string
		header            []string
		status            int
		text              string
	}{
		{"fine", w.admin, revive, []string{"Content-Type", json, streamHeader, c.stream}, 202, ""},
		{"parameters of the type", w.admin, revive, []string{"Content-Type", json + "; charset=utf-8", streamHeader, c.stream}, 202, ""},
		{"no credentials", "", revive, []string{"Content-Type", json}, 401, "credentials"},
		{"no type of body", w.admin, revive, []string{streamHeader, c.stream}, 400, "Content-Type"},
		{"another type of body", w.admin, revive, []string{"Content-Type", "text/plain"}, 415, "Content-Type"},
		{"no JSON", w.admin, "{", []string{"Content-Type", json}, 400, "parse"},
		{"no protobuf", w.admin, "{", []string{"Content-Type", pb}, 400, "parse"},
		{"no call", w.admin, "{}", []string{"Content-Type", json}, 400, "'type'"},
		{"an unknown call", w.admin, `{"type":"UNKNOWN"}`, []string{"Content-Type", json}, 501, "Unknown"},
		{"no stream id", w.admin, revive, []string{"Content-Type", json}, 400, streamHeader},
		{"two stream ids", w.admin, revive, []string{"Content-Type", json, streamHeader, c.stream, streamHeader, c.stream}, 400, streamHeader},
		{"another stream id", w.admin, revive, []string{"Content-Type", json, streamHeader, "x"}, 400, "didn't match"},
		{"an unknown framework", w.admin, `{"type":"REVIVE","framework_id":{"value":"x"}}`, []string{"Content-Type", json}, 400, "cannot be found"},
		{"somebody else", other, revive, []string{"Content-Type", json, streamHeader, c.stream}, 403, "principal"},
		{"nothing to accept", w.admin, `{"type":"ACCEPT","framework_id":{"value":"x"}}`, []string{"Content-Type", json}, 400, "'accept'"},
		{"a short uuid", w.admin, `{"type":"ACKNOWLEDGE","framework_id":{"value":"x"},"acknowledge":{"agent_id":{"value":"a"},"task_id":{"value":"t"},"uuid":"AAAA"}}`, []string{"Content-Type", json}, 400, "UUID"},
		{"subscribe with a stream id", w.admin, `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n","role":"a"}}}`, []string{"Content-Type", json, streamHeader, "x"}, 400, streamHeader},
		{"subscribe with two ids", w.admin, `{"type":"SUBSCRIBE","framework_id":{"value":"x"},"subscribe":{"framework_info":{"user":"u","name":"n","role":"a"}}}`, []string{"Content-Type", json}, 400, "framework_id"},
		{"subscribe as another principal", w.admin, `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n","role":"a","principal":"x"}}}`, []string{"Content-Type", json}, 400, "principal"},
		{"accept nothing there is", w.admin, `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n","role":"a"}}}`, []string{"Content-Type", json, "Accept", "text/html"}, 406, "Accept"},
		{"a required field is missing", w.admin, `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u"}}}`, []string{"Content-Type", json}, 400, "name"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			res, text := w.send(test.token, "/api/v1/scheduler", []byte(test.body), test.header...)
			if res.StatusCode != test.status || !strings.Contains(text, test.text) {
				t.Errorf("got %s: %s, want %d with %q", res.Status, text, test.status, test.text)
			}
		})
	}
	res, err := http.Get(w.base + "/api/v1/scheduler")
	if err != nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("GET without credentials: %v, %v", res, err)
	}
}

// TestSubscribeErrors: what is wrong with a framework is an event on a stream that then ends.
func TestSubscribeErrors(t *testing.T) {
	w := newWorld(t, onePlan, 0, nil)
	ann := w.user("ann", "run a/**")
	tests := []struct {
		name, want string
		f          *mesosv1.FrameworkInfo
	}{
		{"role not permitted", "Not authorized", info("x", []string{"b"})},
		{"no such role", "plan", info("x", []string{"a", "a/x"})},
		{"role twice", "duplicate", info("x", []string{"a", "a"})},
		{"bad role", "invalid", info("x", []string{"/a"})},
		{"both kinds of role", "must not be set", func() *mesosv1.FrameworkInfo { f := info("x", []string{"a"}); f.Role = new("a"); return f }()},
		{"a failover timeout of ages", "invalid", func() *mesosv1.FrameworkInfo { f := info("x", []string{"a"}); f.FailoverTimeout = new(1e12); return f }()},
		{"an id with a slash", "invalid", withID(info("x", []string{"a"}), "a/b")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := w.subscribe(ann, test.f)
			var got []string
			for e := range c.events {
				got = append(got, e.GetType().String()+" "+e.GetError().GetMessage())
			}
			if len(got) != 1 || !strings.HasPrefix(got[0], "ERROR") || !strings.Contains(got[0], test.want) {
				t.Errorf("got %q, want an error with %q", got, test.want)
			}
		})
	}
}

// TestFailover: a framework that subscribes again takes over, keeps its tasks, and hears again what it did not acknowledge.
func TestFailover(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	f := info("failover", []string{"a"})
	f.FailoverTimeout = new(3600.0)
	c := w.subscribe(w.admin, f)
	o := c.offer()
	c.must(http.StatusAccepted, launchCall(o, command(o, "t", "forever", scalar("cpus", 1))))
	first := c.next(schedulerv1.Event_UPDATE).Update.Status
	again := w.subscribe(w.admin, withID(info("failover", []string{"a"}), c.id))
	if e := c.next(schedulerv1.Event_ERROR); e.Error.GetMessage() != "Framework failed over" {
		t.Errorf("the old stream hears %v", e)
	}
	if e := again.next(schedulerv1.Event_SUBSCRIBED); e.Subscribed.FrameworkId.GetValue() != c.id {
		t.Errorf("the new stream has %v", e)
	}
	second := again.next(schedulerv1.Event_UPDATE).Update.Status
	if string(first.Uuid) != string(second.Uuid) || second.GetState() != mesosv1.TaskState_TASK_RUNNING {
		t.Errorf("first %v, then %v", first, second)
	}
	again.must(http.StatusAccepted, acknowledge(second))
	again.must(http.StatusAccepted, acknowledge(second)) // twice is nothing
	if text := c.must(http.StatusBadRequest, &schedulerv1.Call{Type: schedulerv1.Call_REVIVE.Enum()}); !strings.Contains(text, "stream ID") {
		t.Errorf("a call of the old stream: %s", text)
	}
	again.hangUp()
	w.until("the framework is away", func() bool {
		w.door.mu.Lock()
		defer w.door.mu.Unlock()
		return w.door.frameworks[c.id].stream == nil
	})
	if res, text := again.call(&schedulerv1.Call{Type: schedulerv1.Call_REVIVE.Enum()}, streamHeader, again.stream); res.StatusCode != http.StatusForbidden {
		t.Errorf("a call of a framework that is away: %s %s", res.Status, text)
	}
}

// TestNoFailover: without a failover timeout the tasks of a framework that hangs up end.
func TestNoFailover(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	c := w.subscribe(w.admin, info("gone", []string{"a"}))
	o := c.offer()
	c.must(http.StatusAccepted, launchCall(o, command(o, "t", "forever", scalar("cpus", 1))))
	c.state("t", mesosv1.TaskState_TASK_RUNNING)
	c.hangUp()
	w.until("its task has ended", func() bool { return w.running() == 0 })
}

// TestReconcile: the table of what is said of tasks that are known and not.
func TestReconcile(t *testing.T) {
	for _, aware := range []bool{true, false} {
		w := newWorld(t, onePlan, 1, nil)
		f := info("reconcile", []string{"a"})
		if aware {
			f = info("reconcile", []string{"a"}, mesosv1.FrameworkInfo_Capability_PARTITION_AWARE)
		}
		c := w.subscribe(w.admin, f)
		o := c.offer()
		c.must(http.StatusAccepted, launchCall(o, command(o, "t", "forever", scalar("cpus", 1))))
		c.state("t", mesosv1.TaskState_TASK_RUNNING)
		want := map[string][2]mesosv1.TaskState{
			"t,":       {mesosv1.TaskState_TASK_RUNNING, mesosv1.TaskState_TASK_RUNNING},
			"x,":       {mesosv1.TaskState_TASK_UNKNOWN, mesosv1.TaskState_TASK_LOST},
			"x,n1":     {mesosv1.TaskState_TASK_GONE, mesosv1.TaskState_TASK_LOST},
			"x,nobody": {mesosv1.TaskState_TASK_UNKNOWN, mesosv1.TaskState_TASK_LOST},
		}
		for key, states := range want {
			id, agent, _ := strings.Cut(key, ",")
			x := &schedulerv1.Call_Reconcile_Task{TaskId: &mesosv1.TaskID{Value: &id}}
			if agent != "" {
				x.AgentId = &mesosv1.AgentID{Value: &agent}
			}
			c.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_RECONCILE.Enum(), Reconcile: &schedulerv1.Call_Reconcile{Tasks: []*schedulerv1.Call_Reconcile_Task{x}}})
			s := c.next(schedulerv1.Event_UPDATE).Update.Status
			if s.GetState() != states[map[bool]int{true: 0, false: 1}[aware]] || s.GetReason() != mesosv1.TaskStatus_REASON_RECONCILIATION || s.Uuid != nil {
				t.Errorf("aware %v: %s is %v", aware, key, s)
			}
		}
		c.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_RECONCILE.Enum(), Reconcile: &schedulerv1.Call_Reconcile{}})
		if s := c.next(schedulerv1.Event_UPDATE).Update.Status; s.TaskId.GetValue() != "t" {
			t.Errorf("all there is: %v", s)
		}
	}
}

// running counts the tasks of the pool that are not over.
func (w *world) running() int {
	w.door.mu.Lock()
	defer w.door.mu.Unlock()
	return len(w.door.natives)
}

// TestInvalidTasks: each is an error of its own and the others run.
func TestInvalidTasks(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	c := w.subscribe(w.admin, info("invalid", []string{"a"}))
	o := c.offer()
	bad := map[string]func(*mesosv1.TaskInfo){
		"duplicate":    func(t *mesosv1.TaskInfo) { t.TaskId.Value = new("good") },
		"agent":        func(t *mesosv1.TaskInfo) { t.AgentId = &mesosv1.AgentID{Value: new("x")} },
		"nothing":      func(t *mesosv1.TaskInfo) { t.Command = nil },
		"no resources": func(t *mesosv1.TaskInfo) { t.Resources = nil },
		"too much":     func(t *mesosv1.TaskInfo) { t.Resources = []*mesosv1.Resource{scalar("cpus", 99)} },
		"negative":     func(t *mesosv1.TaskInfo) { t.Resources = []*mesosv1.Resource{scalar("cpus", -1)} },
		"id/slash":     func(*mesosv1.TaskInfo) {},
		"mixed": func(t *mesosv1.TaskInfo) {
			t.Resources = []*mesosv1.Resource{scalar("cpus", 0.1), revocable(scalar("cpus", 0.1))}
		},
		"privileged": func(t *mesosv1.TaskInfo) {
			t.Container = &mesosv1.ContainerInfo{Type: mesosv1.ContainerInfo_DOCKER.Enum(), Docker: &mesosv1.ContainerInfo_DockerInfo{Image: new("i"), Privileged: new(true)}}
		},
		"file": func(t *mesosv1.TaskInfo) {
			t.Command.Uris = []*mesosv1.CommandInfo_URI{{Value: new("file:///etc/shadow")}}
		},
		"port": func(t *mesosv1.TaskInfo) {
			t.Resources = append(t.Resources, &mesosv1.Resource{Name: new("ports"), Type: mesosv1.Value_RANGES.Enum(), Ranges: &mesosv1.Value_Ranges{Range: []*mesosv1.Value_Range{{Begin: new(uint64(1)), End: new(uint64(1))}}}})
		},
	}
	tasks := []*mesosv1.TaskInfo{command(o, "good", "forever", scalar("cpus", 0.1))}
	for name, spoil := range bad {
		x := command(o, name, "forever", scalar("cpus", 0.1))
		spoil(x)
		tasks = append(tasks, x)
	}
	c.must(http.StatusAccepted, launchCall(o, tasks...))
	var errors []string
	good := false
	for len(errors) < len(bad) || !good {
		s := c.next(schedulerv1.Event_UPDATE).Update.Status
		switch s.GetState() {
		case mesosv1.TaskState_TASK_ERROR:
			errors = append(errors, s.GetMessage())
		case mesosv1.TaskState_TASK_RUNNING:
			good = s.TaskId.GetValue() == "good"
		default:
			t.Fatalf("unexpected %v", s)
		}
	}
	if slices.Contains(errors, "") {
		t.Errorf("an error without a reason: %q", errors)
	}
}

// TestForeignAndUsedOffers: an offer is good once, and for its framework.
func TestForeignAndUsedOffers(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	c := w.subscribe(w.admin, info("one", []string{"a"}))
	o := c.offer()
	other := w.subscribe(w.admin, info("two", []string{"b"}, mesosv1.FrameworkInfo_Capability_PARTITION_AWARE))
	other.next(schedulerv1.Event_HEARTBEAT)
	other.must(http.StatusAccepted, launchCall(o, command(o, "thief", "forever", scalar("cpus", 1))))
	if s := other.next(schedulerv1.Event_UPDATE).Update.Status; s.GetState() != mesosv1.TaskState_TASK_DROPPED || s.GetReason() != mesosv1.TaskStatus_REASON_INVALID_OFFERS {
		t.Errorf("somebody else's offer: %v", s)
	}
	c.must(http.StatusAccepted, decline(o, 0))
	c.must(http.StatusAccepted, launchCall(o, command(o, "late", "forever", scalar("cpus", 1))))
	if s := c.next(schedulerv1.Event_UPDATE).Update.Status; s.GetState() != mesosv1.TaskState_TASK_LOST {
		t.Errorf("an offer that was declined: %v", s)
	}
}

// TestForeignText: a task whose text is not UTF-8 is refused for itself; what else is launched with it runs.
func TestForeignText(t *testing.T) {
	w := newWorld(t, "roles: {a: {}}\n", 1, nil)
	c := w.subscribe(w.user("ann", "run a", "view a"), info("f", []string{"a"}))
	o := c.offer()
	bad, worse, good := command(o, "t1", "\xff", scalar("cpus", 0.1)), command(o, "t\xff", "forever", scalar("cpus", 0.1)), command(o, "t3", "forever", scalar("cpus", 0.1))
	c.must(http.StatusAccepted, launchCall(o, bad, worse, good))
	for _, want := range []mesosv1.TaskState{mesosv1.TaskState_TASK_ERROR, mesosv1.TaskState_TASK_ERROR, mesosv1.TaskState_TASK_RUNNING} {
		if s := c.next(schedulerv1.Event_UPDATE).Update.Status; s.GetState() != want {
			t.Errorf("task %q is %v (%s), want %v", s.TaskId.GetValue(), s.GetState(), s.GetMessage(), want)
		}
	}
}
