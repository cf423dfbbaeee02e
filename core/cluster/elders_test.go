package cluster

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// TestElders: whatever is entered and taken out, the kin of some leaves are what a plain list would show, and the eldest of each is on top.
func TestElders(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e, list := make(elders, 7), []*unit{}
		for i := range rapid.IntRange(1, 60).Draw(rt, "acts") {
			if n := len(list); n > 0 && rapid.IntRange(0, 2).Draw(rt, "act") == 0 {
				i := rapid.IntRange(0, n-1).Draw(rt, "which")
				e.remove(list[i], list[i].charge.At)
				list = slices.Delete(list, i, i+1)
			} else {
				u := rankedUnit(rt, int64(100-i%7*10+i))
				u.charge.Amount = resource.Vector{resource.Amount(rapid.IntRange(1, 2).Draw(rt, "amount"))}
				e.add(u)
				list = append(list, u)
			}
			id := func(label string) role.ID { return role.ID(rapid.IntRange(0, 6).Draw(rt, label)) }
			at, first := id("at"), id("first")
			last := max(first, id("last"))
			sameKin(rt, e.in(at, first, last), slices.DeleteFunc(slices.Clone(list), func(u *unit) bool {
				return u.charge.At != at || u.charge.Leaf < first || u.charge.Leaf > last
			}))
		}
	})
}

func sameKin(rt *rapid.T, kins []filed, want []*unit) {
	shown := 0
	for _, f := range kins {
		k := f.kin
		if f.leaf != k.leaf || f.sum != k.sum() {
			rt.Fatalf("a kin of leaf %d, sum %d, is filed under %d, %d", k.leaf, k.sum(), f.leaf, f.sum)
		}
		shown += len(k.units)
		for i, x := range k.units {
			own := kinOf(x.unit)
			if x.seq < k.units[0].seq || x.unit.place != i || x.unit.kin != k || k.compare(&own) != 0 || !slices.Contains(want, x.unit) {
				rt.Fatalf("number %d of a kin does not belong there", i)
			}
		}
	}
	if shown != len(want) {
		rt.Fatalf("%d units are shown, there are %d", shown, len(want))
	}
}

// TestDeepenAgainstFullWalk plays random days twice and deepens before each decision, once as the cluster does and once by looking at
// everybody.
func TestDeepenAgainstFullWalk(t *testing.T) {
	moved := 0
	rapid.Check(t, func(rt *rapid.T) {
		a := newActor(rt, map[string]int{})
		a.witness = nil
		for range rapid.IntRange(5, 40).Draw(rt, "events") {
			if u, ok := a.anyTask(); ok && rapid.Bool().Draw(rt, "ends") {
				a.ends(u.Task, Succeeded)
			} else if rapid.Bool().Draw(rt, "crowd") {
				a.submit()
			} else {
				a.act()
			}
		}
		fast, plain := New(), New()
		for _, r := range a.tape {
			if _, decides := r.event.(Tick); decides {
				for i, p := range fast.pools {
					before := payers(p)
					p.deepen(p.relieved())
					plain.pools[i].deepenPlainly()
					moved += samePayers(rt, before, payers(p), payers(plain.pools[i]))
				}
			}
			fast.Step(r.event, r.at)
			plain.Step(r.event, r.at)
		}
	})
	t.Logf("%d moved", moved)
	if moved == 0 && !t.Failed() {
		t.Error("nothing ever moved")
	}
}

// samePayers counts the units that are paid for by somebody else than before.
func samePayers(rt *rapid.T, before, is, want map[int64]role.ID) (moved int) {
	for seq, at := range want {
		if is[seq] != at {
			rt.Fatalf("unit %d was paid by %d, is by %d, should be by %d", seq, before[seq], is[seq], at)
		}
		if at != before[seq] {
			moved++
		}
	}
	return moved
}

// payers are who pays for each unit of a pool.
func payers(p *pool) map[int64]role.ID {
	out := map[int64]role.ID{}
	for _, u := range p.units {
		out[u.seq] = u.charge.At
	}
	return out
}

// deepenPlainly is deepen where everybody is looked at, in order.
func (p *pool) deepenPlainly() {
	us := slices.Clone(p.units)
	slices.SortFunc(us, func(a, b *unit) int {
		return cmp.Or(cmp.Compare(b.priority(), a.priority()), cmp.Compare(a.seq, b.seq))
	})
	for _, v := range p.relieved() {
		for _, u := range us {
			if u.leaving || u.charge.At == v || !p.c.within(u.charge.Leaf, v) || !p.c.within(v, u.charge.At) {
				continue
			}
			if moved, ok := p.ledger.TryRefund(u.charge, v); ok && !p.mayRefund(u, moved) {
				p.ledger.Refund(moved, u.charge.At)
			} else if ok {
				p.refund(u, moved)
			}
		}
	}
	clear(p.paid)
}
