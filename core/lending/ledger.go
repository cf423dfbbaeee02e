package lending

import (
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Charge is one lease as the ledger sees it: an amount used by a leaf role and paid for at one role on its path.
type Charge struct {
	Leaf   role.ID         // role that uses it
	At     role.ID         // role that funds it: Leaf or an ancestor; role.Root means borrowed
	Amount resource.Vector // never changed by the ledger
	Hold   time.Duration   // longest time between a claim and the end of this lease
	Count  int             // tasks it stands for (a gang is charged as one); at least 1
}

// Ledger is the book of one pool. A lease is in one of three states:
//
//   - charged: [Ledger.Add]; it takes funding at its role and inflow below it. A claimant that waits for victims is
//     charged too: that is its reservation.
//   - leaving: [Ledger.Leave]; its funding is already given away, its inflow still counts because it still runs.
//   - gone: [Ledger.Remove] from charged, [Ledger.Gone] from leaving.
//
// What runs at this moment, leaving or not, is counted apart by [Ledger.Occupy] and [Ledger.Vacate]; limits are checked
// against it.
type Ledger struct {
	tree  *role.Tree
	kinds int
	accts []account
	tiers [][][]role.ID // by role: its children by priority

	version uint64 // of the book; see Version
}

// account is one role's part of the book.
type account struct {
	parent    role.ID
	lendGrace time.Duration
	quota     role.Quota
	inflowCap resource.Vector // min(borrow, limit − guarantee)
	used      resource.Vector // running in the subtree, leaving included
	funded    resource.Vector // G: charged in the subtree and funded at this role or deeper
	inflow    resource.Vector // in the subtree, funded strictly above, leaving included
	supplied  resource.Vector // what the role offers its parent's market now
	market    market
}

// NewLedger returns the empty book of a pool with the given capacity.
func NewLedger(tree *role.Tree, pool string, kinds int, capacity resource.Vector) *Ledger {
	l := &Ledger{tree: tree, kinds: kinds, accts: make([]account, len(tree.Roles)), tiers: make([][][]role.ID, len(tree.Roles))}
	for id := range tree.Roles {
		l.tiers[id] = tiersOf(tree, role.ID(id))
		l.accts[id] = newAccount(tree, role.ID(id), pool, kinds)
	}
	l.accts[role.Root].quota.Guarantee = capacity.Clone(kinds)
	for id := range l.accts {
		a := &l.accts[id]
		a.market.gain(a.quota.Guarantee, +1)
		if role.ID(id) == role.Root {
			continue
		}
		up := &l.accts[a.parent].market
		up.gain(a.quota.Guarantee, -1)
		up.warm.Inc(a.quota.Warm)
		up.at(a.lendGrace).refs++
	}
	for id := role.ID(len(l.accts) - 1); id > role.Root; id-- { // what a role offers depends on what those below it do
		l.supply(id)
	}
	return l
}

func newAccount(tree *role.Tree, id role.ID, pool string, k int) account {
	r := &tree.Roles[id]
	a := account{
		parent: r.Parent, lendGrace: r.LendGrace, quota: tree.Quota(id, pool, k), market: newMarket(k),
		inflowCap: make(resource.Vector, k), used: make(resource.Vector, k), funded: make(resource.Vector, k),
		inflow: make(resource.Vector, k), supplied: make(resource.Vector, k),
	}
	for i := range a.inflowCap {
		a.inflowCap[i] = min(a.quota.Borrow.At(i), a.quota.Limit.At(i).Sub(a.quota.Guarantee.At(i)))
	}
	return a
}

// SetCapacity changes what the pool's nodes hold in all. Kinds the ledger was not made for are left out: they count from the
// next ledger on.
func (l *Ledger) SetCapacity(capacity resource.Vector) {
	l.version++
	root := &l.accts[role.Root]
	root.market.gain(root.quota.Guarantee, -1)
	root.quota.Guarantee = make(resource.Vector, l.kinds)
	copy(root.quota.Guarantee, capacity)
	root.market.gain(root.quota.Guarantee, +1)
}

// Capacity is what the pool's nodes hold in all.
func (l *Ledger) Capacity() resource.Vector { return l.accts[role.Root].quota.Guarantee }

// Kinds is the length of the ledger's vectors.
func (l *Ledger) Kinds() int { return l.kinds }

// Tree is the role tree the ledger was made for.
func (l *Ledger) Tree() *role.Tree { return l.tree }

// supply recomputes what role id offers its parent: min(lend, idle − warm, what its own market has left), not below zero. So nobody
// outside gets what a role below keeps to itself.
func (l *Ledger) supply(id role.ID) {
	a := &l.accts[id]
	if a.parent == role.None {
		return
	}
	up := &l.accts[a.parent].market
	lv := up.at(a.lendGrace)
	for i := range a.supplied {
		idle := a.quota.Guarantee[i] - a.funded[i] - a.quota.Warm.At(i)
		now := max(0, min(a.quota.Lend.At(i), idle, a.market.left[i]))
		more := now - a.supplied[i]
		lv.supply[i] += more
		up.left[i] += more
		a.supplied[i] = now
	}
}

// Add charges c without checking any rule.
func (l *Ledger) Add(c Charge) {
	l.move(c, +1)
	l.addInflow(c, +1)
}

// Remove takes a charge away.
func (l *Ledger) Remove(c Charge) {
	l.move(c, -1)
	l.addInflow(c, -1)
}

// Leave gives away the funding of a charge whose task is under notice.
func (l *Ledger) Leave(c Charge) { l.move(c, -1) }

// Return undoes [Ledger.Leave] without checking any rule.
func (l *Ledger) Return(c Charge) { l.move(c, +1) }

// Gone ends a leaving charge.
func (l *Ledger) Gone(c Charge) { l.addInflow(c, -1) }

// Refund moves a charge to another funding role without checking any rule.
func (l *Ledger) Refund(c Charge, to role.ID) Charge {
	l.Remove(c)
	c.At = to
	l.Add(c)
	return c
}

func (l *Ledger) move(c Charge, sign int) {
	l.version++
	l.accts[c.At].market.charge(c.Hold, c.Amount, sign*c.Count)
	for id := c.At; id != role.None; id = l.accts[id].parent {
		if sign > 0 {
			l.accts[id].funded.Inc(c.Amount)
		} else {
			l.accts[id].funded.Dec(c.Amount)
		}
		l.supply(id)
	}
}

func (l *Ledger) addInflow(c Charge, sign int) {
	l.version++
	for id := c.Leaf; id != c.At; id = l.accts[id].parent {
		if sign > 0 {
			l.accts[id].inflow.Inc(c.Amount)
		} else {
			l.accts[id].inflow.Dec(c.Amount)
		}
	}
}

// Occupy counts x as running in a leaf role.
func (l *Ledger) Occupy(leaf role.ID, x resource.Vector) {
	l.version++
	for id := leaf; id != role.None; id = l.accts[id].parent {
		l.accts[id].used.Inc(x)
	}
}

// Vacate undoes [Ledger.Occupy].
func (l *Ledger) Vacate(leaf role.ID, x resource.Vector) {
	l.version++
	for id := leaf; id != role.None; id = l.accts[id].parent {
		l.accts[id].used.Dec(x)
	}
}
