package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

func (w *world) check(t *testing.T) {
	t.Helper()
	for _, f := range w.faults {
		t.Error(f)
	}
	if t.Failed() {
		t.Log(strings.Join(w.history, "\n"))
	}
}

func TestBorrowerLeavesForOwner(t *testing.T) {
	w := newWorld(simplePlan("online 8 -", "offline 0 - - 10s"))
	w.join("n1", cpu(5), nil)
	w.join("n2", cpu(5), nil)
	if err := w.step(Submit{askFor("batch", "offline", 10, 1)}); err != nil {
		t.Fatal(err)
	}
	w.run(time.Second)
	if n := len(w.live()); n != 10 {
		t.Fatalf("offline borrows %d of 10", n)
	}
	if err := w.step(Submit{askFor("web", "online", 2, 4)}); err != nil {
		t.Fatal(err)
	}
	w.run(14900 * time.Millisecond)
	for _, v := range w.live() {
		if v.Role == "online" {
			t.Fatalf("%s runs before the borrowers' notice is over", v.Task)
		}
	}
	w.run(time.Second)
	online := 0
	for _, v := range w.live() {
		if v.Role == "online" {
			online++
			if v.Funding != "online" {
				t.Errorf("%s is paid by %s", v.Task, v.Funding)
			}
		}
	}
	if online != 2 {
		t.Errorf("%d of 2 online tasks run", online)
		r, d, _ := w.c.Explain("web")
		t.Log(r, d)
	}
	w.check(t)
}

// TestNewKindsOfResources registers nodes and plans that bring kinds nobody knew, with tasks running.
func TestNewKindsOfResources(t *testing.T) {
	w := newWorld(simplePlan("online 2 -", "offline 0 -"))
	w.join("n1", cpu(4), nil)
	w.step(Submit{askFor("batch", "offline", 4, 1)})
	w.run(time.Second)
	w.join("n2", resource.Resources{"cpu": 2000, "licence": 5000}, nil)
	spec := askFor("tool", "offline", 1, 1)
	spec.Shape.Resources["licence"] = 1000
	if err := w.step(Submit{spec}); err != nil {
		t.Fatal(err)
	}
	plan := simplePlan("online 2 -", "offline 0 -")
	plan.Roles["online"].Guarantee["tape"] = 0
	plan.Pools = []role.PoolSpec{{Name: "gpu", Selector: resource.Attributes{"kind": "gpu"}}}
	if err := w.step(SetPlan{plan, 2}); err != nil {
		t.Fatal(err)
	}
	w.join("n3", resource.Resources{"cpu": 1000, "fpga": 1000}, map[string]string{"kind": "gpu"})
	w.run(time.Second)
	if n := len(w.live()); n != 5 {
		t.Errorf("%d of 5 tasks run", n)
	}
	w.check(t)
}

// TestStopHasAnEnd has a borrower that takes a day to stop: a claim gives it notice, so that the owner is served in time.
func TestStopHasAnEnd(t *testing.T) {
	w := newWorld(simplePlan("online 4 - 1m", "offline 0 - - 10s"))
	w.grace = 24 * time.Hour
	w.join("n1", cpu(4), nil)
	w.step(Submit{askFor("batch", "offline", 4, 1)})
	w.run(time.Second)
	w.step(Kill{Task: "batch.2"})
	w.step(Submit{askFor("web", "online", 1, 1)})
	w.run(20 * time.Second)
	if _, ok := w.c.Task("web.0"); !ok {
		r, _, _ := w.c.Explain("web")
		t.Errorf("web does not run: %+v", r)
	}
	if _, ok := w.c.Task("batch.2"); ok || len(w.live()) != 4 {
		t.Errorf("what was stopping anyhow was not asked back first: %d tasks run", len(w.live()))
	}
	w.check(t)
}

// TestAgentIsBelievedAboutItsOwnNodeOnly has an agent invent leases.
func TestAgentIsBelievedAboutItsOwnNodeOnly(t *testing.T) {
	w := newWorld(simplePlan("a 2 -", "b 2 -"))
	w.join("n1", cpu(4), nil)
	w.step(Submit{askFor("x", "a", 8, 1)})
	w.run(time.Second)
	before := len(w.live())
	forged := []TaskReport{
		{Assignment: Assignment{Task: "x.7", Ask: "x", Index: 7, Role: "b", Resources: cpu(1), Funding: "b"}, State: Running},
		{Assignment: Assignment{Task: "x.0", Ask: "x", Index: 6, Role: "a", Resources: cpu(1)}, State: Running},
		{Assignment: Assignment{Task: "x.5", Ask: "x", Index: 5, Role: "a", Resources: resource.Resources{"cpu": 1 << 62}}, State: Running},
	}
	w.nodes["n2"] = &machine{info: NodeInfo{Name: "n2", Capacity: cpu(0)}, up: true, tasks: map[string]*process{}}
	w.step(Register{w.nodes["n2"].info, forged})
	w.failover()
	w.step(Register{w.nodes["n2"].info, forged})
	if n := len(w.live()); n != before {
		t.Errorf("%d tasks run, %d did before the forgery", n, before)
	}
	w.check(t)
}

// TestFailoverBehindTheRecords has a leader start from records that are older than what the node did: one task ended, and two
// took its place one after the other. None of them is stopped, and none is started again, in whatever order the node tells.
func TestFailoverBehindTheRecords(t *testing.T) {
	assigned := func(i int) Assignment {
		return Assignment{Task: fmt.Sprintf("x.%d", i), Ask: "x", Index: i, Role: "a", Node: "n1", Resources: cpu(4), Funding: "a", Shape: askFor("x", "a", 5, 4).Shape}
	}
	reports := []TaskReport{
		{Assignment: assigned(0), State: Succeeded}, {Assignment: assigned(1), State: Succeeded}, {Assignment: assigned(2), State: Running},
	}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		w := newWorld(simplePlan("a 4 -"))
		info := NodeInfo{Name: "n1", Capacity: cpu(4)}
		w.nodes["n1"] = &machine{info: info, up: true, tasks: map[string]*process{}}
		w.feed(RestoreNode{info})
		w.feed(RestoreAsk{Ask: askFor("x", "a", 5, 4), State: AskState{Next: 1}})
		w.feed(RestoreTask{TaskReport{Assignment: assigned(0), State: Running}})
		var told []TaskReport
		for _, i := range order {
			told = append(told, reports[i])
		}
		w.feed(Register{info, told})
		w.feed(Recovered{})
		w.feed(Tick{})
		if live := w.live(); len(live) != 1 || live[0].Task != "x.2" {
			t.Errorf("told in the order %v: %v run, want x.2", order, live)
		}
		if a, _ := w.c.Ask("x"); a.Succeeded != 2 || a.Pending != 2 {
			t.Errorf("told in the order %v: %d succeeded and %d wait, want 2 and 2", order, a.Succeeded, a.Pending)
		}
	}
}

// TestRefusedNodeChangesNothing registers a node with more kinds than the table holds, and one with impossible amounts.
func TestRefusedNodeChangesNothing(t *testing.T) {
	w := newWorld(simplePlan("online 2 -"))
	w.join("n1", cpu(4), nil)
	many := resource.Resources{}
	for i := range 40 {
		many[fmt.Sprintf("k%d", i)] = 1
	}
	for _, capacity := range []resource.Resources{many, {"cpu": 1<<63 - 2}, {"cpu": -1}} {
		if err := w.step(Register{Node: NodeInfo{Name: "n2", Capacity: capacity}}); err == nil {
			t.Errorf("a node with %d kinds was taken", len(capacity))
		}
	}
	if w.c.kinds.Len() != resource.NewKinds().Len() || len(w.c.Nodes()) != 1 {
		t.Errorf("%d kinds and %d nodes are known", w.c.kinds.Len(), len(w.c.Nodes()))
	}
	w.step(Submit{askFor("x", "online", 4, 1)})
	w.check(t)
}
