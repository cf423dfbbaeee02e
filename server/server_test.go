package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
)

func TestSubmitLaunchStatusList(t *testing.T) {
	w := newWorld(t, nil)
	a := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	link := w.connect(a)
	c := w.as(w.admin)
	ask := w.submit(c, process("default", 3, "1"))
	a.until("three tasks", func() bool { return len(a.tasks) == 3 })
	w.until("three running tasks", func(p *picture) bool {
		row, _ := p.asks.Get(ask.Id)
		running := 0
		for _, v := range p.tasks.All() {
			if taskProto(v).State == polderv1.TaskState_TASK_STATE_RUNNING {
				running++
			}
		}
		return row.Running == 3 && running == 3
	})
	list := call(t, c.task.List, &polderv1.TaskServiceListRequest{Ask: ask.Id})
	if len(list.Tasks) != 3 || list.Tasks[0].Node != "n1" || list.Tasks[0].Runtime != "process" {
		t.Fatalf("tasks are %v", list.Tasks)
	}
	node := call(t, c.node.Get, &polderv1.NodeServiceGetRequest{Name: "n1"})
	if node.State != "ready" || node.Tasks != 3 || node.Used["cpu"] != "3" || len(node.Attributes) != 0 {
		t.Errorf("node is %v", node)
	}
	leases := call(t, c.lease.List, &polderv1.LeaseServiceListRequest{Borrowed: true})
	if len(leases.Leases) != 3 {
		t.Errorf("leases are %v", leases.Leases)
	}
	link.finish(list.Tasks[0].Id, polderv1.TaskState_TASK_STATE_SUCCEEDED)
	a.until("an acknowledgement", func() bool { return a.acks[list.Tasks[0].Id] })
	call(t, c.task.Kill, &polderv1.KillRequest{Ids: []string{list.Tasks[1].Id}})
	a.until("a kill", func() bool { return a.acks[list.Tasks[1].Id] })
	call(t, c.ask.Cancel, &polderv1.CancelRequest{Ids: []string{ask.Id}})
	w.until("the ask to end", func(p *picture) bool { row, _ := p.asks.Get(ask.Id); return row.State == "cancelled" })
	got := call(t, c.ask.Get, &polderv1.AskServiceGetRequest{Id: ask.Id})
	if got.Succeeded != 1 || got.SubmittedBy != "user:admin" || got.Spec.Name != "job" {
		t.Errorf("ask is %v", got)
	}
}

// TestGetUntil: who waits for a state of a task is answered when it has it, and in any case when it is over.
func TestGetUntil(t *testing.T) {
	w := newWorld(t, nil)
	a := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	link := w.connect(a)
	c := w.as(w.admin)
	ask := w.submit(c, process("default", 1, "1"))
	task := ask.Id + ".0"
	w.until("its task", func(p *picture) bool { _, ok := p.tasks.Get(task); return ok })
	runs := call(t, c.task.Get, &polderv1.TaskServiceGetRequest{Id: task, Until: []polderv1.TaskState{polderv1.TaskState_TASK_STATE_RUNNING}})
	if runs.Task.State != polderv1.TaskState_TASK_STATE_RUNNING {
		t.Errorf("it is %v", runs.Task.State)
	}
	ended := make(chan *polderv1.TaskServiceGetResponse, 1)
	go func() {
		res, err := c.task.Get(t.Context(), connect.NewRequest(&polderv1.TaskServiceGetRequest{Id: task, Until: []polderv1.TaskState{polderv1.TaskState_TASK_STATE_LEAVING}}))
		if err != nil {
			t.Error(err)
			res = connect.NewResponse(&polderv1.TaskServiceGetResponse{})
		}
		ended <- res.Msg
	}()
	link.finish(task, polderv1.TaskState_TASK_STATE_SUCCEEDED)
	if res := <-ended; res.Task.GetState() != polderv1.TaskState_TASK_STATE_SUCCEEDED {
		t.Errorf("it ended as %v", res.Task)
	}
}

// doorway is a door's way to a server in this process, for calls that are no streams.
type doorway struct{ server http.Handler }

func (i doorway) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	i.server.ServeHTTP(answer, r.WithContext(auth.WithDoor(r.Context(), "docker")))
	return answer.Result(), nil
}

// TestResize: a door's container gets more while there is more, and less at once; another task's limits would not follow.
func TestResize(t *testing.T) {
	w := newWorld(t, nil)
	a := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	a.runtimes = []string{"docker", "process"}
	w.connect(a)
	c := newClient(&http.Client{Transport: bearer{w.admin, doorway{w.server.Handler()}}})
	plain := w.submit(c, process("default", 1, "1"))
	spec := process("default", 1, "1")
	spec.Task.Runtime, spec.Task.Image, spec.Task.Command, spec.Task.Container = "docker", "web", nil, &polderv1.Container{Id: strings.Repeat("c", 64), Role: "default", Name: "web", Create: []byte("{}")}
	web := w.submit(c, spec)
	a.until("two tasks", func() bool { return len(a.tasks) == 2 })
	refusal(t, connect.CodeInvalidArgument, c.task.Resize, &polderv1.ResizeRequest{Task: plain.Id + ".0", Resources: map[string]string{"cpu": "2"}})
	refusal(t, connect.CodeFailedPrecondition, c.task.Resize, &polderv1.ResizeRequest{Task: web.Id + ".0", Resources: map[string]string{"cpu": "4"}})
	for _, size := range []string{"3", "0.5"} {
		if got := call(t, c.task.Resize, &polderv1.ResizeRequest{Task: web.Id + ".0", Resources: map[string]string{"cpu": size}}).Task; got.Resources["cpu"] != size {
			t.Errorf("resized to %s it holds %v", size, got.Resources)
		}
	}
	node := call(t, c.node.Get, &polderv1.NodeServiceGetRequest{Name: "n1"})
	if node.Used["cpu"] != "1.5" {
		t.Errorf("the node's leases hold %v", node.Used)
	}
}
