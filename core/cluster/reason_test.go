package cluster

import (
	"testing"
	"time"

	"polder.dev/polder/core/placement"
)

// TestReasonIsFoundWhenRead checks that why no node takes a task is told as the nodes are when somebody asks: not as they were when it
// was tried, and not that none fits when one does by now.
func TestReasonIsFoundWhenRead(t *testing.T) {
	w := newWorld(simplePlan("a 0 -"))
	w.join("n1", cpu(3), nil)
	w.join("n2", cpu(3), nil)
	w.step(Submit{askFor("t", "a", 2, 2)})
	w.settle()
	w.step(Submit{askFor("x", "a", 1, 2)})
	w.step(Tick{})
	says := func(when, code, message string) {
		t.Helper()
		if got, _, _ := w.c.Explain("x"); got.Code != code || got.Message != message {
			t.Errorf("%s: %s, %q\nwant %s, %q", when, got.Code, got.Message, code, message)
		}
	}
	full := "0 of 2 nodes fit: 2 lack cpu (asked 2, most free 1 on n1)"
	says("full", "Resources", full)
	w.step(Cordon{"n2", true})
	says("one cordoned", "Cordoned", "0 of 2 nodes fit: 1 is cordoned or away, 1 lacks cpu (asked 2, most free 1 on n1)")
	w.step(Cordon{"n2", false})
	says("full again", "Resources", full)
	task, _ := w.c.Task("t.1")
	if _, err := w.c.Step(Report{task.Node, TaskReport{Assignment: Assignment{Task: "t.1"}, State: Succeeded}}, w.now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	says("something ended", "Queued", "it has not been looked at yet")
}

// TestDelayExpectsTheStart checks that an ask that waits before borrowers are asked back expects a time by which it has started, also
// where most nodes are out of the question for another reason than what borrowers hold.
func TestDelayExpectsTheStart(t *testing.T) {
	w := newWorld(simplePlan("a 2 - 20s -", "b - - - 20s"))
	for node, kind := range map[string]string{"n1": "x", "n2": "y", "n3": "y"} {
		w.join(node, cpu(2), map[string]string{"kind": kind})
	}
	onX := []placement.Constraint{must(placement.ParseConstraint("kind==x"))}
	for _, spec := range []AskSpec{askFor("borrower", "b", 1, 2), askFor("owner", "a", 1, 2)} {
		spec.Shape.Constraints = onX
		w.step(Submit{spec})
		w.settle()
	}
	asked := w.now
	got, _, _ := w.c.Explain("owner")
	if want := asked.Add(25 * time.Second); got.Code != "ReclaimDelay" || got.Expected.After(want) || got.Expected.Before(want.Add(-time.Second)) {
		t.Fatalf("%+v, want ReclaimDelay and %s expected", got, want)
	}
	w.run(6 * time.Second)
	if told, _, _ := w.c.Explain("owner"); told.Code != "Reclaiming" || told.Expected.After(got.Expected) {
		t.Errorf("then %+v, want Reclaiming and nothing later than %s expected", told, got.Expected)
	}
	w.run(20 * time.Second)
	if _, ok := w.c.Task("owner.0"); !ok {
		t.Error("the owner does not run after the time it expected")
	}
	w.check(t)
}
