package cluster

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/role"
)

// rankedUnit draws a unit of some tasks, some of them started, some of them told to stop.
func rankedUnit(rt *rapid.T, seq int64) *unit {
	id := func(label string) role.ID { return role.ID(rapid.IntRange(0, 6).Draw(rt, label)) }
	u := &unit{seq: seq, charge: lending.Charge{At: id("at"), Leaf: id("leaf")}}
	shape := &Shape{Priority: rapid.IntRange(0, 1).Draw(rt, "priority")}
	for range rapid.IntRange(1, 2).Draw(rt, "tasks") {
		t := &task{unit: u, shape: shape, state: rapid.SampledFrom([]State{Running, Stopping}).Draw(rt, "state"),
			cost: Cost{rapid.Bool().Draw(rt, "guarded"), rapid.Int64Range(-1, 1).Draw(rt, "cost")}}
		if s := rapid.IntRange(0, 4).Draw(rt, "started"); s > 0 {
			t.started = epoch.Add(time.Duration(s) * time.Second / 2)
		}
		u.tasks = append(u.tasks, t)
	}
	return u
}

// TestPayroll: whatever is entered and taken out, a payroll shows what a plain list would, and each of its lists from the cheapest on as
// the list sorted.
func TestPayroll(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, list := make(payroll, 7), []*unit{}
		for i := range rapid.IntRange(1, 60).Draw(rt, "acts") {
			if n := len(list); n > 0 && rapid.IntRange(0, 2).Draw(rt, "act") == 0 {
				i := rapid.IntRange(0, n-1).Draw(rt, "which")
				p.remove(list[i])
				list = slices.Delete(list, i, i+1)
			} else {
				u := rankedUnit(rt, int64(i))
				p.add(u)
				list = append(list, u)
			}
			for _, u := range list {
				if i, ok := p.find(u.charge.At, u.charge.Leaf, u.started); !ok || p[u.charge.At][i].units[u.slot].unit != u {
					rt.Fatalf("a unit of %d paid by %d is not on that list", u.charge.Leaf, u.charge.At)
				}
			}
			shown := 0
			for _, ls := range p {
				for _, l := range ls {
					shown += len(l.units)
					sameOrder(rt, l.units)
				}
			}
			if shown != len(list) {
				rt.Fatalf("%d units are on the lists, there are %d", shown, len(list))
			}
		}
	})
}

// sameOrder compares how a heap shows its units with a sorted list.
func sameOrder(rt *rapid.T, h ranks) {
	want := slices.Clone(h)
	slices.SortFunc(want, func(a, b seat) int {
		if a.before(&b.rank) {
			return -1
		}
		return 1
	})
	next := h.inOrder()
	for i, w := range want {
		if u := next(); u != w.unit || h[u.slot].unit != u {
			rt.Fatalf("number %d of %d is another unit than in a sorted list, or does not know its slot", i, len(want))
		}
	}
	if next() != nil {
		rt.Fatal("there is one more than there are")
	}
}
