package cluster

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/role"
)

// TestPayroll: whatever is entered and taken out, a payroll shows what a plain list would.
func TestPayroll(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, list := payroll{}, []*unit{}
		id := func(label string) role.ID { return role.ID(rapid.IntRange(0, 6).Draw(rt, label)) }
		for range rapid.IntRange(1, 60).Draw(rt, "acts") {
			if n := len(list); n > 0 && rapid.IntRange(0, 2).Draw(rt, "act") == 0 {
				i := rapid.IntRange(0, n-1).Draw(rt, "which")
				p.remove(list[i])
				list = slices.Delete(list, i, i+1)
			} else {
				u := &unit{seq: int64(n), charge: lending.Charge{At: id("at"), Leaf: id("leaf")}}
				p.add(u)
				list = append(list, u)
			}
			at, first, last := id("at"), id("first"), id("last")
			got := map[*unit]int{}
			p.each(at, first, last, func(u *unit) { got[u]++ })
			for _, u := range list {
				want := 0
				if u.charge.At == at && first <= u.charge.Leaf && u.charge.Leaf <= last {
					want = 1
				}
				if got[u] != want {
					rt.Fatalf("a unit of %d paid by %d is shown %d times for %d from %d to %d", u.charge.Leaf, u.charge.At, got[u], at, first, last)
				}
			}
		}
	})
}
