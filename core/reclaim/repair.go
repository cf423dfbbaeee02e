package reclaim

import (
	"slices"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Repair asks back, on a ledger whose tree has just changed, what no longer fits the rules: first what a role holds above
// its new bound on inflow, deepest roles first, then what a market no longer supplies. Nobody is asked without whom the rules
// are as good. The units are Leave'd in the ledger. At the root nothing is asked back because nodes are missing.
func (r *Round) Repair() []Victim {
	m := &mending{Round: r, out: make([]resource.Vector, len(r.ledger.Tree().Roles))}
	for id := range m.out {
		m.out[id] = make(resource.Vector, r.ledger.Kinds())
	}
	for _, u := range r.book.Leaving() {
		m.count(u, +1)
	}
	for id := role.ID(len(m.out) - 1); id > role.Root; id-- {
		m.mendInflow(id)
	}
	for id := role.ID(len(m.out) - 1); id >= role.Root; id-- {
		m.mendMarket(id)
	}
	m.prune()
	return m.victims
}

// mending is one repair under way.
type mending struct {
	*Round
	out     []resource.Vector // by role: inflow that is leaving, or will be
	victims []Victim
}

// count adds a unit that leaves to the outgoing inflow of every role it crosses, or takes it away.
func (m *mending) count(u *Unit, sign int) {
	tree := m.ledger.Tree()
	for f := u.Charge.Leaf; f != u.Charge.At && f != role.None; f = tree.Roles[f].Parent {
		if sign > 0 {
			m.out[f].Inc(u.Charge.Amount)
		} else {
			m.out[f].Dec(u.Charge.Amount)
		}
	}
}

// overInflow is what role id borrows above its bound in kind i, what is leaving counted as gone.
func (m *mending) overInflow(id role.ID, i int) resource.Amount {
	return max(0, m.ledger.InflowExcess(id, i)-m.out[id][i])
}

// mendInflow brings what the subtree of id borrows within its bound.
func (m *mending) mendInflow(id role.ID) {
	for i := range m.ledger.Kinds() {
		for m.overInflow(id, i) > 0 {
			u, level := m.fromAbove(id, i)
			if u == nil {
				break
			}
			m.ask(u, level)
		}
	}
}

// crosses reports whether a unit runs in the subtree of id and is funded above it.
func (r *Round) crosses(u *Unit, id role.ID) bool {
	tree := r.ledger.Tree()
	for f := u.Charge.Leaf; f != u.Charge.At && f != role.None; f = tree.Roles[f].Parent {
		if f == id {
			return true
		}
	}
	return false
}

// fromAbove finds the cheapest unit with kind i that runs in the subtree of id and is funded above it.
func (r *Round) fromAbove(id role.ID, i int) (best *Unit, level role.ID) {
	tree := r.ledger.Tree()
	for f := tree.Roles[id].Parent; f != role.None; f = tree.Roles[f].Parent {
		for u := range r.units(f) {
			if best != nil && Cheaper(u, best) > 0 {
				break
			}
			if !u.taken && u.Charge.Amount.At(i) > 0 && r.crosses(u, id) {
				best, level = u, f
				break
			}
		}
	}
	return best, level
}

// mendMarket asks back what is funded at id beyond what its market supplies.
func (m *mending) mendMarket(id role.ID) {
	for i := range m.ledger.Kinds() {
		if id == role.Root && m.shortOfGuarantees(i) {
			continue
		}
		for {
			hold, over, broken := m.ledger.Breach(id, i)
			if !broken {
				break
			}
			u := m.funded(id, i, hold)
			if u == nil && m.ledger.Excess(id, i) > over {
				u = m.funded(id, i, 0) // whoever holds that long cannot be asked; shorter holds are in breach too
			}
			if u == nil {
				break
			}
			m.ask(u, id)
		}
	}
}

// funded finds the cheapest unit with kind i that is funded at id and holds at least that long.
func (m *mending) funded(id role.ID, i int, hold time.Duration) *Unit {
	for u := range m.units(id) {
		if !u.taken && u.Charge.Hold >= hold && u.Charge.Amount.At(i) > 0 {
			return u
		}
	}
	return nil
}

func (m *mending) ask(u *Unit, level role.ID) {
	m.ledger.Leave(u.Charge)
	u.taken = true
	m.advance()
	m.count(u, +1)
	m.victims = append(m.victims, Victim{u, level})
}

// prune lets everybody stay again, most expensive first, without whom the rules are just as good.
func (m *mending) prune() {
	settled := m.faults()
	for _, v := range costliestFirst(m.victims) {
		m.ledger.Return(v.Unit.Charge)
		m.count(v.Unit, -1)
		if noneAbove(m.faults(), settled) {
			v.Unit.taken = false
			m.victims = slices.DeleteFunc(m.victims, func(w Victim) bool { return w.Unit == v.Unit })
			continue
		}
		m.ledger.Leave(v.Unit.Charge)
		m.count(v.Unit, +1)
	}
}

// faults lists by how much every rule is broken, in a fixed order.
func (m *mending) faults() []resource.Amount {
	var out []resource.Amount
	for id := range m.out {
		for i := range m.ledger.Kinds() {
			excess := m.ledger.Excess(role.ID(id), i)
			if role.ID(id) == role.Root && m.shortOfGuarantees(i) {
				excess = 0
			}
			out = append(out, excess, m.overInflow(role.ID(id), i))
		}
	}
	return out
}

func noneAbove(a, b []resource.Amount) bool {
	for i := range a {
		if a[i] > b[i] {
			return false
		}
	}
	return true
}

// shortOfGuarantees reports whether nodes are missing for the guarantees themselves in kind i.
func (r *Round) shortOfGuarantees(i int) bool {
	promised := resource.Amount(0)
	for _, c := range r.ledger.Tree().Roles[role.Root].Children {
		promised = promised.Add(r.ledger.Quota(c).Guarantee[i])
	}
	return promised > r.ledger.Capacity()[i]
}
