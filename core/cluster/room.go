package cluster

import (
	"fmt"
	"slices"
	"strings"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// lookout is what is on a node as packages see it: tasks, claims that wait for it, and what a start that is being planned has there.
type lookout struct {
	k  *packages
	id placement.NodeID
	on []booking
}

// look sees a node without one unit or claim.
func (k *packages) look(id placement.NodeID, but any) lookout {
	l := lookout{k: k, id: id}
	for _, t := range k.p.nodes[id].tasks {
		if t.unit != but {
			l.on = append(l.on, booking{id, t.unit.charge, t.need})
		}
	}
	for _, x := range k.p.nodes[id].keeps {
		if x.claim != nil && x.claim != but {
			l.on = append(l.on, booking{id, x.claim.charge, x.need})
		}
	}
	for _, x := range k.booked {
		if x.node == id {
			l.on = append(l.on, x)
		}
	}
	return l
}

// own is what a role's packages pay for on the node.
func (l lookout) own(b *boxes) resource.Vector {
	sum := make(resource.Vector, len(b.unit))
	for _, x := range l.on {
		if x.charge.At == b.role {
			sum.Inc(x.need)
		}
	}
	return sum
}

// stays is what does not give way to a role in time, packages' own tasks not counted.
func (l lookout) stays(b *boxes) resource.Vector {
	sum := make(resource.Vector, len(b.unit))
	for _, x := range l.on {
		if l.k.owner(x.charge) == nil && !l.k.yields(x.charge, b) {
			sum.Inc(x.need)
		}
	}
	return sum
}

// yields reports whether a role may ask for what is charged so, and has it in time.
func (k *packages) yields(c lending.Charge, b *boxes) bool {
	if c.At == b.role || !k.p.c.within(b.role, c.At) {
		return false
	}
	child := b.role
	for k.p.c.tree.Roles[child].Parent != c.At {
		child = k.p.c.tree.Roles[child].Parent
	}
	return c.Hold <= k.p.c.tree.Roles[child].LendGrace
}

// packed is the room of all packages on the node, begun or not.
func (l lookout) packed() resource.Vector {
	sum := make(resource.Vector, len(l.k.p.nodes[l.id].total))
	for _, b := range l.k.roles {
		own, room := l.own(b), b.times(b.homes[l.id])
		for i := range sum {
			sum[i] += max(own.At(i), room.At(i))
		}
	}
	return sum
}

// sound reports whether every package can be emptied in time, also those in use: what uses them may end.
func (l lookout) sound() bool { return l.soundFor(func(*boxes) bool { return true }) }

// soundFor is sound for some roles' packages.
func (l lookout) soundFor(these func(*boxes) bool) bool {
	packed, total := l.packed(), l.k.p.nodes[l.id].total
	for _, b := range l.k.roles {
		if these(b) && b.homes[l.id] > 0 && !within(packed.Plus(l.stays(b)), total, packed) {
			return false
		}
	}
	return true
}

// within reports whether sum fits total in every kind that is packed.
func within(sum, total, packed resource.Vector) bool {
	for i, p := range packed {
		if p > 0 && sum.At(i) > total.At(i) {
			return false
		}
	}
	return true
}

// room is what the packages here and those that stay for the least patient of them leave.
func (l lookout) room() resource.Vector {
	packed, total := l.packed(), l.k.p.nodes[l.id].total
	left := total.Minus(packed)
	for _, b := range l.k.roles {
		if b.homes[l.id] > 0 {
			left = left.Min(total.Minus(packed).Minus(l.stays(b)))
		}
	}
	return left
}

// takes reports whether the node can be home to one package more of a role.
func (l lookout) takes(b *boxes) bool {
	b.put(l.id, +1)
	ok := l.sound()
	b.put(l.id, -1)
	return ok
}

// admits reports whether one task charged so may be on the node beside the packages: in one of its own role, or where it is in
// the way of none. The second result is that a package of its role has to move here for it.
func (l lookout) admits(c lending.Charge, need resource.Vector) (ok, moves bool) {
	b := l.k.owner(c)
	l.on = append(l.on[:len(l.on):len(l.on)], booking{l.id, c, need})
	if b == nil {
		return l.soundFor(func(b *boxes) bool { return !l.k.yields(c, b) }), false
	}
	if l.own(b).Fits(b.times(b.homes[l.id])) {
		return true, false
	}
	return need.Fits(b.unit) && l.own(b).Fits(b.times(b.homes[l.id]+1)) && l.takes(b), true
}

// mayBook reports whether a task charged so may be on a node.
func (k *packages) mayBook(c lending.Charge, need resource.Vector, id placement.NodeID, but any) bool {
	if k == nil {
		return true
	}
	ok, moves := k.look(id, but).admits(c, need)
	if ok && moves {
		b := k.owner(c)
		_, spare := k.spareHome(b)
		return spare || b.housed() < b.count
	}
	return ok
}

// book books a task's place until [packages.unbook]; a package moves where it is needed for that. False changes nothing.
func (k *packages) book(c lending.Charge, need resource.Vector, id placement.NodeID, but any) bool {
	if k == nil {
		return true
	}
	if !k.mayBook(c, need, id, but) {
		return false
	}
	if _, moves := k.look(id, but).admits(c, need); moves {
		b := k.owner(c)
		if from, spare := k.spareHome(b); spare && b.housed() >= b.count {
			b.put(from, -1)
		}
		b.put(id, +1)
		k.p.c.changed(ObjectRole, "")
	}
	k.booked = append(k.booked, booking{id, c, need})
	return true
}

// unbook ends the last n bookings: they are charged by now, or not at all.
func (k *packages) unbook(n int) {
	if k != nil {
		k.booked = k.booked[:len(k.booked)-n]
	}
}

// unbookAll ends all bookings.
func (k *packages) unbookAll() {
	if k != nil {
		k.booked = nil
	}
}

// admit reports whether one start of a class, charged so, may be where it found places. A claim's own place does not count.
func (k *packages) admit(cl *class, c lending.Charge, at places, but *claim) bool {
	n := 0
	for _, id := range at.nodes {
		if k == nil || !k.book(c, cl.need, id, but) {
			break
		}
		n++
	}
	k.unbook(n)
	return k == nil || n == len(at.nodes)
}

// mayRefund reports whether a unit may be where it is with another charge.
func (p *pool) mayRefund(u *unit, c lending.Charge) bool {
	if p.packages == nil {
		return true
	}
	n := 0
	for _, t := range u.tasks {
		if !p.packages.book(c, t.need, t.node.id, u) {
			break
		}
		n++
	}
	p.packages.unbook(n)
	return n == len(u.tasks)
}

// findBeside is find where the usual choice is in the way of a package, or of a window: places for one start of a class, charged so, that
// are in the way of none. A claim whose own place it is looked for is not counted.
func (p *pool) findBeside(cl *class, c lending.Charge, but any) (out places, ok bool) {
	for range cl.count {
		id, ok := p.placeBeside(cl, c, out, but)
		if !ok {
			p.packages.unbook(len(out.nodes))
			p.give(cl, out)
			return places{}, false
		}
		ports, _ := p.take(cl, id)
		out.add(id, ports)
	}
	p.packages.unbook(len(out.nodes))
	return out, true
}

// placeBeside books the first node for one member beside those that have a place, its own role's packages before others.
func (p *pool) placeBeside(cl *class, c lending.Charge, others places, but any) (found placement.NodeID, ok bool) {
	try := func(id placement.NodeID) bool {
		beside := make(resource.Vector, len(cl.need))
		for _, o := range others.nodes {
			if o == id {
				beside.Inc(cl.need)
			}
		}
		ok = cl.need.Plus(beside).Fits(p.nodes[id].available()) && p.portsFree(cl, id) && (c.At != role.Root || p.mayBorrowAt(cl, id, beside)) &&
			p.packages.book(c, cl.need, id, but)
		found = id
		return ok
	}
	if b := p.packages.owner(c); b != nil {
		for _, id := range p.ownFirst(b, cl) {
			if try(id) {
				return found, true
			}
		}
	}
	p.index.EachFeasible(cl.compiled, func(id placement.NodeID) bool { return !try(id) })
	return found, ok
}

// ownFirst lists the homes of a role's packages that take a class, those with most begun first.
func (p *pool) ownFirst(b *boxes, cl *class) []placement.NodeID {
	ids := slices.DeleteFunc(b.nodes(), func(id placement.NodeID) bool {
		ok, why := p.index.Fits(cl.compiled, id)
		return !ok && why != placement.ReasonResources
	})
	used := func(id placement.NodeID) resource.Amount { return p.part(p.packages.look(id, nil).own(b)) }
	slices.SortStableFunc(ids, func(x, y placement.NodeID) int { return int(used(y) - used(x)) })
	return ids
}

// portsFree reports whether a node has the ports of one task free.
func (p *pool) portsFree(cl *class, id placement.NodeID) bool {
	ports, ok := p.take(cl, id)
	if ok {
		p.give(cl, place(id, ports))
	}
	return ok
}

// wholeIn reports whether a claim of one task on a role's guarantee is on one of its packages.
func wholeIn(tree *role.Tree, pool string, c lending.Charge, v role.ID) bool {
	q := tree.Roles[v].Quotas[pool]
	return q.Packages > 0 && c.Leaf == v && c.Amount.Fits(q.Unit)
}

// keepPayer keeps a unit that is booked into another tree paid as it was, where deepening its funding might put it in the way of
// packages; where they are is looked up afterwards.
func (p *pool) keepPayer(u *unit) {
	at := p.c.fundingRole(u.paidBy, u.charge.Leaf)
	if p.packages == nil || at == u.charge.At || !p.c.within(u.charge.At, at) {
		return
	}
	before := u.charge
	p.ledger.Remove(before)
	u.charge.At = at
	if p.ledger.Try(u.charge) != nil {
		u.charge = before
		p.ledger.Add(before)
	}
}

// inTheWay says that nodes have room, but for packages.
func (p *pool) inTheWay(leaf role.ID) *verdict {
	var owners []string
	for _, b := range p.packages.roles {
		if b.role != leaf {
			owners = append(owners, role.Display(b.path))
		}
	}
	own := role.Display(p.c.tree.Roles[leaf].Path)
	if len(owners) == 0 {
		return &verdict{code: "Packages", message: "there is no room for it in a package of " + own,
			next: "a task of " + own + " ends, or its guarantee covers what it needs as a quantity"}
	}
	return &verdict{code: "Packages", message: fmt.Sprintf("nodes have room, but it is kept for whole packages of %s: this would be in their way for longer than they lend",
		strings.Join(owners, ", ")), next: "something that is in nobody's package ends, or the task accepts a shorter notice"}
}
