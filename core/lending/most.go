package lending

import (
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Version changes with every change of the book, so that what was worked out from it can be kept until it does.
func (l *Ledger) Version() uint64 { return l.version }

// Spare is how much of x more may run in leaf under every limit on its path: the most, kind by kind, for which
// [Ledger.Room] has no objection. It is written to out.
func (l *Ledger) Spare(leaf role.ID, x, out resource.Vector) {
	copy(out, x)
	for id := leaf; id != role.Root; id = l.accts[id].parent {
		a := &l.accts[id]
		for i := range out {
			out[i] = max(0, min(out[i], a.quota.Limit.At(i).Sub(a.used[i])))
		}
	}
}

// Most is how much of c.Amount may be funded at c.At with every rule true, kind by kind: the greatest amounts that
// [Ledger.Try] would charge. It is written to out; the book is not changed.
func (l *Ledger) Most(c Charge, out resource.Vector) {
	for i, n := range c.Amount {
		out[i] = l.most(&c, i, n)
	}
}

// Refundable is how much, kind by kind, may at most be paid for at a role that one above it pays for now: what the hold rule leaves there and
// at the roles between them, none of which has a part in what c takes now. Of more than that [Ledger.TryRefund] would move nothing. It is
// written to out; the book is not changed.
func (l *Ledger) Refundable(hold time.Duration, from, to role.ID, out resource.Vector) {
	c := Charge{At: to, Hold: hold}
	for i := range out {
		out[i] = resource.Unlimited
		for id := to; id != from && out[i] > 0; id = l.accts[id].parent {
			out[i] = max(0, min(out[i], l.mostAt(&c, i, id)))
		}
	}
}

// MayCover reports whether a guarantee on a leaf's path below the root has so much left that [Ledger.TryInside] may find it inside. Where
// none has, it finds it inside none.
func (l *Ledger) MayCover(leaf role.ID, x resource.Vector) bool {
	for id := leaf; id > role.Root; id = l.accts[id].parent {
		if l.MayCoverAt(id, x) {
			return true
		}
	}
	return false
}

// MayCoverAt is MayCover for one role.
func (l *Ledger) MayCoverAt(id role.ID, x resource.Vector) bool {
	for i, n := range x {
		if n > 0 && n > l.accts[id].market.left[i] {
			return false
		}
	}
	return true
}

// Lends reports whether so much may be borrowed from the root for a hold, and of which kind not.
func (l *Ledger) Lends(hold time.Duration, x resource.Vector) (short resource.Kind, ok bool) {
	for i, n := range x {
		if n > 0 && l.accts[role.Root].market.slack(i, hold) < n {
			return resource.Kind(i), false
		}
	}
	return 0, true
}

func (l *Ledger) most(c *Charge, i int, n resource.Amount) resource.Amount {
	for id := c.Leaf; id != c.At && n > 0; id = l.accts[id].parent {
		a := &l.accts[id]
		n = min(n, a.inflowCap[i].Sub(a.inflow[i]))
	}
	for id := c.At; id != role.None && n > 0; id = l.accts[id].parent {
		n = min(n, l.mostAt(c, i, id))
	}
	return max(0, n)
}

// mostAt is how much of kind i may be funded at c.At as far as the hold rule of one role is concerned: c.At, or one above it.
func (l *Ledger) mostAt(c *Charge, i int, id role.ID) resource.Amount {
	m := &l.accts[id].market
	if id == c.At {
		return m.slack(i, c.Hold)
	}
	child := l.childToward(id, c.At)
	least := m.give(i, l.accts[child].lendGrace)
	if least < 0 {
		return 0
	}
	return l.pull(c.At, child, i, least)
}

// childToward is the child of role id on the path to one below it.
func (l *Ledger) childToward(id, below role.ID) role.ID {
	for l.accts[below].parent != id {
		below = l.accts[below].parent
	}
	return below
}

// pull is how much of kind i may be funded at a role for what role id, the same or one above, offers to fall by no more than so much.
func (l *Ledger) pull(at, id role.ID, i int, least resource.Amount) resource.Amount {
	a := &l.accts[id]
	if least >= a.supplied[i] {
		return resource.Unlimited
	}
	still := a.supplied[i] - least // to be offered
	most := a.quota.Guarantee[i] - a.funded[i] - a.quota.Warm.At(i) - still
	if id == at {
		return min(most, a.market.left[i]-still)
	}
	return min(most, l.pull(at, l.childToward(id, at), i, a.market.left[i]-still))
}

// slack is how much of kind i may still be funded here for a hold: the least, over every hold value up to it, of supply less
// use; nothing while a greater one is in breach.
func (m *market) slack(i int, hold time.Duration) resource.Amount {
	used, supply, least := resource.Amount(0), m.private[i], resource.Unlimited
	for j := len(m.levels) - 1; j >= 0; j-- {
		lv := &m.levels[j]
		if lv.hold < hold {
			least = min(least, max(supply, 0)-used) // a level for this very hold would stand here
		}
		used += lv.used[i]
		supply = supply.Add(lv.supply[i])
		if over := used - max(supply, 0); lv.hold > hold && over > 0 {
			return 0
		} else if lv.hold <= hold {
			least = min(least, -over)
		}
	}
	if len(m.levels) == 0 || m.levels[0].hold > hold {
		least = min(least, max(supply, 0)-used)
	}
	return max(0, least)
}

// give is by how much what a child with this lend grace offers of kind i may fall without breaking the rule here; below zero when it is
// broken.
func (m *market) give(i int, grace time.Duration) resource.Amount {
	used, supply, least := resource.Amount(0), m.private[i], resource.Unlimited
	for j := len(m.levels) - 1; j >= 0; j-- {
		lv := &m.levels[j]
		used += lv.used[i]
		supply = supply.Add(lv.supply[i])
		switch {
		case used > 0 && used > max(supply, 0):
			return -1
		case used > 0 && lv.hold <= grace:
			least = min(least, supply-used)
		}
	}
	return least
}
