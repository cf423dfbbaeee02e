package cluster

import (
	"cmp"
	"slices"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/role"
)

// payer says who is to pay for a unit in the book of another tree: a role at some depth, or whoever is deepest, but no shallower than that.
type payer struct {
	depth int
	exact bool
}

// bookAll books the pool's units into the empty book of another tree, by the function it is given. Those whose funding was deepest in the old tree
// come first: it only gets deeper. Of those who stood equal, everybody whom the guarantee of a deep role covers comes before anybody whom only a
// shallower one does, as in deepening, and what waits inside a guarantee before whom one above it covers: else a borrower would be paid by
// what a role below lends, and be asked back as soon as that claims it. Who cannot stay as deep, because a guarantee is lower now, comes last: it
// would take what its siblings' own tasks are due.
func (p *pool) bookAll(l *lending.Ledger, old *role.Tree, book func(*unit, payer) bool) {
	deepest := deepestIn(l.Tree())
	var demoted []*unit
	waits := reserved{pool: p, book: l, counted: map[*ask]int{}}
	for us := byStanding(p.units, old); len(us) > 0; {
		depth, pinned := old.Roles[us[0].charge.At].Depth, us[0].pinned
		n := 1
		for n < len(us) && us[n].pinned == pinned && old.Roles[us[n].charge.At].Depth == depth {
			n++
		}
		group := us[:n]
		us = us[n:]
		for d := deepest; d >= max(1, depth) && !pinned; d-- {
			group = slices.DeleteFunc(group, func(u *unit) bool { return book(u, payer{d, true}) })
			if depth == 0 {
				waits.reserve(d)
			}
		}
		for _, u := range group {
			if !book(u, payer{depth: depth}) {
				demoted = append(demoted, u)
			}
		}
	}
	waits.release()
	for _, u := range demoted {
		book(u, payer{})
	}
}

func deepestIn(tree *role.Tree) (depth int) {
	for i := range tree.Roles {
		depth = max(depth, tree.Roles[i].Depth)
	}
	return depth
}

// reserved is what waits inside guarantees, charged while the pool's units are booked into another tree.
type reserved struct {
	pool    *pool
	book    *lending.Ledger
	charges []lending.Charge
	counted map[*ask]int // instances
}

// reserve charges what waits and is covered by the guarantees of roles at a depth.
func (r *reserved) reserve(depth int) {
	tree := r.book.Tree()
	for cl := range r.pool.queue.all() {
		leaf := leafIn(tree, cl.path)
		v := above(tree, leaf, depth)
		if v == role.None || v != leaf && cl.shape.Pinned {
			continue
		}
		c := lending.Charge{Leaf: leaf, At: v, Amount: cl.amount(), Hold: cl.hold(), Count: cl.count}
		for _, a := range cl.asks {
			for a.readyCount(r.pool.c.now)-a.claims*cl.count-r.counted[a] >= cl.count && r.book.TryFund(c) {
				r.charges = append(r.charges, c)
				r.counted[a] += cl.count
			}
		}
	}
}

func (r *reserved) release() {
	for _, c := range r.charges {
		r.book.Remove(c)
	}
}

// byStanding orders units as they are booked into another tree: those that may not borrow first, then those whose funding
// was deepest in the old tree, then by priority and age.
func byStanding(units []*unit, old *role.Tree) []*unit {
	us := slices.Clone(units)
	depth := func(u *unit) int { return old.Roles[u.charge.At].Depth }
	pinned := func(u *unit) int {
		if u.pinned {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(us, func(a, b *unit) int {
		return cmp.Or(pinned(b)-pinned(a), cmp.Compare(depth(b), depth(a)),
			cmp.Compare(b.tasks[0].shape.Priority, a.tasks[0].shape.Priority), cmp.Compare(a.seq, b.seq))
	})
	return us
}

// book charges a unit; false, and nothing charged, when it may not be paid like that. At the root it always may: a repair deals with it. What
// has notice for a window is paid by whom it was told to leave, or another would be asked back in its place.
func (by payer) book(l *lending.Ledger, c lending.Charge, u *unit) (lending.Charge, bool) {
	told := u.toldAhead() && u.leavesFrom > 0
	switch {
	case told && by.exact && by.depth != u.leavesFrom-1:
		return c, false
	case told && u.leavesFrom-1 == 0:
		c.At = role.Root
		l.Add(c)
		return c, true
	case by.exact:
		return paidAt(l, c, by.depth)
	}
	funded := fundOrBorrow(l, c, u.pinned)
	if l.Tree().Roles[funded.At].Depth < by.depth {
		l.Remove(funded)
		return c, false
	}
	return funded, true
}

// paidAt charges what a role of one depth on the path may pay for.
func paidAt(l *lending.Ledger, c lending.Charge, depth int) (lending.Charge, bool) {
	tree, moved := l.Tree(), c
	moved.At = c.Leaf
	for tree.Roles[moved.At].Depth > depth {
		moved.At = tree.Roles[moved.At].Parent
	}
	if tree.Roles[moved.At].Depth < depth || !l.TryFund(moved) {
		return c, false
	}
	return moved, true
}
