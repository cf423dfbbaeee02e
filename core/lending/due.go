package lending

import (
	"slices"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Due is the demand and the entitlement of every role of a ledger, kept as what leaves want changes: nothing is worked out anew but what
// depends on what has changed. It belongs to whom the ledger belongs to.
type Due struct {
	ledger   *Ledger
	want     []resource.Vector // by leaf: what runs and what waits
	demand   []resource.Vector // by role: min(limit, what its children demand, or what it wants itself)
	lent     []resource.Vector // by role: what it would offer its parent if it had all it asks for
	due      []resource.Vector // by role: its entitlement
	capacity resource.Vector   // that was divided last
	unsure   agenda            // roles whose demand may have changed
	uneven   agenda            // roles whose entitlement is to be divided anew
	before   resource.Vector   // room for what children were due
}

// NewDue returns what is due to the roles of a ledger while no leaf wants anything. It is up to date after [Due.Settle].
func NewDue(l *Ledger) *Due {
	n := len(l.accts)
	zeros := func() []resource.Vector { return resource.Zeros(n, l.kinds) }
	d := &Due{ledger: l, want: zeros(), demand: zeros(), lent: zeros(), due: zeros(), unsure: newAgenda(l.tree), uneven: newAgenda(l.tree)}
	for id := range n {
		d.unsure.add(role.ID(id))
	}
	return d
}

// Want says what a leaf wants from now on, running and waiting. The vector is copied.
func (d *Due) Want(leaf role.ID, x resource.Vector) {
	if !d.want[leaf].Equal(x) {
		clear(d.want[leaf])
		copy(d.want[leaf], x)
		d.unsure.add(leaf)
	}
}

// Demand is what a role and all below it want, clipped by limits on the way up. The vector is not the caller's to change or keep.
func (d *Due) Demand(id role.ID) resource.Vector { return d.demand[id] }

// Entitlement is what a role is due now: from tree, demand and capacity, never from usage. The vector is not the caller's to change or keep.
func (d *Due) Entitlement(id role.ID) resource.Vector { return d.due[id] }

// Settle brings everything up to date.
func (d *Due) Settle() {
	d.unsure.upwards(func(id role.ID) {
		if d.measure(id) && id != role.Root {
			d.unsure.add(d.ledger.accts[id].parent)
			d.uneven.add(d.ledger.accts[id].parent)
		}
	})
	if now := d.ledger.Capacity(); !now.Equal(d.capacity) {
		d.capacity = now.Clone(0)
		clear(d.due[role.Root])
		copy(d.due[role.Root], now)
		for id := range d.due { // shares are of the capacity
			d.uneven.add(role.ID(id))
		}
	}
	d.uneven.downwards(d.divide)
}

// measure works out what a role demands and would lend, and reports whether either has changed. Its children's are right.
func (d *Due) measure(id role.ID) (changed bool) {
	a, kids := &d.ledger.accts[id], d.ledger.tree.Roles[id].Children
	for i := range d.ledger.kinds {
		demand, below := d.want[id][i], resource.Amount(0) // below is what the children offer, and what their guarantees cover of their demand
		for _, c := range kids {
			demand = demand.Add(d.demand[c][i])
			below += d.lent[c][i] + min(d.ledger.accts[c].quota.Guarantee[i], d.demand[c][i])
		}
		demand = min(demand, a.quota.Limit.At(i))
		lent := max(0, min(a.quota.Lend.At(i), a.quota.Guarantee[i]-demand-a.quota.Warm.At(i), a.market.private[i]+below-demand))
		changed = changed || demand != d.demand[id][i] || lent != d.lent[id][i]
		d.demand[id][i], d.lent[id][i] = demand, lent
	}
	return changed
}

// divide divides what a role is due among its children, and goes on with those for whom that changes something.
func (d *Due) divide(id role.ID) {
	kids, k := d.ledger.tree.Roles[id].Children, d.ledger.kinds
	if len(kids) == 0 {
		return
	}
	d.before = d.before[:0]
	for _, c := range kids {
		d.before = append(d.before, d.due[c]...)
	}
	d.ledger.entitleChildren(id, d.due, d.demand, d.lent)
	for i, c := range kids {
		if !slices.Equal(d.before[i*k:(i+1)*k], d.due[c]) {
			d.uneven.add(c)
		}
	}
}

// agenda is roles to be seen to, each once, those of one depth together.
type agenda struct {
	tree   *role.Tree
	levels [][]role.ID
	listed []bool
}

func newAgenda(tree *role.Tree) agenda {
	deepest := 0
	for i := range tree.Roles {
		deepest = max(deepest, tree.Roles[i].Depth)
	}
	return agenda{tree, make([][]role.ID, deepest+1), make([]bool, len(tree.Roles))}
}

func (a *agenda) add(id role.ID) {
	if !a.listed[id] {
		a.listed[id] = true
		at := a.tree.Roles[id].Depth
		a.levels[at] = append(a.levels[at], id)
	}
}

// upwards takes the roles off, the deepest first. Shallower ones may be added meanwhile.
func (a *agenda) upwards(see func(role.ID)) {
	for at := len(a.levels) - 1; at >= 0; at-- {
		a.empty(at, see)
	}
}

// downwards takes the roles off, the shallowest first. Deeper ones may be added meanwhile.
func (a *agenda) downwards(see func(role.ID)) {
	for at := range a.levels {
		a.empty(at, see)
	}
}

func (a *agenda) empty(at int, see func(role.ID)) {
	for _, id := range a.levels[at] {
		a.listed[id] = false
		see(id)
	}
	a.levels[at] = a.levels[at][:0]
}
