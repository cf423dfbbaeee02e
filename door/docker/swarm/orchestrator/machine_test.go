package orchestrator

import (
	"fmt"
	"maps"
	"syscall"
	"testing"
	"time"
)

func TestReplicasSpread(t *testing.T) {
	w := newWorld(t, 3, 10)
	w.put("s", func(s *Spec) { s.Replicas = 6 })
	want(t, "by node", fmt.Sprint(w.running("s")), "map[n0:2 n1:2 n2:2]")
	w.put("s", func(s *Spec) { s.Replicas = 3 })
	want(t, "after scaling down", fmt.Sprint(w.running("s")), "map[n0:1 n1:1 n2:1]")
	w.put("s", func(s *Spec) { s.Replicas = 0 })
	want(t, "at zero", len(w.pool), 0)
}

func TestSpreadPreferenceComesFirst(t *testing.T) {
	w := newWorld(t, 3, 10) // n0 and n2 are in rack 0, n1 is in rack 1
	w.put("s", func(s *Spec) { s.Replicas, s.Placement.Spread = 4, []string{"rack"} })
	want(t, "by node", fmt.Sprint(w.running("s")), "map[n0:1 n1:2 n2:1]")
}

func TestConstraintsAndMost(t *testing.T) {
	w := newWorld(t, 3, 10)
	c, err := ParseConstraint("node.labels.rack == 0")
	if err != nil {
		t.Fatal(err)
	}
	w.put("s", func(s *Spec) { s.Replicas, s.Placement = 5, Placement{Constraints: []Constraint{c}, MostPerNode: 2} })
	want(t, "by node", fmt.Sprint(w.running("s")), "map[n0:2 n2:2]")
	for _, task := range w.m.Tasks("s") {
		if task.State == Pending {
			want(t, "why", task.Reason, "no suitable node: max replicas per node limit exceeded (2)")
		}
	}
	w.nodes["n2"].Labels = map[string]string{"rack": "9"}
	w.setNode("n2", "ready")
	want(t, "after a label changed", fmt.Sprint(w.running("s")), "map[n0:2]")
}

func TestHostPortsAreOnePerMachine(t *testing.T) {
	w := newWorld(t, 2, 10)
	for _, id := range []string{"a", "b"} {
		w.put(id, func(s *Spec) { s.Replicas, s.Ports = 2, []Port{{80, "tcp"}} })
	}
	want(t, "of a", w.count("a"), 2)
	want(t, "of b", w.count("b"), 0)
	w.step(RemoveService{"a"})
	want(t, "of b without a", w.count("b"), 2)
}

func TestNoRoomWaitsInThePool(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.put("s", func(s *Spec) { s.Replicas = 3 })
	want(t, "running", w.count("s"), 2)
	want(t, "waiting", len(w.among), 1)
	w.room["n0"] = 3
	w.step(w.serveQueue())
	want(t, "with room", w.count("s"), 3)
}

func TestGlobalFollowsNodes(t *testing.T) {
	w := newWorld(t, 3, 10)
	w.put("g", func(s *Spec) { s.Mode = Global })
	want(t, "at first", fmt.Sprint(w.running("g")), "map[n0:1 n1:1 n2:1]")
	w.setNode("n1", "cordoned")
	want(t, "a node that is cordoned keeps it", w.count("g"), 3)
	w.setNode("n1", "draining")
	want(t, "a node that is emptied does not", w.count("g"), 2)
	w.setNode("n1", "ready")
	w.lose("n2")
	want(t, "after a loss", fmt.Sprint(w.running("g")), "map[n0:1 n1:1]")
}

func TestDrainMovesAtOnce(t *testing.T) {
	w := newWorld(t, 2, 10)
	w.put("s", func(s *Spec) { s.Replicas = 4 })
	w.setNode("n0", "draining")
	want(t, "by node", fmt.Sprint(w.running("s")), "map[n1:4]")
	w.lose("n1")
	want(t, "with no node left", w.count("s"), 0)
	w.setNode("n0", "ready")
	want(t, "when it is back", w.count("s"), 4)
}

func TestRestart(t *testing.T) {
	tests := []struct {
		name    string
		restart Restart
		end     State
		forced  bool
		after   time.Duration
		want    int
	}{
		{"any, before the delay", Restart{Condition: Any, Delay: 5 * time.Second}, Failed, false, 4 * time.Second, 0},
		{"any, after it", Restart{Condition: Any, Delay: 5 * time.Second}, Complete, false, 6 * time.Second, 1},
		{"on-failure, failed", Restart{Condition: OnFailure}, Failed, false, time.Second, 1},
		{"on-failure, complete", Restart{Condition: OnFailure}, Complete, false, time.Hour, 0},
		{"none", Restart{Condition: Never}, Failed, false, time.Hour, 0},
		{"none, reclaimed", Restart{Condition: Never, Delay: time.Hour}, Shutdown, true, 0, 1},
		{"killed by hand", Restart{Condition: OnFailure}, Shutdown, false, time.Second, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, 1, 10)
			w.put("s", func(s *Spec) { s.Replicas, s.Restart = 1, test.restart })
			w.step(w.end(w.askOf(w.m.Tasks("s")[0].ID), test.end, test.forced))
			w.pass(test.after)
			want(t, "running", w.count("s"), test.want)
			w.restart()
			w.pass(0)
			want(t, "after a restart of the server", w.count("s"), test.want)
		})
	}
}

func TestAttemptsAreCountedInTheirWindow(t *testing.T) {
	w := newWorld(t, 1, 10)
	bad := true
	w.fails = func(Task) bool { return bad }
	w.put("s", func(s *Spec) { s.Replicas, s.Restart = 1, Restart{Condition: Any, Delay: time.Second, MaxAttempts: 3} })
	w.pass(time.Hour)
	want(t, "tasks", len(w.m.Tasks("s")), 4)
	bad = false
	w.put("s", func(s *Spec) { s.Print = "v2" })
	w.pass(time.Minute)
	want(t, "an update tries again", w.count("s"), 1)
}

func TestJobs(t *testing.T) {
	w := newWorld(t, 3, 10)
	w.put("j", func(s *Spec) { s.Mode, s.Replicas, s.Concurrent = ReplicatedJob, 5, 2 })
	done := 0
	for range 5 {
		want(t, "at a time", w.count("j"), min(2, 5-done))
		for _, task := range w.m.Tasks("j") {
			if task.State == Running {
				w.step(w.end(w.askOf(task.ID), Complete, false))
				done++
				break
			}
		}
	}
	w.restart()
	w.pass(time.Hour)
	want(t, "tasks of a job that is over", len(w.m.Tasks("j")), 5)
	want(t, "left in the pool", len(w.pool), 0)
	w.put("j", func(s *Spec) { s.Print = "again" })
	want(t, "the next run", w.count("j"), 2)

	w.put("g", func(s *Spec) { s.Mode = GlobalJob })
	for _, task := range w.m.Tasks("g") {
		end := Complete
		if task.Bound == "n1" {
			end = Failed
		}
		w.step(w.end(w.askOf(task.ID), end, false))
	}
	w.pass(10 * time.Second)
	want(t, "what failed is tried again", fmt.Sprint(w.running("g")), "map[n1:1]")
}

func TestUpdateGoesStepByStep(t *testing.T) {
	for _, order := range []bool{false, true} {
		w := newWorld(t, 3, 10)
		w.put("s", func(s *Spec) { s.Replicas = 6 })
		w.put("s", func(s *Spec) {
			s.Print, s.Update = "v2", Rollout{Parallelism: 2, Delay: 10 * time.Second, Monitor: 5 * time.Second, StartFirst: order}
		})
		for i, at := range []int{2, 4, 6} {
			want(t, fmt.Sprintf("start first %v, step %d", order, i), fmt.Sprint(w.prints("s")["v2"], w.count("s")), fmt.Sprint(at, 6))
			w.pass(10 * time.Second)
		}
		s, _ := w.m.Service("s")
		want(t, "state", s.Update.State, Completed)
		want(t, "time", s.Update.Completed.Sub(s.Update.Started), 25*time.Second)
	}
}

func TestStopFirstWaitsForTheEnd(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.put("s", func(s *Spec) { s.Replicas = 1 })
	w.put("s", func(s *Spec) { s.Print = "v2" })
	want(t, "running", fmt.Sprint(w.prints("s")), "map[v2:1]") // there is room for one only
}

func TestHealthGate(t *testing.T) {
	w := newWorld(t, 3, 10)
	w.put("s", func(s *Spec) { s.Replicas = 3 })
	w.holds = func(task Task) bool { return task.Print == "v2" }
	w.put("s", func(s *Spec) { s.Print, s.Update = "v2", Rollout{Parallelism: 1, StartFirst: true} })
	w.pass(time.Hour)
	want(t, "old ones stay while the new one is not healthy", fmt.Sprint(w.prints("s")), "map[v1:3]")
	starting := 0
	for _, task := range w.m.Tasks("s") {
		if task.State == Starting {
			starting++
		}
	}
	want(t, "new ones", starting, 1)
}

func TestFailureActions(t *testing.T) {
	tests := []struct {
		action string
		ratio  float64
		state  string
		prints string
	}{
		{"pause", 0, Paused, "map[v1:5]"},
		{"continue", 0, Updating, "map[v1:5]"}, // the slot goes on failing, and holds the update up
		{"rollback", 0, RollbackCompleted, "map[v1:6]"},
	}
	for _, test := range tests {
		t.Run(test.action, func(t *testing.T) {
			w := newWorld(t, 3, 10)
			w.fails = func(task Task) bool { return task.Print == "bad" }
			w.put("s", func(s *Spec) { s.Replicas = 6 })
			w.put("s", func(s *Spec) {
				s.Print, s.Update = "bad", Rollout{Parallelism: 1, Monitor: 5 * time.Second, FailureAction: test.action, MaxFailureRatio: test.ratio}
			})
			w.pass(time.Minute)
			s, _ := w.m.Service("s")
			want(t, "state", s.Update.State, test.state)
			want(t, "running", fmt.Sprint(w.prints("s")), test.prints)
			w.restart()
			w.pass(time.Minute)
			s, _ = w.m.Service("s")
			want(t, "state after a restart of the server", s.Update.State, test.state)
		})
	}
}

func TestFailureRatio(t *testing.T) {
	w := newWorld(t, 3, 20)
	broken := map[int]bool{1: true, 2: true}
	w.fails = func(task Task) bool {
		first := broken[task.Slot] && task.Print == "v2"
		if first {
			delete(broken, task.Slot)
		}
		return first
	}
	w.put("s", func(s *Spec) { s.Replicas = 10 })
	w.put("s", func(s *Spec) {
		s.Print, s.Update = "v2", Rollout{Parallelism: 1, Monitor: time.Second, FailureAction: "rollback", MaxFailureRatio: 0.2}
	})
	w.pass(time.Minute)
	s, _ := w.m.Service("s")
	want(t, "two of ten are let pass", s.Update.State+fmt.Sprint(w.prints("s")), Completed+"map[v2:10]")
}

func TestRollbackByHand(t *testing.T) {
	w := newWorld(t, 3, 10)
	w.put("s", func(s *Spec) { s.Replicas = 3 })
	w.put("s", func(s *Spec) { s.Print, s.Replicas = "v2", 5 })
	w.pass(time.Minute)
	s, _ := w.m.Service("s")
	s.Spec = *s.Previous
	w.step(PutService{Service: s, Back: true})
	w.pass(time.Minute)
	s, _ = w.m.Service("s")
	want(t, "state", s.Update.State, RollbackCompleted)
	want(t, "running", fmt.Sprint(w.prints("s")), "map[v1:3]")
	want(t, "and back", s.Previous.Print, "v2")
}

func TestReturningDuplicateIsStopped(t *testing.T) {
	w := newWorld(t, 2, 10)
	w.put("s", func(s *Spec) { s.Replicas = 2 })
	gone := w.m.Tasks("s")[0]
	ask := w.askOf(gone.ID)
	back := *w.pool[ask]
	n := *w.nodes[gone.Node]
	w.lose(gone.Node)
	want(t, "replaced", w.count("s"), 2)
	w.nodes[n.Name] = &n
	w.pool[ask] = &back
	w.step(Batch{PutNode{n}, back})
	if w.pool[ask] != nil {
		t.Error("the old task still runs")
	}
	want(t, "running", w.count("s"), 2)
}

func TestRemoveStopsFirst(t *testing.T) {
	w := newWorld(t, 2, 10)
	w.put("s", func(s *Spec) { s.Replicas = 4 })
	w.step(RemoveService{"s"})
	want(t, "written down", len(w.services)+len(w.tasks)+len(w.pool), 0)
}

func TestHistoryIsBounded(t *testing.T) {
	for _, most := range []int{History, 2, 0, -1} {
		w := newWorld(t, 1, 10)
		w.m.Remember(most)
		w.fails = func(Task) bool { return true }
		w.put("s", func(s *Spec) { s.Replicas = 1 })
		w.pass(time.Hour)
		if n := len(w.m.Tasks("s")); most >= 0 && n > most+1 || most < 0 && n < 20 {
			t.Errorf("of %d tasks at most, %d are remembered", most, n)
		}
		want(t, "in the store", len(w.tasks), len(w.m.Tasks("s")))
	}
}

func TestParseConstraint(t *testing.T) {
	n := &Node{Name: "n1", ID: "abc", Arch: "x86_64", Labels: map[string]string{"zone": "A"}, Attributes: map[string]string{"zone": "b", "disk": "ssd"}}
	for text, holds := range map[string]bool{
		"node.hostname==n1": true, "node.hostname != n1": false, "node.id==ABC": true, "node.role==worker": true, "node.role!=manager": true,
		"node.labels.zone==a": true, "node.labels.zone==b": false, "engine.labels.disk==ssd": true, "node.platform.os==linux": true,
		"node.platform.arch==x86_64": true, "node.labels.none==x": false, "node.labels.none!=x": true,
	} {
		c, err := ParseConstraint(text)
		if err != nil || c.Holds(n) != holds {
			t.Errorf("%s: %v, %v", text, c.Holds(n), err)
		}
	}
	for _, text := range []string{"", "x", "node.labels.==a", "zone==a", "node.hostname=~n", "node.ip==1.2.3.4", "==", "node.id==", "node.labels.a b==c"} {
		if c, err := ParseConstraint(text); err == nil {
			t.Errorf("%q is taken for %v", text, c)
		}
	}
}

func FuzzParseConstraint(f *testing.F) {
	f.Add("node.labels.zone==a")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseConstraint(text)
		if err != nil {
			return
		}
		if again, err := ParseConstraint(c.String()); err != nil || again != c {
			t.Errorf("%q is read as %v, and that as %v, %v", text, c, again, err)
		}
	})
}

// spent is the processor time this process has had.
func spent() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0 // the figure is then zero, which nobody takes for one
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkReconcile makes 1,000 services of 10 tasks on 1,000 nodes, and lets the pool answer.
func BenchmarkReconcile(b *testing.B) {
	before, n := spent(), 0
	defer func() { b.ReportMetric((spent()-before).Seconds()/float64(n), "cpu-s/op") }()
	for b.Loop() {
		n++
		m := New(func() func() string {
			n := 0
			return func() string { n++; return fmt.Sprintf("t%06d", n) }
		}())
		now := time.Unix(1_000_000, 0)
		for i := range 1000 {
			name := fmt.Sprintf("n%04d", i)
			m.Step(PutNode{Node{Name: name, Engine: name, State: "ready", Free: Amounts{32_000, 64 << 30, 0}}}, now)
		}
		m.Step(Synced{}, now)
		asks := 0
		for i := range 1000 {
			id := fmt.Sprintf("s%04d", i)
			effects := m.Step(PutService{Service: Service{ID: id, Name: id, Spec: Spec{Replicas: 10, Print: "a", Needs: Amounts{100, 256 << 20, 0}}}}, now)
			for _, f := range effects {
				if l, ok := f.(Launch); ok {
					asks++
					m.Step(Report{Task: l.Task.ID, Pool: fmt.Sprint("a", asks), Node: l.Task.Node, State: Running}, now)
				}
			}
		}
		on := map[string]int{}
		for _, t := range m.tasks {
			if t.State != Running {
				b.Fatalf("task %s is %v", t.ID, t.State)
			}
			on[t.Node]++
		}
		for n := range maps.Values(on) {
			if n != 10 {
				b.Fatalf("%v", on)
			}
		}
	}
}
