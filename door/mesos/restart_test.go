package mesos

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/door/mesos/wire/executorv1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// reopen puts another door in the place of the first, as after a restart.
func (w *world) reopen() {
	w.t.Helper()
	s := httptest.NewUnstartedServer(nil)
	d, err := New(Config{API: w.api, Addr: s.Listener.Addr().String(), Heartbeat: time.Hour, Resend: time.Hour, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	s.Config.Handler = d.Handler()
	s.Start()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the door ended: %v", err)
		}
		s.Close()
	})
	w.door, w.base = d, s.URL
	w.until("the new door is ready", d.isReady)
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
