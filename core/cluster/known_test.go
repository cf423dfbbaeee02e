package cluster

import (
	"testing"

	"polder.dev/polder/core/resource"
)

// TestTaskByID: a task is found by its id whatever dots are in it, an attempt that is over is not, and neither is one of an ask that is gone.
func TestTaskByID(t *testing.T) {
	w := newWorld(simplePlan("a 10 -"))
	w.c.Step(Register{Node: NodeInfo{Name: "n", Capacity: cpu(10)}}, w.now)
	for _, id := range []string{"x", "x.1", "y.z"} {
		spec := askFor(id, "a", map[string]int{"x": 2, "x.1": 1, "y.z": 2}[id], 1)
		spec.Shape.Requeue, spec.Shape.Restart = true, Restart{Policy: RestartOnFailure}
		w.c.Step(Submit{spec}, w.now)
	}
	w.c.Step(Tick{}, w.now)
	w.c.Step(Report{"n", TaskReport{Assignment: Assignment{Task: "x.1"}, State: Failed}}, w.now)
	w.c.Step(Tick{}, w.now)
	for _, id := range []string{"x.0", "x.1.1", "x.1.0", "y.z.0", "y.z.1"} {
		if found := w.c.task(id); found == nil || found.id != id {
			t.Errorf("task %s is not found: %v", id, found)
		}
	}
	for _, id := range []string{"", ".", "x", "x.1", "x.", "x.2", "x.0.1", "x.+0", "y.0", "z.0", "x.99999999999999999999"} {
		if found := w.c.task(id); found != nil {
			t.Errorf("there is no task %q: %s is found", id, found.id)
		}
	}
}

// TestStrayTask: a task that an agent kept, of an ask that nobody knows any more, is known until it ends.
func TestStrayTask(t *testing.T) {
	w := newWorld(simplePlan("a 10 -"))
	w.c.Step(RestoreNode{NodeInfo{Name: "n", Capacity: cpu(10)}}, w.now)
	kept := TaskReport{Assignment: Assignment{Task: "gone.0", Ask: "gone", Role: "a", Node: "n", Resources: resource.Resources{"cpu": 1000}}, State: Running}
	w.c.Step(RestoreTask{kept}, w.now)
	if found := w.c.task("gone.0"); found == nil {
		t.Fatal("the task is not found")
	}
	w.c.Step(Recovered{}, w.now)
	kept.State = Succeeded
	w.c.Step(Report{"n", kept}, w.now)
	if found := w.c.task("gone.0"); found != nil || len(w.c.strays) != 0 {
		t.Fatal("the task has ended and is still there")
	}
}
