package cluster

import (
	"cmp"
	"slices"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// packages are the guarantees of a pool that are promised in whole packages, each with a home: a node on which nothing but what gives
// way to the role in time is in its room. [Decision 10] says why.
//
// Of what is on a node only the tasks are looked at, each time anew: the homes are all that is remembered.
//
// [Decision 10]: ../../docs/adr/0010-packages.md
type packages struct {
	p      *pool
	roles  []*boxes  // larger packages first
	booked []booking // what a start that is being planned has of nodes, beside tasks and claims
	tried  int64     // the epoch and one when no home was found for the rest; zero is never
}

// boxes are the packages of one role.
type boxes struct {
	role  role.ID
	path  string
	unit  resource.Vector
	count int
	homes map[placement.NodeID]int // how many on a node; none is zero
}

// booking is the place of one member of a start that is being planned.
type booking struct {
	node   placement.NodeID
	charge lending.Charge
	need   resource.Vector
}

// repackage takes the packages of the cluster's tree. Those of roles that had some keep their homes.
func (p *pool) repackage() {
	old := p.packages
	p.packages = nil
	var all []*boxes
	for i := range p.c.tree.Roles {
		r := &p.c.tree.Roles[i]
		if q := r.Quotas[p.name]; q.Packages > 0 {
			all = append(all, &boxes{role.ID(i), r.Path, q.Unit, q.Packages, map[placement.NodeID]int{}})
		}
	}
	if all == nil {
		return
	}
	slices.SortStableFunc(all, func(a, b *boxes) int { return cmp.Compare(p.part(b.unit), p.part(a.unit)) })
	p.packages = &packages{p: p, roles: all}
	if old == nil {
		return
	}
	for _, b := range all {
		if i := slices.IndexFunc(old.roles, func(o *boxes) bool { return o.path == b.path }); i >= 0 {
			b.homes = old.roles[i].homes
		}
	}
}

// part is the largest part of the pool that an amount is of any kind, in millionths.
func (p *pool) part(x resource.Vector) (most resource.Amount) {
	for i, a := range x {
		if total := p.total.At(i); total > 0 {
			most = max(most, a.MulDiv(1_000_000, int64(total)))
		}
	}
	return most
}

// of returns the packages of a role, nil when it has none.
func (k *packages) of(id role.ID) *boxes {
	if k == nil {
		return nil
	}
	for _, b := range k.roles {
		if b.role == id {
			return b
		}
	}
	return nil
}

// owner returns the packages that a charge is paid from, nil when it is not.
func (k *packages) owner(c lending.Charge) *boxes { return k.of(c.At) }

// housed is how many packages have a home.
func (b *boxes) housed() (n int) {
	for _, m := range b.homes {
		n += m
	}
	return n
}

// put gives a node n packages more.
func (b *boxes) put(id placement.NodeID, n int) {
	if b.homes[id] += n; b.homes[id] == 0 {
		delete(b.homes, id)
	}
}

// nodes lists the homes, in order.
func (b *boxes) nodes() []placement.NodeID {
	out := make([]placement.NodeID, 0, len(b.homes))
	for id := range b.homes {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// begun is how many packages an amount takes.
func (b *boxes) begun(x resource.Vector) (n int) {
	for i, u := range b.unit {
		if u > 0 {
			n = max(n, int((x.At(i)+u-1)/u))
		}
	}
	return n
}

// times is what n packages hold.
func (b *boxes) times(n int) resource.Vector {
	out := make(resource.Vector, len(b.unit))
	for i, u := range b.unit {
		out[i] = u.MulDiv(int64(n), 1)
	}
	return out
}

// settle sees that every package has a home, as far as there is room: after nodes, the plan or what stands in the way have changed.
func (k *packages) settle() {
	if k == nil {
		return
	}
	for _, b := range k.roles {
		for _, id := range b.nodes() {
			k.keepHome(b, id)
		}
	}
	if k.tried == k.p.epoch+1 {
		return
	}
	k.tried = 0
	for _, b := range k.roles {
		k.shed(b)
	}
	for _, b := range k.roles {
		if k.house(b); b.housed() < b.count {
			k.tried = k.p.epoch + 1
		}
	}
}

// keepHome takes idle packages off a node that takes no tasks, or where they have no room any more.
func (k *packages) keepHome(b *boxes, id placement.NodeID) {
	n := k.p.nodes[id]
	if n == nil {
		delete(b.homes, id)
		return
	}
	l := k.look(id, nil)
	for b.homes[id] > b.begun(l.own(b)) && (!n.schedulable() || !l.sound()) {
		b.put(id, -1)
		k.p.c.changed(ObjectRole, "")
		l = k.look(id, nil)
	}
}

// shed lets idle packages go that the role does not have any more.
func (k *packages) shed(b *boxes) {
	if b.housed() <= b.count {
		return
	}
	for _, id := range b.nodes() {
		for b.housed() > b.count && b.homes[id] > b.begun(k.look(id, nil).own(b)) {
			b.put(id, -1)
			k.p.c.changed(ObjectRole, "")
		}
	}
}

// home is a node that could be a home.
type home struct {
	id    placement.NodeID
	ready bool            // has a package's amounts free now
	left  resource.Amount // part of the pool that would be left for what does not give way
}

// house finds homes: first where the role's own tasks are already, then one a node, ready ones and those with least left over first, and
// round again.
func (k *packages) house(b *boxes) {
	for missing := b.count - b.housed(); missing > 0; {
		found := k.candidates(b)
		for _, h := range found[:min(missing, len(found))] {
			b.put(h.id, +1)
			k.p.c.changed(ObjectRole, "")
			missing--
		}
		if len(found) == 0 {
			return
		}
	}
}

// candidates lists the nodes with room for one package more, best first.
func (k *packages) candidates(b *boxes) (out []home) {
	for _, n := range k.p.nodes {
		if n == nil || !n.schedulable() {
			continue
		}
		l := k.look(n.id, nil)
		if l.takes(b) {
			begun := b.begun(l.own(b)) > b.homes[n.id]
			h := home{n.id, begun || b.unit.Fits(n.available()), 0}
			if !begun {
				h.left = k.p.part(l.room().Minus(b.unit)) + 1
			}
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(x, y home) int {
		if x.ready != y.ready {
			if x.ready {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(x.left, y.left), cmp.Compare(x.id, y.id))
	})
	return out
}

// spareHome finds a home with an idle package that may move, the one with least free: borrowers sit in it.
func (k *packages) spareHome(b *boxes) (best placement.NodeID, ok bool) {
	var least resource.Amount
	for _, id := range b.nodes() {
		if b.homes[id] > b.begun(k.look(id, nil).own(b)) {
			if free := k.p.part(k.p.nodes[id].free()); !ok || free < least {
				best, least, ok = id, free, true
			}
		}
	}
	return best, ok
}

func (p *pool) packagesView(b *boxes) PackagesView {
	v := PackagesView{Unit: b.unit.Resources(p.c.kinds, p.name), Count: b.count, Homeless: max(0, b.count-b.housed())}
	for _, id := range b.nodes() {
		if n := p.nodes[id]; n != nil {
			v.Nodes = append(v.Nodes, slices.Repeat([]string{n.Name}, b.homes[id])...)
		}
	}
	slices.Sort(v.Nodes)
	return v
}
