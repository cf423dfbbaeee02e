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

func (l *Ledger) most(c *Charge, i int, n resource.Amount) resource.Amount {
	for id := c.Leaf; id != c.At && n > 0; id = l.accts[id].parent {
		a := &l.accts[id]
		n = min(n, a.inflowCap[i].Sub(a.inflow[i]))
	}
	if n > 0 {
		n = min(n, l.accts[c.At].market.slack(i, c.Hold))
	}
	for id := c.At; id != role.Root && n > 0; id = l.accts[id].parent {
		a := &l.accts[id]
		idle := a.quota.Guarantee[i] - a.funded[i] - a.quota.Warm.At(i)
		n = min(n, l.accts[a.parent].market.pull(i, a.lendGrace, idle, a.supplied[i]))
	}
	return max(0, n)
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

// pull is how much of kind i a child with this lend grace may take back into use of its guarantee, of which so much is idle
// and so much lent out at most, without breaking the rule here.
func (m *market) pull(i int, grace time.Duration, idle, supplied resource.Amount) resource.Amount {
	used, supply, least := resource.Amount(0), m.private[i], resource.Unlimited
	for j := len(m.levels) - 1; j >= 0; j-- {
		lv := &m.levels[j]
		used += lv.used[i]
		supply = supply.Add(lv.supply[i])
		switch {
		case used > 0 && used > max(supply, 0):
			return 0
		case used > 0 && lv.hold <= grace:
			least = min(least, supply-used)
		}
	}
	if least >= supplied {
		return resource.Unlimited
	}
	return idle - supplied + least
}
