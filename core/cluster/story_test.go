package cluster

import (
	"strings"
	"testing"
	"time"
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
