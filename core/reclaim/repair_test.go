package reclaim

import (
	"testing"

	"pgregory.net/rapid"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// cut lowers bounds of the tree and books everything anew, as a plan does that was changed: funded as deep as is legal, by
// the root where nothing is.
func (w *world) cut() {
	for id := len(w.tree.Roles) - 1; id > 0; id-- {
		q := w.tree.Roles[id].Quotas[""]
		for i := range 2 {
			if rapid.IntRange(0, 2).Draw(w.rt, "cuts") > 0 {
				w.cutOne(role.ID(id), q, i)
			}
		}
	}
	w.ledger = lending.NewLedger(w.tree, "", kinds, w.ledger.Capacity())
	for _, u := range w.units {
		c, why := w.ledger.Fund(u.Charge, w.pinned[u])
		if w.leaving[u] || why != nil {
			if why == nil {
				w.ledger.Remove(c)
			}
			c.At = role.Root
			w.ledger.Add(c)
		}
		if w.leaving[u] {
			w.ledger.Leave(c)
		}
		u.Charge = c
	}
}

func (w *world) cutOne(id role.ID, q role.Quota, i int) {
	least := resource.Amount(0)
	for _, c := range w.tree.Roles[id].Children {
		least += w.tree.Quota(c, "", kinds).Guarantee[i]
	}
	q.Guarantee[i] = max(least, q.Guarantee[i]/2)
	switch rapid.IntRange(0, 2).Draw(w.rt, "bound") {
	case 0:
		q.Limit[i] = q.Guarantee[i] + resource.Amount(rapid.IntRange(0, 2).Draw(w.rt, "limit"))
	case 1:
		q.Borrow[i] = resource.Amount(rapid.IntRange(0, 2).Draw(w.rt, "borrow"))
	case 2:
		q.Lend[i] = resource.Amount(rapid.IntRange(0, 2).Draw(w.rt, "lend"))
	}
}

// wrong sums up by how much the rules are broken once a set has left: what flows into every role above its bound, and what
// every market uses beyond its supply.
func (w *world) wrong(gone map[*Unit]bool) (sum resource.Amount) {
	l := w.rebuilt(gone, nil)
	for id := range w.tree.Roles {
		f := role.ID(id)
		for i := range kinds {
			if f != role.Root {
				sum += max(0, w.inflow(f, i, gone)-w.inflowCap(f, i))
			}
			if f != role.Root || w.promised(i) <= w.ledger.Capacity()[i] {
				sum += l.Excess(f, i)
			}
		}
	}
	return sum
}

func (w *world) inflowCap(id role.ID, i int) resource.Amount {
	q := w.ledger.Quota(id)
	return min(q.Borrow[i], q.Limit[i].Sub(q.Guarantee[i]))
}

// inflow is what the subtree holds that somebody above pays for, without what leaves.
func (w *world) inflow(id role.ID, i int, gone map[*Unit]bool) (sum resource.Amount) {
	for _, u := range w.units {
		if w.within(u.Charge.Leaf, id) && !w.within(u.Charge.At, id) && !w.leaving[u] && !gone[u] {
			sum += u.Charge.Amount[i]
		}
	}
	return sum
}

func (w *world) promised(i int) (sum resource.Amount) {
	for _, c := range w.tree.Roles[role.Root].Children {
		sum += w.ledger.Quota(c).Guarantee[i]
	}
	return sum
}

func (w *world) within(leaf, v role.ID) bool {
	for ; leaf != role.None; leaf = w.tree.Roles[leaf].Parent {
		if leaf == v {
			return true
		}
	}
	return false
}

// TestRepair checks that after a cut everything that can be repaired is, by units that may be asked back, that nobody is asked
// who could stay, and that nothing happens when nothing is wrong.
func TestRepair(t *testing.T) {
	asked, several := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt, 16)
		for n := range w.earmark {
			delete(w.earmark, n)
		}
		w.cut()
		before := w.wrong(nil)
		victims := NewRound(w.ledger, w).Repair()
		gone := map[*Unit]bool{}
		for _, v := range victims {
			if w.pinned[v.Unit] || w.leaving[v.Unit] || gone[v.Unit] || v.Level != v.Unit.Charge.At {
				w.fatalf("unit %d may not be asked back at %d", v.Unit.ID, v.Level)
			}
			gone[v.Unit] = true
		}
		if before == 0 && len(gone) > 0 {
			w.fatalf("nothing is wrong and %v are asked back", ids(gone))
		}
		if state(w.rebuilt(gone, nil)) != state(w.ledger) {
			w.fatalf("the ledger is not what it is without %v", ids(gone))
		}
		w.judgeRepair(gone)
		asked += min(1, len(gone))
		several += min(1, len(gone)/2)
	})
	if asked < 10 || several < 5 {
		t.Errorf("the generator breaks too little: %d repairs, %d of several units", asked, several)
	}
}

// guilty reports whether a unit takes part in what is still wrong: it is paid by a market in breach, or flows into a role that
// borrows too much. Where others may not be asked back something stays wrong, and that is no reason to ask the innocent.
func (w *world) guilty(u *Unit, gone map[*Unit]bool) bool {
	l := w.rebuilt(gone, nil)
	for i, a := range u.Charge.Amount {
		if a > 0 && l.Excess(u.Charge.At, i) > 0 && (u.Charge.At != role.Root || w.promised(i) <= w.ledger.Capacity()[i]) {
			return true
		}
		for f := u.Charge.Leaf; f != u.Charge.At; f = w.tree.Roles[f].Parent {
			if a > 0 && w.inflow(f, i, gone) > w.inflowCap(f, i) {
				return true
			}
		}
	}
	return false
}

func (w *world) judgeRepair(gone map[*Unit]bool) {
	w.rt.Helper()
	now := w.wrong(gone)
	for u := range gone {
		if w.wrong(without(gone, u)) <= now {
			w.fatalf("unit %d is asked back with %v, but nothing is better for it", u.ID, ids(gone))
		}
	}
	for _, u := range w.units {
		if gone[u] || w.pinned[u] || w.leaving[u] || !w.guilty(u, gone) {
			continue
		}
		more := without(gone, nil)
		more[u] = true
		if better := w.wrong(more); better < now {
			w.fatalf("%v are asked back and it is still wrong by %v; without unit %d it would be %v", ids(gone), now, u.ID, better)
		}
	}
}
