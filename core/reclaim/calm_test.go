package reclaim

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// start runs a waiting task where it fits by the rules; victims are gone at once here.
func (w *world) start(u *Unit) bool {
	for n := range w.capacity {
		u.Parts[0].Node = placement.NodeID(n)
		if !w.closed[placement.NodeID(n)] && w.admit(u) {
			return true
		}
	}
	return false
}

// reclaim serves a waiting task by asking others back; those wait again.
func (w *world) reclaim(u *Unit) (victims []*Unit, ok bool) {
	c := Claim{Charge: u.Charge}
	for v := u.Charge.Leaf; v != role.Root; v = w.tree.Roles[v].Parent {
		p, outcome := NewRound(w.ledger, w).Plan(c, v)
		if outcome != Planned {
			continue
		}
		for _, x := range p.Victims {
			w.ledger.Gone(x.Unit.Charge)
			w.units = slices.DeleteFunc(w.units, func(o *Unit) bool { return o == x.Unit })
			victims = append(victims, x.Unit)
		}
		u.Charge, u.Parts[0].Node = p.Charge, p.Node
		w.units = append(w.units, u)
		return victims, true
	}
	return nil, false
}

// byDepth is usage by the depth of the role that pays for it, deepest first, every kind added up.
func (w *world) byDepth() []resource.Amount {
	out := make([]resource.Amount, 7) // roles are up to five deep, and the work of one that has children is one deeper
	for _, u := range w.units {
		for _, a := range u.Charge.Amount {
			out[len(out)-1-w.tree.Roles[u.Charge.At].Depth] += a
		}
	}
	return out
}

// TestClaimsComeToRest is I8: with nothing new, starting and reclaiming end, and every reclaim moves usage to a deeper payer.
func TestClaimsComeToRest(t *testing.T) {
	reclaims := 0
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt, 8)
		for _, u := range w.Leaving() { // a closed world: nothing is under way
			delete(w.leaving, u)
			w.ledger.Gone(u.Charge)
			w.units = slices.DeleteFunc(w.units, func(o *Unit) bool { return o == u })
		}
		var queue []*Unit
		for range rapid.IntRange(1, 8).Draw(rt, "waiting") {
			u := w.drawUnit()
			u.Parts = u.Parts[:1]
			u.Charge.Amount, u.Charge.Count = u.Parts[0].Amount, 1
			w.pinned[u] = false
			queue = append(queue, u)
		}
		steps := 0
		for {
			before := w.byDepth()
			i, victims := w.next(queue)
			if i < 0 {
				break
			}
			queue = slices.Delete(queue, i, i+1)
			for _, v := range victims {
				reclaims++
				if len(v.Parts) == 1 { // a gang does not come back
					queue = append(queue, v)
				}
			}
			if slices.Compare(w.byDepth(), before) <= 0 {
				w.fatalf("usage by payer went from %v to %v, asking back %d", before, w.byDepth(), len(victims))
			}
			for id := range w.tree.Roles {
				if !w.ledger.Sound(role.ID(id)) {
					w.fatalf("the hold rule is broken at %d", id)
				}
			}
			if steps++; steps > 500 {
				w.fatalf("it does not come to rest")
			}
		}
	})
	if reclaims < 3 {
		t.Errorf("only %d units were ever asked back", reclaims)
	}
}

// next starts the first task it can, on idle capacity if possible, and says which.
func (w *world) next(queue []*Unit) (int, []*Unit) {
	for i, u := range queue {
		if w.start(u) {
			return i, nil
		}
	}
	for i, u := range queue {
		if victims, ok := w.reclaim(u); ok {
			return i, victims
		}
	}
	return -1, nil
}

// TestRoundsOfClaims plans several claims in one round, each counting on what is left by those before, takes some back, and
// checks that the rest stand as if they had been alone.
func TestRoundsOfClaims(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt, 14)
		round := NewRound(w.ledger, w)
		var kept, undone []Plan
		gone := map[*Unit]bool{}
		for range rapid.IntRange(1, 4).Draw(rt, "claims") {
			c, v := w.drawClaim()
			p, outcome := round.Plan(c, v)
			if outcome != Planned {
				continue
			}
			if rapid.IntRange(0, 2).Draw(rt, "undo") == 0 {
				round.Undo(p)
				undone = append(undone, p)
				continue
			}
			kept = append(kept, p)
			for _, x := range p.Victims {
				if gone[x.Unit] || w.leaving[x.Unit] {
					w.fatalf("unit %d is asked back twice", x.Unit.ID)
				}
				gone[x.Unit] = true
				w.leaving[x.Unit] = true // the book answers for the state after the plan
			}
			if w.earmark[p.Node] == nil {
				w.earmark[p.Node] = make(resource.Vector, kinds)
			}
			w.earmark[p.Node].Inc(p.Charge.Amount)
		}
		for n := range w.capacity {
			if w.Spare(placement.NodeID(n), 0).Negative() >= 0 {
				w.fatalf("claimants count on more than node %d has: %v", n, w.Spare(placement.NodeID(n), 0))
			}
		}
		for i, p := range slices.Backward(kept) {
			round.Undo(p)
			for _, x := range p.Victims {
				delete(w.leaving, x.Unit)
			}
			kept = kept[:i]
		}
		if state(w.ledger) != state(w.rebuilt(nil, nil)) {
			w.fatalf("plans taken back left their mark; %d were undone at once", len(undone))
		}
	})
}
