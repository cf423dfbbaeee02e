package cluster

import (
	"testing"

	"pgregory.net/rapid"
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
