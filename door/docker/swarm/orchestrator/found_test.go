package orchestrator

import (
	"fmt"
	"testing"
	"time"
)

// What follows was found by TestServicesGetWhatTheyWant.

// TestPlacesOfTheirOwn: tasks that may not share a node do not wait for the same one.
func TestPlacesOfTheirOwn(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.put("s", func(s *Spec) { s.Replicas, s.Placement.MostPerNode = 2, 1 })
	want(t, "waiting", len(w.among), 2)
	w.room["n0"], w.room["n1"] = 5, 5
	w.step(w.serveQueue())
	want(t, "by node", fmt.Sprint(w.running("s")), "map[n0:1 n1:1]")
}

// TestWaitingIsKeptOverARestart: what waits goes on waiting, unless it waits where it may not go any more.
func TestWaitingIsKeptOverARestart(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.put("s", func(s *Spec) { s.Replicas = 1 })
	ask := w.askOf(w.m.Tasks("s")[0].ID)
	w.restart()
	want(t, "the ask", w.askOf(w.m.Tasks("s")[0].ID), ask)
	delete(w.nodes, w.among[ask][0])
	w.restart()
	if again := w.askOf(w.m.Tasks("s")[0].ID); again == ask || len(w.among[again]) != 1 {
		t.Errorf("it waits as %s for %v", again, w.among[again])
	}
}

// between lets a service have a task and its successor, which does not run yet, in one slot.
func between(t *testing.T) *world {
	w := newWorld(t, 2, 10)
	w.put("s", func(s *Spec) { s.Replicas, s.Update = 1, Rollout{StartFirst: true, FailureAction: "continue"} })
	w.holds = func(task Task) bool { return task.Print == "v2" }
	w.put("s", func(s *Spec) { s.Print = "v2" })
	want(t, "in the pool", len(w.pool), 2)
	return w
}

// TestReadAnew: that the pool was read again loses nothing that was not among what was read.
func TestReadAnew(t *testing.T) {
	w := newWorld(t, 2, 10)
	w.put("s", func(s *Spec) { s.Replicas = 4 })
	w.step(Synced{})
	want(t, "in the pool", len(w.pool), 4)
	want(t, "running", w.count("s"), 4)
	want(t, "placed", len(w.m.Placed()), 4)
}

func TestBothEnd(t *testing.T) {
	w := between(t)
	w.holds = nil
	for _, task := range w.m.Tasks("s") {
		w.step(w.end(w.askOf(task.ID), Failed, false))
	}
	w.pass(time.Minute)
	want(t, "running", fmt.Sprint(w.prints("s")), "map[v2:1]")
}

func TestDrainBetween(t *testing.T) {
	w := between(t)
	w.holds = nil
	w.setNode("n0", "draining")
	w.setNode("n0", "ready")
	w.setNode("n1", "draining")
	w.pass(time.Minute)
	want(t, "running", fmt.Sprint(w.prints("s")), "map[v2:1]")
}

func TestUpdateAfterUpdate(t *testing.T) {
	w := between(t)
	w.holds = func(task Task) bool { return task.Print == "v3" }
	for ask, r := range w.pool { // v2 runs, and v3 is wanted before v1 is gone
		if r.State == Starting {
			r := *r
			r.State = Running
			*w.pool[ask] = r
			s, _ := w.m.Service("s")
			s.Spec.Print = "v3"
			w.step(Batch{r, PutService{Service: s}})
			break
		}
	}
	want(t, "running", fmt.Sprint(w.prints("s")), "map[v2:1]")
}
