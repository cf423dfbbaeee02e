package cluster

import (
	"testing"
	"time"
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
