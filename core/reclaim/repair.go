package reclaim

import (
	"slices"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Repair asks back, on a ledger whose tree has just changed, what no longer fits the rules: first what a role holds above
// its new bound on inflow, deepest roles first, then what a market no longer supplies. The units are Leave'd in the
// ledger. At the root nothing is asked back because nodes are missing.
func (r *Round) Repair() []Victim {
	var out []Victim
	tree := r.ledger.Tree()
	for id := role.ID(len(tree.Roles) - 1); id > role.Root; id-- {
		out = append(out, r.repairInflow(id)...)
	}
	for id := role.ID(len(tree.Roles) - 1); id >= role.Root; id-- {
		out = append(out, r.repairMarket(id)...)
	}
	return out
}

// repairInflow brings what the subtree of id borrows within its bound. What is leaving already counts as gone.
func (r *Round) repairInflow(id role.ID) []Victim {
	var out []Victim
	gone := make(resource.Vector, r.ledger.Kinds())
	for _, u := range r.book.Leaving() {
		if r.crosses(u, id) {
			gone.Inc(u.Charge.Amount)
		}
	}
	for i := range gone {
		for over := r.ledger.InflowExcess(id, i) - gone[i]; over > 0; over = r.ledger.InflowExcess(id, i) - gone[i] {
			u, level := r.fromAbove(id, i)
			if u == nil {
				break
			}
			gone.Inc(u.Charge.Amount)
			out = append(out, r.ask(u, level))
		}
	}
	return out
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
		for _, u := range r.units(f) {
			if !r.taken[u] && u.Charge.Amount.At(i) > 0 && r.crosses(u, id) && (best == nil || cheaper(u, best) < 0) {
				best, level = u, f
			}
		}
	}
	return best, level
}

// repairMarket asks back what is funded at id beyond what its market supplies.
func (r *Round) repairMarket(id role.ID) []Victim {
	var out []Victim
	for i := range r.ledger.Kinds() {
		if id == role.Root && r.shortOfGuarantees(i) {
			continue
		}
		for {
			hold, _, broken := r.ledger.Breach(id, i)
			if !broken {
				break
			}
			us := r.units(id)
			j := slices.IndexFunc(us, func(u *Unit) bool {
				return !r.taken[u] && u.Charge.Hold >= hold && u.Charge.Amount.At(i) > 0
			})
			if j < 0 {
				break
			}
			out = append(out, r.ask(us[j], id))
		}
	}
	return out
}

func (r *Round) ask(u *Unit, level role.ID) Victim {
	r.ledger.Leave(u.Charge)
	r.taken[u] = true
	return Victim{u, level}
}

// shortOfGuarantees reports whether nodes are missing for the guarantees themselves in kind i.
func (r *Round) shortOfGuarantees(i int) bool {
	promised := resource.Amount(0)
	for _, c := range r.ledger.Tree().Roles[role.Root].Children {
		promised = promised.Add(r.ledger.Quota(c).Guarantee[i])
	}
	return promised > r.ledger.Capacity()[i]
}
