package mesos

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/door/mesos/wire/executorv1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
	"polder.dev/polder/store"
)

// reopen puts another door in the place of the first, as after a restart.
func (w *world) reopen() {
	w.t.Helper()
	if w.kept != nil {
		w.stop() // it leads
	}
	w.http = httptest.NewUnstartedServer(nil)
	w.open(Config{API: w.api, Addr: w.http.Listener.Addr().String(), Heartbeat: time.Hour, Resend: time.Hour, Logger: slog.New(slog.DiscardHandler), Store: w.kept})
}

// TestKept: with a store a framework is, after a restart, what it was: its name, its tasks, and the very updates it has not
// acknowledged. One that does not come back in its failover timeout is removed, and stays removed.
func TestKept(t *testing.T) {
	w := newWorld(t, onePlan, 1, func(c *Config) { c.Store = store.NewMemory() })
	brief := info("brief", []string{"a"})
	brief.FailoverTimeout = new(0.05)
	b := w.subscribe(w.admin, brief)
	bo := b.offer()
	launch := launchCall(bo, command(bo, "orphan", "forever", scalar("cpus", 1)))
	launch.Accept.Filters.RefuseSeconds = new(3600.0) // the rest is for the other framework
	b.must(http.StatusAccepted, launch)
	b.state("orphan", mesosv1.TaskState_TASK_RUNNING)
	f := info("kept", []string{"a", "b"}, mesosv1.FrameworkInfo_Capability_PARTITION_AWARE)
	f.FailoverTimeout = new(3600.0)
	c := w.subscribe(w.admin, f)
	o := c.offer()
	c.must(http.StatusAccepted, launchCall(o, command(o, "t", "forever", scalar("cpus", 1)), command(o, "done", "exit 3", scalar("cpus", 1))))
	running := c.next(schedulerv1.Event_UPDATE).Update.Status
	w.until("the other task has ended", func() bool {
		w.door.mu.Lock()
		defer w.door.mu.Unlock()
		x := w.door.frameworks[c.id].tasks["done"]
		return x != nil && x.over()
	})
	c.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_SUPPRESS.Enum(), Suppress: &schedulerv1.Call_Suppress{Roles: []string{"b"}}})
	w.reopen()
	w.door.mu.Lock()
	back := w.door.frameworks[c.id]
	if back == nil || back.info.GetName() != "kept" || !back.subs["b"].suppressed || back.tasks["t"].info.GetName() != "Task t" {
		t.Errorf("after a restart the framework is %+v", back)
	}
	w.door.mu.Unlock()
	w.until("who did not come back is gone", func() bool { return w.running() == 1 })
	w.reopen()
	if e := b.w.subscribe(w.admin, withID(info("brief", []string{"a"}), b.id)).next(schedulerv1.Event_ERROR); e.Error.GetMessage() != "Framework has been removed" {
		t.Errorf("a removed framework is answered %v", e)
	}
	again := w.subscribe(w.admin, withID(f, c.id))
	seen := map[string]*mesosv1.TaskStatus{}
	for len(seen) < 2 {
		s := again.next(schedulerv1.Event_UPDATE).Update.Status
		seen[s.TaskId.GetValue()] = s
		again.must(http.StatusAccepted, acknowledge(s))
		if s.TaskId.GetValue() == "done" && !terminal(s.GetState()) {
			delete(seen, "done")
		}
	}
	if running.TaskId.GetValue() == "t" && string(seen["t"].Uuid) != string(running.Uuid) {
		t.Errorf("sent again is %v, was %v", seen["t"], running)
	}
	if s := seen["done"]; s.GetState() != mesosv1.TaskState_TASK_FAILED {
		t.Errorf("the end is %v", s)
	}
	w.reopen()
	last := w.subscribe(w.admin, withID(f, c.id))
	last.next(schedulerv1.Event_SUBSCRIBED)
	last.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_RECONCILE.Enum(), Reconcile: &schedulerv1.Call_Reconcile{}})
	if s := last.next(schedulerv1.Event_UPDATE).Update.Status; s.TaskId.GetValue() != "t" || s.GetState() != mesosv1.TaskState_TASK_RUNNING || s.GetReason() != mesosv1.TaskStatus_REASON_RECONCILIATION {
		t.Errorf("what was acknowledged is sent again: %v", s)
	}
}

// TestRestart: a door that begins anew finds the tasks of frameworks in the pool. Their frameworks get them back by their id and
// principal, nobody else does.
func TestRestart(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	f := info("restart", []string{"a"})
	f.FailoverTimeout = new(3600.0)
	c := w.subscribe(w.admin, f)
	o := c.offer()
	c.must(http.StatusAccepted, launchCall(o, command(o, "t", "forever", scalar("cpus", 1))))
	c.state("t", mesosv1.TaskState_TASK_RUNNING)
	w.reopen()
	thief := w.user("ann", "run a")
	if e := <-w.subscribe(thief, withID(info("restart", []string{"a"}), c.id)).events; e.GetType() != schedulerv1.Event_ERROR {
		t.Errorf("another principal takes the framework over: %v", e)
	}
	again := w.subscribe(w.admin, withID(info("restart", []string{"a"}), c.id))
	if s := again.next(schedulerv1.Event_SUBSCRIBED); s.Subscribed.FrameworkId.GetValue() != c.id {
		t.Errorf("subscribed is %v", s)
	}
	again.state("t", mesosv1.TaskState_TASK_RUNNING) // the new door knows of no acknowledgement
	w.until("what the task leaves free is offered", func() bool {
		w.door.mu.Lock()
		defer w.door.mu.Unlock()
		for _, o := range w.door.offers {
			return o.regular["cpu"] == 3*resource.Milli
		}
		return false
	})
	again.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_KILL.Enum(), Kill: &schedulerv1.Call_Kill{TaskId: &mesosv1.TaskID{Value: new("t")}}})
	again.state("t", mesosv1.TaskState_TASK_KILLED)
}

// TestExecutorsAfterARestart: an executor reports to the new door with the token it was started with.
func TestExecutorsAfterARestart(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	f := info("restart", []string{"a"})
	f.FailoverTimeout = new(3600.0)
	c := w.subscribe(w.admin, f)
	o := c.offer()
	c.must(http.StatusAccepted, launchCall(o, custom(o, "t", "e")))
	old := w.execute(c.id, "e").token
	w.reopen()
	again := w.subscribe(w.admin, withID(info("restart", []string{"a"}), c.id))
	p := w.execute(c.id, "e")
	if p.token != old {
		t.Errorf("the token is %q, was %q", p.token, old)
	}
	p.next(executorv1.Event_SUBSCRIBED)
	p.update("t", mesosv1.TaskState_TASK_FINISHED)
	again.state("t", mesosv1.TaskState_TASK_FINISHED)
	w.until("the lease is free", func() bool { return w.running() == 1 })
}

// TestResend: what is not acknowledged is sent again, and not once it is.
func TestResend(t *testing.T) {
	w := newWorld(t, onePlan, 1, func(c *Config) { c.Resend = 50 * time.Millisecond })
	c := w.subscribe(w.admin, info("resend", []string{"a"}))
	o := c.offer()
	c.must(http.StatusAccepted, launchCall(o, command(o, "t", "forever", scalar("cpus", 1))))
	first, second := c.next(schedulerv1.Event_UPDATE).Update.Status, c.next(schedulerv1.Event_UPDATE).Update.Status
	if string(first.Uuid) != string(second.Uuid) || first.GetState() != second.GetState() {
		t.Errorf("first %v, then %v", first, second)
	}
	c.must(http.StatusAccepted, acknowledge(second))
	w.door.mu.Lock()
	defer w.door.mu.Unlock()
	if left := len(w.door.frameworks[c.id].tasks["t"].updates); left != 0 {
		t.Errorf("%d updates wait after the acknowledgement", left)
	}
}

// TestPods: the tasks of a group start together and end together, and one that cannot start keeps all from it.
func TestPods(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	c := w.subscribe(w.admin, info("pods", []string{"a"}))
	pod := func(o *mesosv1.Offer, tasks ...*mesosv1.TaskInfo) *schedulerv1.Call {
		call := launchCall(o)
		call.Accept.Operations[0] = &mesosv1.Offer_Operation{Type: mesosv1.Offer_Operation_LAUNCH_GROUP.Enum(), LaunchGroup: &mesosv1.Offer_Operation_LaunchGroup{
			Executor: &mesosv1.ExecutorInfo{Type: mesosv1.ExecutorInfo_DEFAULT.Enum(), ExecutorId: &mesosv1.ExecutorID{Value: new("e")},
				Resources: []*mesosv1.Resource{scalar("cpus", 0.1), scalar("mem", 32), scalar("disk", 1)}},
			TaskGroup: &mesosv1.TaskGroupInfo{Tasks: tasks},
		}}
		return call
	}
	o := c.offer()
	c.must(http.StatusAccepted, pod(o, command(o, "x", "forever", scalar("cpus", 1)), command(o, "y", "forever", scalar("cpus", 9))))
	for range 2 {
		if s := c.next(schedulerv1.Event_UPDATE).Update.Status; s.GetState() != mesosv1.TaskState_TASK_ERROR || s.GetReason() != mesosv1.TaskStatus_REASON_TASK_GROUP_INVALID {
			t.Errorf("a pod that does not fit: %v", s)
		}
	}
	o = c.offer()
	c.must(http.StatusAccepted, pod(o, command(o, "x", "forever", scalar("cpus", 1)), command(o, "y", "exit 1", scalar("cpus", 1))))
	ends := map[string]mesosv1.TaskState{}
	for len(ends) < 2 {
		s := c.next(schedulerv1.Event_UPDATE).Update.Status
		c.must(http.StatusAccepted, acknowledge(s))
		if terminal(s.GetState()) {
			ends[s.TaskId.GetValue()] = s.GetState()
		}
	}
	if ends["x"] != mesosv1.TaskState_TASK_KILLED || ends["y"] != mesosv1.TaskState_TASK_FAILED {
		t.Errorf("the ends are %v", ends)
	}
}
