package cluster

import (
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
