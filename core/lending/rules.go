package lending

import (
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Rule names why a charge is refused. The values are stable codes.
type Rule string

// The rules a charge can break.
const (
	RuleLimit     Rule = "OverLimit"       // usage of a subtree would exceed its limit
	RuleBorrow    Rule = "OverBorrow"      // a subtree would hold more above its guarantee than it may borrow
	RuleGuarantee Rule = "OverGuarantee"   // a task that cannot be reclaimed does not fit its role's own guarantee
	RuleHold      Rule = "NothingToBorrow" // no lender tolerates that much held for so long
)

// Refusal says which rule one charge would break, where, and by how much.
type Refusal struct {
	Rule Rule
	Role role.ID
	Kind resource.Kind
	Need resource.Amount // what the charge asks for of that kind
	Have resource.Amount // what is left for it under the rule, not below zero
	Hold time.Duration   // hold of the charge
}

// Room checks that x more may run in leaf under every limit on its path.
func (l *Ledger) Room(leaf role.ID, x resource.Vector) *Refusal {
	for id := leaf; id != role.Root; id = l.accts[id].parent {
		a := &l.accts[id]
		for i, n := range x {
			if have := a.quota.Limit.At(i).Sub(a.used[i]); n > 0 && n > have {
				return &Refusal{Rule: RuleLimit, Role: id, Kind: resource.Kind(i), Need: n, Have: max(0, have)}
			}
		}
	}
	return nil
}

// Try charges c if the inflow rule below its funding role and the hold rule at and above it stay true; otherwise it
// changes nothing and says why.
func (l *Ledger) Try(c Charge) *Refusal {
	if r := l.Inflow(c); r != nil {
		return r
	}
	return l.TryHold(c)
}

// TryHold is Try without the inflow rule: for a lease that runs already, whose inflow is a fact.
func (l *Ledger) TryHold(c Charge) *Refusal {
	l.Add(c)
	if r := l.check(c); r != nil {
		l.Remove(c)
		r.Have = max(0, min(r.Need, l.mostAt(&c, int(r.Kind), r.Role)))
		return r
	}
	return nil
}

// TryInside charges c if it is inside the guarantee of c.At and the roles below may borrow it there, whatever the roles above
// have lent of that guarantee; otherwise it changes nothing.
func (l *Ledger) TryInside(c Charge) bool {
	if l.Inflow(c) != nil {
		return false
	}
	l.Add(c)
	for i, n := range c.Amount {
		if n > 0 && l.Excess(c.At, i) > 0 {
			l.Remove(c)
			return false
		}
	}
	return true
}

// TryRefund moves a charge to a deeper funding role if every rule stays true.
func (l *Ledger) TryRefund(c Charge, to role.ID) (Charge, bool) {
	l.Remove(c)
	moved := c
	moved.At = to
	if l.Try(moved) == nil {
		return moved, true
	}
	l.Add(c)
	return c, false
}

// Inflow checks the inflow rule for c at every role below its funding role.
func (l *Ledger) Inflow(c Charge) *Refusal {
	for id := c.Leaf; id != c.At; id = l.accts[id].parent {
		a := &l.accts[id]
		for i, n := range c.Amount {
			have := a.inflowCap[i].Sub(a.inflow[i])
			if n == 0 || n <= have {
				continue
			}
			rule := RuleBorrow
			if a.quota.Borrow.At(i) > a.inflowCap[i] {
				rule = RuleLimit
			}
			return &Refusal{Rule: rule, Role: id, Kind: resource.Kind(i), Need: n, Have: max(0, have), Hold: c.Hold}
		}
	}
	return nil
}

// check verifies the hold rule at c's funding role and above, for the kinds c uses. What a refusal says is left is for the caller to find.
func (l *Ledger) check(c Charge) *Refusal {
	for id := c.At; id != role.None; id = l.accts[id].parent {
		m := &l.accts[id].market
		for i, n := range c.Amount {
			if n == 0 {
				continue
			}
			if m.excess(i) > 0 {
				rule := RuleHold
				if id == c.Leaf {
					rule = RuleGuarantee
				}
				return &Refusal{Rule: rule, Role: id, Kind: resource.Kind(i), Need: n, Hold: c.Hold}
			}
		}
	}
	return nil
}

// Fund charges c at the deepest role on its leaf's path where every rule stays true, c.At being ignored. A pinned charge
// is funded at the leaf or not at all. The refusal returned otherwise is that of the shallowest role tried, except that
// a limit or borrow bound met on the way is preferred: it is the one an operator can change.
func (l *Ledger) Fund(c Charge, pinned bool) (Charge, *Refusal) {
	var why *Refusal
	for id := c.Leaf; id != role.None; id = l.accts[id].parent {
		c.At = id
		if !pinned && id != role.Root && l.Inflow(c) == nil && !l.hasSlack(c) {
			continue // Try would only say so
		}
		r := l.Try(c)
		if r == nil {
			return c, nil
		}
		why = r
		if pinned || r.Rule == RuleLimit || r.Rule == RuleBorrow {
			break
		}
	}
	return c, why
}

// hasSlack reports whether the market of the role that is to pay for c has enough left for it.
func (l *Ledger) hasSlack(c Charge) bool {
	m := &l.accts[c.At].market
	for i, n := range c.Amount {
		if n > 0 && m.slack(i, c.Hold) < n {
			return false
		}
	}
	return true
}

// Breach returns the greatest hold value at which role id's market is over in kind i, and by how much.
func (l *Ledger) Breach(id role.ID, i int) (hold time.Duration, excess resource.Amount, broken bool) {
	return l.accts[id].market.breach(i)
}

// Excess is what must leave role id's market in kind i, at least.
func (l *Ledger) Excess(id role.ID, i int) resource.Amount { return l.accts[id].market.excess(i) }

// Sound reports whether the hold rule is true at role id for every kind and hold value.
func (l *Ledger) Sound(id role.ID) bool { return l.accts[id].market.broken() < 0 }

// InflowExcess is by how much role id holds more above its guarantee than it may, in kind i.
func (l *Ledger) InflowExcess(id role.ID, i int) resource.Amount {
	a := &l.accts[id]
	return max(0, a.inflow[i].Sub(a.inflowCap[i]))
}

// Used is what runs in the subtree of id, leaving included. The vector is the ledger's own: read it, do not keep it.
func (l *Ledger) Used(id role.ID) resource.Vector { return l.accts[id].used }

// Funded is G(id): what is charged in the subtree and funded at id or deeper.
func (l *Ledger) Funded(id role.ID) resource.Vector { return l.accts[id].funded }

// Borrowed is what the subtree of id holds that is funded strictly above it.
func (l *Ledger) Borrowed(id role.ID) resource.Vector { return l.accts[id].inflow }

// Quota is what the plan gives role id in this pool; the root's guarantee is the capacity. It is the ledger's own: read it, do not keep it.
func (l *Ledger) Quota(id role.ID) *role.Quota { return &l.accts[id].quota }

// Idle is the guarantee of id that pays for nothing inside it, not below zero.
func (l *Ledger) Idle(id role.ID) resource.Vector {
	a := &l.accts[id]
	out := make(resource.Vector, l.kinds)
	for i := range out {
		out[i] = max(0, a.quota.Guarantee[i]-a.funded[i])
	}
	return out
}

// Lent is how much of id's idle guarantee others use now: what its parent's market uses beyond the private part, shared
// among the suppliers in proportion to what they offer. It is for people to read; no rule depends on it.
func (l *Ledger) Lent(id role.ID) resource.Vector {
	out := make(resource.Vector, l.kinds)
	a := &l.accts[id]
	if a.parent == role.None {
		return out
	}
	m := &l.accts[a.parent].market
	for i := range out {
		used, supply := resource.Amount(0), resource.Amount(0)
		for j := range m.levels {
			used += m.levels[j].used[i]
			supply += m.levels[j].supply[i]
		}
		if over := used - max(0, m.private[i]); over > 0 && supply > 0 {
			out[i] = min(a.supplied[i], over.MulDiv(int64(a.supplied[i]), int64(supply)))
		}
	}
	return out
}

// Untaken is what could still be funded at role id of one kind by something that leaves as soon as it is asked, what its children
// keep warm beside that, and what else they keep to themselves. It is for people to read; no rule depends on it.
func (l *Ledger) Untaken(id role.ID, kind resource.Kind) (free, warm, kept resource.Amount) {
	a, i := &l.accts[id], int(kind)
	var used, supply resource.Amount
	for j := range a.market.levels {
		used += a.market.levels[j].used[i]
		supply += a.market.levels[j].supply[i]
	}
	idle := a.quota.Guarantee[i] - a.market.private[i] - (a.funded[i] - used) // of all children
	back := max(0, idle-supply)
	warm = min(back, a.market.warm[i])
	return a.market.private[i] + supply - used, warm, back - warm
}
