package orchestrator

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestServicesGetWhatTheyWant: whatever happened, and however often the server died, once all is quiet every service has what a naive
// reading of its spec says, nothing else runs, and what is written down is what is known. world checks on the way that nothing is
// asked for before it is written down, nothing runs twice, and nothing is placed where it may not be.
func TestServicesGetWhatTheyWant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, rapid.IntRange(1, 4).Draw(t, "nodes"), rapid.IntRange(1, 6).Draw(t, "room"))
		w.fails = func(task Task) bool { return task.Print == "bad" }
		for range rapid.IntRange(1, 30).Draw(t, "things that happen") {
			w.happen(t)
			w.written()
		}
		w.fails = nil
		w.calm(t)
		for _, s := range w.m.Services() {
			w.compare(t, s)
		}
		w.written()
		for ask, r := range w.pool {
			if task, ok := w.m.Task(r.Task); !ok || !task.Wanted || task.Pool != ask {
				t.Fatalf("%s runs, and nobody wants it: %+v", ask, task)
			}
		}
	})
}

// happen lets something happen.
func (w *world) happen(t *rapid.T) {
	id := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "service")
	node := fmt.Sprintf("n%d", rapid.IntRange(0, 4).Draw(t, "node"))
	switch rapid.SampledFrom([]string{"put", "put", "put", "remove", "state", "lose", "join", "label", "end", "end", "pass", "pass", "restart", "back"}).Draw(t, "what") {
	case "put":
		w.put(id, func(s *Spec) { w.drawSpec(t, id, s) })
	case "remove":
		w.step(RemoveService{id})
	case "state":
		if w.nodes[node] != nil {
			w.setNode(node, rapid.SampledFrom([]string{"ready", "cordoned", "draining", "unreachable"}).Draw(t, "state"))
		}
	case "lose":
		if w.nodes[node] != nil {
			w.lose(node)
		}
	case "join":
		if w.nodes[node] == nil {
			w.nodes[node] = &Node{Name: node, ID: "id-" + node, Engine: node, Free: Amounts{1 << 40, 1 << 60, 0}, Labels: map[string]string{"rack": "0"}}
			w.room[node] = rapid.IntRange(0, 6).Draw(t, "its room")
			w.setNode(node, "ready")
		}
	case "label":
		if n := w.nodes[node]; n != nil {
			n.Labels = map[string]string{"rack": rapid.SampledFrom([]string{"0", "1"}).Draw(t, "rack")}
			w.setNode(node, n.State)
		}
	case "end":
		if asks := slices.Sorted(maps.Keys(w.pool)); len(asks) > 0 {
			ask := rapid.SampledFrom(asks).Draw(t, "ask")
			end := rapid.SampledFrom([]State{Complete, Failed, Shutdown}).Draw(t, "end")
			if w.pool[ask].State != Pending {
				w.step(w.end(ask, end, end == Shutdown && rapid.Bool().Draw(t, "forced")))
			}
		}
	case "pass":
		w.pass(time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds")) * time.Second)
	case "restart":
		w.restart()
	case "back":
		if s, ok := w.m.Service(id); ok && s.Previous != nil {
			s.Spec = *s.Previous
			w.step(PutService{Service: s, Back: true})
		}
	}
}

// drawSpec changes a spec, and chooses the mode of a new one.
func (w *world) drawSpec(t *rapid.T, id string, s *Spec) {
	if _, there := w.m.Service(id); !there {
		s.Mode = rapid.SampledFrom([]Mode{Replicated, Replicated, Global, ReplicatedJob, GlobalJob}).Draw(t, "mode")
	}
	if _, there := w.m.Service(id); !there && !s.Mode.PerNode() { // lowered later, it moves nobody
		s.Placement.MostPerNode = uint64(rapid.IntRange(0, 2).Draw(t, "most per node"))
	}
	s.Replicas = uint64(rapid.IntRange(0, 6).Draw(t, "replicas"))
	s.Concurrent = uint64(rapid.IntRange(0, 3).Draw(t, "concurrent"))
	s.Print = rapid.SampledFrom([]string{"v1", "v2", "v3", "bad"}).Draw(t, "print")
	s.Update.Parallelism = uint64(rapid.IntRange(0, 3).Draw(t, "parallelism"))
	s.Update.StartFirst = rapid.Bool().Draw(t, "start first")
	if s.Placement.MostPerNode > 0 {
		s.Update.StartFirst = false // where every place is taken, no second task gets one before the first has left
	}
	s.Update.FailureAction = rapid.SampledFrom([]string{"pause", "continue", "rollback"}).Draw(t, "action")
	s.Placement.Constraints = nil
	if rapid.Bool().Draw(t, "constrained") {
		s.Placement.Constraints = []Constraint{{Key: "node.labels.rack", Value: "0"}}
	}
}

// calm makes all nodes ready with room for everything, lets jobs complete, and waits.
func (w *world) calm(t *rapid.T) {
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		w.room[name] = 1000
		w.setNode(name, "ready")
	}
	for range 100 {
		w.pass(time.Minute)
		quiet := true
		for _, ask := range slices.Sorted(maps.Keys(w.pool)) {
			r := w.pool[ask]
			if r == nil || r.State != Running {
				continue
			}
			task, _ := w.m.Task(r.Task)
			if s, ok := w.m.Service(task.Service); ok && s.Spec.Mode.Job() {
				w.step(w.end(ask, Complete, false))
				quiet = false
			}
		}
		if quiet {
			return
		}
	}
	t.Fatalf("it does not come to rest")
}

// compare compares a service's tasks with a naive reading of its spec.
func (w *world) compare(t *rapid.T, s Service) {
	may := 0
	for _, n := range w.nodes {
		if len(s.Spec.Placement.Constraints) == 0 || n.Labels["rack"] == "0" {
			may++
		}
	}
	tasks := w.m.Tasks(s.ID)
	running, complete, old := 0, 0, 0
	for _, task := range tasks {
		switch {
		case task.State == Running:
			running++
			if task.Print != s.Spec.Print {
				old++
			}
		case task.State == Complete && task.Iteration == s.Iteration:
			complete++
		}
	}
	got, expected := running, int(s.Spec.Replicas)
	switch {
	case s.Spec.Mode == Global || s.Spec.Mode == GlobalJob:
		expected = may
	case may == 0:
		expected = 0
	case s.Spec.Placement.MostPerNode > 0 && s.Spec.Mode == Replicated:
		expected = min(expected, may*int(s.Spec.Placement.MostPerNode))
	}
	if s.Spec.Mode.Job() {
		got = min(complete, expected)                                                               // it may have wanted more before
		if s.Spec.Mode == GlobalJob && complete > may || s.Spec.Mode == ReplicatedJob && may == 0 { // it completed where it may not be any more
			got = expected
		}
	}
	if got != expected {
		t.Fatalf("service %+v has %d tasks, want %d of %d nodes:\n%s", s, got, expected, may, list(tasks))
	}
	if s.Update != nil && (s.Update.State == Updating || s.Update.State == RollbackStarted) && got == int(s.Spec.Replicas) && s.Spec.Mode == Replicated {
		t.Fatalf("the update of %s does not end: %+v\n%s", s.ID, s.Update, list(tasks))
	}
	if old > 0 && (s.Update == nil || s.Update.State != Paused && s.Update.State != RollbackPaused) && got == int(s.Spec.Replicas) {
		t.Fatalf("service %s has %d old tasks: %+v\n%s", s.ID, old, s.Update, list(tasks))
	}
}

func list(tasks []Task) (out string) {
	for _, t := range tasks {
		t.Template = nil
		out += fmt.Sprintf("%+v\n", t)
	}
	return out
}

// written checks that what is written down is what the machine knows.
func (w *world) written() {
	w.t.Helper()
	if len(w.tasks) != len(w.m.tasks) || len(w.services) != len(w.m.services) {
		w.t.Fatalf("%d tasks and %d services are written down, %d and %d are known", len(w.tasks), len(w.services), len(w.m.tasks), len(w.m.services))
	}
	for id, t := range w.m.tasks {
		if !bytes.Equal(w.encoded(*t), w.tasks[id]) {
			w.t.Fatalf("of task %s is written down\n%s, known is\n%s", id, w.tasks[id], w.encoded(*t))
		}
	}
	for id, s := range w.m.services {
		if !bytes.Equal(w.encoded(s.Service), w.services[id]) {
			w.t.Fatalf("of service %s is written down\n%s, known is\n%s", id, w.services[id], w.encoded(s.Service))
		}
	}
}
