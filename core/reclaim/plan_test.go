package reclaim

import (
	"testing"

	"pgregory.net/rapid"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// trialOf is one claim looked at by brute force: every set of units that may legally be asked back, on every node.
type trialOf struct {
	*world
	claim  Claim
	charge lending.Charge
	path   []role.ID // ancestors of the funding role, nearest first
	owed   map[role.ID]resource.Vector

	overlooked *int // claims not planned that some set of several serves
}

func (w *world) trialOf(c Claim, v role.ID) *trialOf {
	t := &trialOf{world: w, claim: c, charge: c.Charge, owed: map[role.ID]resource.Vector{}}
	t.charge.At = v
	before := w.rebuilt(nil, nil)
	for f := w.tree.Roles[v].Parent; f != role.None; f = w.tree.Roles[f].Parent {
		t.path = append(t.path, f)
		t.owed[f] = excess(before, f)
	}
	return t
}

func excess(l *lending.Ledger, f role.ID) resource.Vector {
	out := make(resource.Vector, kinds)
	for i := range out {
		out[i] = l.Excess(f, i)
	}
	return out
}

// legal reports whether a unit may be asked back for the claim: paid strictly above the claim's own funding role, and gone
// within what the child on the way there tolerates (I4, I5).
func (t *trialOf) legal(u *Unit) bool {
	if t.pinned[u] || t.leaving[u] {
		return false
	}
	child := t.charge.At
	for _, f := range t.path {
		if u.Charge.At == f {
			return u.Charge.Hold <= t.tree.Roles[child].LendGrace
		}
		child = f
	}
	return false
}

// served reports whether the claim can run on node n once a set is gone: every rule on the way as good as before, and room.
func (t *trialOf) served(n placement.NodeID, gone map[*Unit]bool) bool {
	room := t.Spare(n, 0)
	for u := range gone {
		room.Inc(u.On(n).Clone(kinds))
	}
	return t.charge.Amount.Fits(room) && t.repaired(gone)
}

func (t *trialOf) repaired(gone map[*Unit]bool) bool {
	l := t.rebuilt(gone, &t.charge)
	for _, f := range t.path {
		if !excess(l, f).Fits(t.owed[f]) {
			return false
		}
	}
	return true
}

// minimal reports whether nobody can be spared.
func (t *trialOf) minimal(n placement.NodeID, gone map[*Unit]bool) bool {
	for u := range gone {
		if t.served(n, without(gone, u)) {
			return false
		}
	}
	return true
}

func without(set map[*Unit]bool, u *Unit) map[*Unit]bool {
	out := map[*Unit]bool{}
	for x := range set {
		if x != u {
			out[x] = true
		}
	}
	return out
}

// bounded is I5 in units: beyond what repairs the rules, each level gives at most one unit to make room.
func (t *trialOf) bounded(gone map[*Unit]bool) bool { return t.spareable(gone, t.path) }

// spareable looks for a part of a set that repairs the rules as an inclusion-minimal set does, with at most one unit of each
// level left over.
func (t *trialOf) spareable(gone map[*Unit]bool, levels []role.ID) bool {
	if !t.repaired(gone) {
		return false
	}
	if len(levels) == 0 {
		return t.needed(gone)
	}
	if t.spareable(gone, levels[1:]) {
		return true
	}
	for u := range gone {
		if u.Charge.At == levels[0] && t.spareable(without(gone, u), levels[1:]) {
			return true
		}
	}
	return false
}

// needed reports whether the rules need every unit of a set.
func (t *trialOf) needed(gone map[*Unit]bool) bool {
	for u := range gone {
		if t.repaired(without(gone, u)) {
			return false
		}
	}
	return true
}

// solutions visits every legal, minimal and bounded set on every open node, until visit returns false.
func (t *trialOf) solutions(visit func(placement.NodeID, map[*Unit]bool) bool) {
	var legal []*Unit
	for _, u := range t.units {
		if t.legal(u) {
			legal = append(legal, u)
		}
	}
	for bits := range 1 << len(legal) {
		gone := map[*Unit]bool{}
		for i, u := range legal {
			if bits>>i&1 == 1 {
				gone[u] = true
			}
		}
		for n := range t.capacity {
			id := placement.NodeID(n)
			if !t.closed[id] && t.served(id, gone) && t.minimal(id, gone) && t.bounded(gone) && !visit(id, gone) {
				return
			}
		}
	}
}

// inside reports whether the claim is inside the guarantee of its funding role and may be there at all.
func (t *trialOf) inside() bool {
	if t.rebuilt(nil, nil).Inflow(t.charge) != nil {
		return false
	}
	return t.rebuilt(nil, &t.charge).Sound(t.charge.At)
}

// judge checks one answer of the planner.
func (t *trialOf) judge(p Plan, outcome Outcome) {
	t.rt.Helper()
	switch {
	case (outcome != NotGuaranteed) != t.inside():
		t.fatalf("%s for %+v, inside the guarantee: %v", outcome, t.charge, t.inside())
	case outcome == Planned:
		t.judgePlan(p)
	case outcome != NotGuaranteed:
		t.missed(outcome)
	}
}

// missed checks that no single unit would have done, and counts the claims that only several serve.
func (t *trialOf) missed(outcome Outcome) {
	t.rt.Helper()
	several := 0
	t.solutions(func(n placement.NodeID, gone map[*Unit]bool) bool {
		if len(gone) <= 1 {
			t.fatalf("%s for %+v, but on node %d these would do: %v", outcome, t.charge, n, ids(gone))
		}
		several = 1
		return true
	})
	*t.overlooked += several
}

func ids(set map[*Unit]bool) (out []int64) {
	for u := range set {
		out = append(out, u.ID)
	}
	return out
}

func (t *trialOf) judgePlan(p Plan) {
	t.rt.Helper()
	gone := map[*Unit]bool{}
	for _, v := range p.Victims {
		if !t.legal(v.Unit) || v.Level != v.Unit.Charge.At {
			t.fatalf("%+v: unit %d may not be asked back at level %d", t.charge, v.Unit.ID, v.Level)
		}
		gone[v.Unit] = true
	}
	switch {
	case p.Charge.At != t.charge.At || t.closed[p.Node]:
		t.fatalf("%+v is planned for node %d at %d", t.charge, p.Node, p.Charge.At)
	case !t.served(p.Node, gone):
		t.fatalf("%+v is not served on node %d when %v are gone", t.charge, p.Node, ids(gone))
	case !t.minimal(p.Node, gone):
		t.fatalf("%+v: not all of %v need to go from node %d", t.charge, ids(gone), p.Node)
	case !t.bounded(gone):
		t.fatalf("%+v: %v is more than the rules lack and one unit", t.charge, ids(gone))
	}
	for n := range t.capacity {
		id := placement.NodeID(n)
		if len(gone) > 0 && !t.closed[id] && t.served(id, nil) {
			t.fatalf("%+v: %v are asked back though node %d has room and no rule breaks", t.charge, ids(gone), n)
		}
		if !t.closed[id] && t.charge.Amount.Fits(t.Spare(id, 0)) && !t.charge.Amount.Fits(t.Spare(p.Node, 0)) {
			t.fatalf("%+v goes to full node %d though node %d has room", t.charge, p.Node, n)
		}
	}
}

// TestPlanAgainstBruteForce compares the planner with every set of victims there is: what it plans is legal (I4, I5), repairs
// every rule, is minimal (I6), counts what is idle or leaving first (I7); and when it finds nothing no single
// unit would do, and only rarely a set of several.
func TestPlanAgainstBruteForce(t *testing.T) {
	seen, claims, overlooked := map[Outcome]int{}, 0, 0
	check := func(rt *rapid.T) {
		w := drawWorld(rt, 16)
		round := NewRound(w.ledger, w)
		c, v := w.drawClaim()
		before := state(w.ledger)
		p, outcome := round.Plan(c, v)
		seen[outcome]++
		if n := len(p.Victims); n > 0 {
			seen["with victims"]++
			if n > 1 {
				seen["with several"]++
			}
			if p.Victims[0].Level != p.Victims[n-1].Level {
				seen["on several levels"]++
			}
		}
		trial := w.trialOf(c, v)
		trial.overlooked = &overlooked
		claims++
		trial.judge(p, outcome)
		if outcome == Planned {
			gone := map[*Unit]bool{}
			for _, v := range p.Victims {
				gone[v.Unit] = true
			}
			if state(w.rebuilt(gone, &p.Charge)) != state(w.ledger) {
				w.fatalf("the ledger is not what %+v and %v make of it", p.Charge, ids(gone))
			}
			round.Undo(p)
			if len(round.taken) > 0 {
				w.fatalf("units are still taken after the plan was undone")
			}
		}
		if state(w.ledger) != before {
			w.fatalf("%s of %+v left its mark on the ledger", outcome, c.Charge)
		}
	}
	for range 10 { // the rarer outcomes need more than one round of the usual size
		rapid.Check(t, check)
	}
	if overlooked > claims/200 {
		t.Errorf("%d of %d claims were not planned though some set of victims serves them", overlooked, claims)
	}
	for _, o := range []Outcome{Planned, NotGuaranteed, Fragmented, NoNode, "with victims", "with several"} {
		if seen[o] == 0 {
			t.Errorf("the generator never leads to %s: %v", o, seen)
		}
	}
}
