package cluster

import (
	"testing"

	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
)

// TestReserved is TestContract on days that begin with reservations and go on with what is carved out of them: I22.
func TestReserved(t *testing.T) {
	days, carved, full := 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		days++
		a := newActor(rt, map[string]int{})
		for range rapid.IntRange(1, 4).Draw(rt, "reservations") {
			a.reserve()
		}
		for range rapid.IntRange(5, 30).Draw(rt, "events") {
			if rapid.Bool().Draw(rt, "carve") {
				a.carve()
			} else {
				a.act()
			}
			a.verdict()
			for _, x := range a.c.Asks() {
				if x.Reason.Code == "Reserved" {
					full++
				}
			}
		}
		a.replay()
		a.verdict()
		carved += a.shared
	})
	t.Logf("steps with something carved out of a reservation: %d; waiting for one: %d", carved, full)
	if days >= 100 && (carved < days || full == 0) && !t.Failed() {
		t.Errorf("%d steps with something carved out of a reservation in %d days, %d times something waited for one", carved, days, full)
	}
}

// TestCarvedNoticeAmount: after a failover a notice says what a carved task holds, not what is booked for it, which is nothing.
func TestCarvedNoticeAmount(t *testing.T) {
	w := newWorld(simplePlan("a 10 10"))
	w.c.Step(RestoreNode{NodeInfo{Name: "n", Capacity: cpu(10)}}, w.now)
	kept := TaskReport{Assignment: Assignment{Task: "r.0", Ask: "r", Role: "a", Node: "n", Shape: Shape{Pinned: true, Volume: true, Reserve: true},
		Resources: resource.Resources{"cpu": 4000}}, State: Running}
	w.c.Step(RestoreTask{kept}, w.now)
	kept.Task, kept.Ask, kept.Shape, kept.Resources = "x.0", "x", Shape{Pinned: true, From: "r.0"}, resource.Resources{"cpu": 1000}
	kept.Notice = &Notice{ID: "1", Kind: ForDrain, State: NoticeOpen, Issued: w.now, Deadline: w.now}
	w.c.Step(RestoreTask{kept}, w.now)
	if n := w.c.task("x.0").notice; n == nil || n.Amount["cpu"] != 1000 {
		t.Errorf("the notice is for %v, want cpu=1", n)
	}
}
