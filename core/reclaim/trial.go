package reclaim

import (
	"slices"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// trial collects victims for one claim on one target node.
type trial struct {
	*sweep
	node    placement.NodeID
	spare   resource.Vector // on the node, without the victims
	fewest  bool            // room is made with as few units as possible instead of the cheapest
	victims []Victim
	settled [][]resource.Amount // by stage and kind: the excess the sweep ended with; above owed only where nodes are lost
}

// run sweeps up the tree, makes room on the node, and drops every victim that turns out not to be needed.
func (t *trial) run() (bool, Outcome) {
	for i := range t.levels {
		if !t.repair(&t.levels[i]) {
			return false, NoVictim
		}
	}
	t.settle()
	if !t.makeRoom() {
		return false, Fragmented
	}
	t.prune()
	if !t.claim.Whole && !t.withinBreach() {
		return false, Fragmented
	}
	return true, Planned
}

// repair asks back just enough of what is funded at one stage for its rule to be no worse than before the claim.
func (t *trial) repair(st *stage) bool {
	for i := range st.owed {
		for t.ledger.Excess(st.role, i) > st.owed[i] {
			hold, excess, _ := t.ledger.Breach(st.role, i)
			v := t.choose(st, i, excess, func(u *Unit) bool { return u.Charge.Hold >= hold })
			if v == nil {
				if t.capacityLost(st, i) {
					break
				}
				return false
			}
			t.take(Victim{v, st.role})
		}
	}
	return true
}

// capacityLost reports whether the stage is the root and nodes are missing for the guarantees themselves: then a claim
// may start on what is idle though nobody can be asked to make its quantity good.
func (t *trial) capacityLost(st *stage, i int) bool {
	if st.role != role.Root {
		return false
	}
	return st.owed[i] > 0 || t.shortOfGuarantees(i)
}

// choose picks the next victim at a stage: of the cheapest class those that also make room on the target node first,
// then the smallest that covers the excess in kind i, or the largest when none does.
func (t *trial) choose(st *stage, i int, excess resource.Amount, ok func(*Unit) bool) *Unit {
	var best *Unit
	short := t.shortage()
	if short != nil {
		for _, x := range t.sitesOn(t.node) { // whoever helps there goes before anybody else
			u := x.Unit
			if x.Level == st.role && !u.taken && u.Charge.Hold <= st.grace && u.Charge.Amount.At(i) > 0 && ok(u) && t.helps(u, short) &&
				(best == nil || t.better(u, best, i, excess, short)) {
				best = u
			}
		}
		if best != nil {
			return best
		}
	}
	for u := range t.units(st.role) {
		if best != nil && (class(best, u) < 0 || best.Charge.Amount.At(i) == excess) {
			break // dearer ones follow, or there is none more fitting
		}
		if u.taken || u.Charge.Hold > st.grace || u.Charge.Amount.At(i) == 0 || !ok(u) {
			continue
		}
		if best == nil || t.better(u, best, i, excess, short) {
			best = u
		}
	}
	return best
}

// better reports whether u is to be chosen before v for an excess in kind i. Making room where room is needed comes first: a
// victim elsewhere would be asked back in addition.
func (t *trial) better(u, v *Unit, i int, excess resource.Amount, short resource.Vector) bool {
	if a, b := t.helps(u, short), t.helps(v, short); a != b {
		return a
	}
	if c := class(u, v); c != 0 {
		return c < 0
	}
	x, y := u.Charge.Amount.At(i), v.Charge.Amount.At(i)
	if x != y {
		if (x >= excess) != (y >= excess) {
			return x >= excess
		}
		return (x < y) == (x >= excess)
	}
	return Cheaper(u, v) < 0
}

// helps reports whether u's leaving makes room on the target node in a kind that is short.
func (t *trial) helps(u *Unit, short resource.Vector) bool {
	if short == nil {
		return false
	}
	for i, a := range u.On(t.node) {
		if a > 0 && short[i] > 0 {
			return true
		}
	}
	return false
}

// shortage is what the target node still lacks for the claim, nil when it fits.
func (t *trial) shortage() resource.Vector {
	room := t.spare.Clone(t.ledger.Kinds())
	for _, v := range t.victims {
		room.Inc(v.Unit.On(t.node))
	}
	need := t.claim.Charge.Amount
	if need.Fits(room) {
		return nil
	}
	return need.Minus(room).Max(make(resource.Vector, t.ledger.Kinds()))
}

// makeRoom asks back what the node still lacks after the rules are repaired, from any stage.
func (t *trial) makeRoom() bool {
	for {
		short := t.shortage()
		if short == nil {
			return true
		}
		best := t.roomiest(short)
		if best == nil {
			return false
		}
		t.take(*best)
	}
}

// roomiest picks the next victim, of any stage, for what the node is short of: the cheapest or, where fewest is asked for, the
// cheapest of those that are enough alone, else the largest.
func (t *trial) roomiest(short resource.Vector) (best *Victim) {
	sites := t.sitesOn(t.node)
	for i := range sites {
		v := &sites[i].Victim
		if !v.Unit.taken && t.helps(v.Unit, short) && (best == nil || t.roomier(v.Unit, best.Unit, short)) {
			best = v
		}
	}
	return best
}

func (t *trial) roomier(u, v *Unit, short resource.Vector) bool {
	if x, y := t.gap(u, short), t.gap(v, short); t.fewest && x != y {
		return x < y
	}
	return Cheaper(u, v) < 0
}

// gap is what stays short, summed over the kinds in thousandths of what is short now, after u has left.
func (t *trial) gap(u *Unit, short resource.Vector) (sum resource.Amount) {
	on := u.On(t.node)
	for i, a := range short {
		if a > 0 {
			sum += max(0, a-on.At(i)).MulDiv(1000, int64(a))
		}
	}
	return sum
}

func (t *trial) take(v Victim) {
	t.ledger.Leave(v.Unit.Charge)
	v.Unit.taken = true
	t.victims = append(t.victims, v)
}

// prune gives back, most expensive first, every victim without which the claim is served just as well.
func (t *trial) prune() {
	for _, v := range costliestFirst(t.victims) {
		all := t.victims
		i := slices.IndexFunc(all, func(w Victim) bool { return w.Unit == v.Unit })
		t.ledger.Return(v.Unit.Charge)
		t.victims = slices.Delete(slices.Clone(all), i, i+1)
		if t.repaired() && t.shortage() == nil {
			v.Unit.taken = false
			continue
		}
		t.ledger.Leave(v.Unit.Charge)
		t.victims = all
	}
}

// settle notes what the sweep achieved, so that pruning does not undo it.
func (t *trial) settle() {
	for _, st := range t.levels {
		left := make([]resource.Amount, len(st.owed))
		for i, owed := range st.owed {
			left[i] = max(owed, t.ledger.Excess(st.role, i))
		}
		t.settled = append(t.settled, left)
	}
}

// repaired reports whether every stage is as good as the sweep left it.
func (t *trial) repaired() bool {
	for s, st := range t.levels {
		for i, most := range t.settled[s] {
			if t.ledger.Excess(st.role, i) > most {
				return false
			}
		}
	}
	return true
}

// withinBreach checks that, beyond what the broken rules ask for, no stage gives more than one unit to make room on the
// node. With several kinds a unit that is needed for one brings its others along, so units are counted, not amounts.
func (t *trial) withinBreach() bool {
	order := costliestFirst(t.victims)
	if t.oneForRoom(order) {
		return true
	}
	for i, v := range order {
		if t.oneForRoom(slices.Concat([]Victim{v}, order[:i], order[i+1:])) {
			return true
		}
	}
	return false
}

// oneForRoom takes back, in the given order, whom the rules do not need, and reports whether that is at most one of each stage.
// Which they are depends on the order.
func (t *trial) oneForRoom(order []Victim) bool {
	forRoom, within := map[role.ID]bool{}, true
	var back []Victim
	for _, v := range order {
		t.ledger.Return(v.Unit.Charge)
		if !t.repaired() {
			t.ledger.Leave(v.Unit.Charge)
			continue
		}
		back = append(back, v)
		within = within && !forRoom[v.Level]
		forRoom[v.Level] = true
	}
	for _, v := range back {
		t.ledger.Leave(v.Unit.Charge)
	}
	return within
}
