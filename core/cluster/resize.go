package cluster

import (
	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// resize makes a running lease larger or smaller. Less is free at once. More is taken of what is idle on its node, as a commit
// takes it, and is paid by whoever pays for the lease: no lease becomes a borrowed one while it runs.
func (c *Cluster) resize(e Resize) error {
	t := c.task(e.Task)
	if t == nil {
		return noTask(e.Task)
	}
	more, less, err := c.difference(t, e.Resources)
	if err != nil {
		return err
	}
	if more.IsZero() && less.IsZero() {
		return nil
	}
	if err := t.mayResize(!more.IsZero()); err != nil {
		return err
	}
	if t.shape.carved() {
		return c.resizeCarved(t, more, less)
	}
	if t.reserves() {
		if x := c.carved[t.id]; !x.Fits(t.need.Minus(less)) {
			return refuse("ReservationInUse", "end what uses it first", "reservation %s cannot become smaller than the %s that are carved out of it", t.id,
				x.Text(c.kinds, t.unit.pool.name))
		}
	}
	if t.volume() && !more.IsZero() {
		if r := c.roomForVolume(t.role, t.shape, t.need.Plus(more).Minus(less).Resources(c.kinds, ""), t); r != nil {
			return r
		}
	}
	if !more.IsZero() {
		if err := c.grow(t, more); err != nil {
			return err
		}
		if t.reserves() {
			t.unit.pool.opened() // for what waits to be carved out of it
		}
	}
	if !less.IsZero() {
		c.shrink(t, less)
	}
	c.happened("TaskResized", t.id, t.role, t.node.Name, "%s goes on with %s", t.id, t.need.Text(c.kinds, t.unit.pool.name))
	if t.unit.leaving && t.unit.mayStay() && t.unit.pool.stay(t.unit) {
		c.takeBack(t.unit, "what is left of it is small enough")
	}
	return nil
}

// difference is what a lease must gain and lose to hold the amounts given. Kinds that are not named stay as they are.
func (c *Cluster) difference(t *task, wanted resource.Resources) (more, less resource.Vector, err error) {
	want := t.holds().Clone(c.kinds.Len())
	for _, name := range wanted.Names() {
		kind, ok := c.kinds.Lookup(name)
		if !ok || wanted[name] < 0 || wanted[name] > maxAmount {
			return nil, nil, refuse("InvalidArgument", "name amounts of kinds that nodes have", "task %s: no lease can hold %s=%s", t.id, name,
				resource.FormatValue(name, wanted[name]))
		}
		want[kind] = wanted[name]
	}
	if want.IsZero() {
		return nil, nil, refuse("InvalidArgument", "stop the task instead", "task %s cannot go on with nothing", t.id)
	}
	more, less = want.Minus(t.holds()), t.holds().Minus(want)
	none := make(resource.Vector, len(want))
	return more.Max(none), less.Max(none), nil
}

// mayResize says why a lease must stay as it is.
func (t *task) mayResize(larger bool) error {
	switch {
	case t.gang:
		return refuse("InvalidArgument", "stop the gang and ask for another one", "task %s is one of a gang, which has one size", t.id)
	case t.state == Stopping:
		return refuse("Stopping", "start it again with the new size", "task %s is being stopped", t.id)
	case !t.node.reachable:
		return refuse("Unreachable", "wait until its node is back", "task %s: node %s does not answer", t.id, t.node.Name)
	case larger && t.notice != nil:
		return refuse("UnderNotice", "make it smaller, or wait whether it may stay", "task %s is asked to leave for %s; it cannot become larger", t.id, t.notice.Claimant)
	}
	return nil
}

// grow adds an amount to a running lease everywhere it is booked, or changes nothing and says why.
func (c *Cluster) grow(t *task, more resource.Vector) error {
	u, p := t.unit, t.unit.pool
	if r := p.ledger.Room(u.charge.Leaf, more); r != nil {
		return c.tooLarge(t, r)
	}
	if !more.Fits(t.node.available()) {
		return refuse("Resources", "something on it ends, or the task starts again elsewhere", "task %s cannot become larger: it needs %s more, node %s has %s to spare",
			t.id, more.Text(c.kinds, p.name), t.node.Name, t.node.available().Text(c.kinds, p.name))
	}
	larger := u.charge
	larger.Amount = larger.Amount.Plus(more)
	p.ledger.Remove(u.charge)
	if r := p.ledger.Try(larger); r != nil {
		p.ledger.Add(u.charge)
		return c.tooLarge(t, r)
	}
	if !p.packages.book(larger, t.need.Plus(more), t.node.id, u) {
		p.ledger.Remove(larger)
		p.ledger.Add(u.charge)
		v := p.inTheWay(larger.Leaf)
		return refuse(v.code, v.next, "task %s cannot become larger: %s", t.id, v.message)
	}
	p.packages.unbook(1)
	u.charge = larger
	t.need = t.need.Plus(more)
	p.noteUnit(u)
	p.recount(u)
	p.ledger.Occupy(u.charge.Leaf, more)
	t.node.used.Inc(more)
	t.node.refresh()
	c.emit(ResizeTask{t.node.Name, t.id, t.need.Resources(c.kinds, p.name)}, SaveTask{t.id})
	c.changed(ObjectTask, t.id)
	c.changed(ObjectRole, "")
	return nil
}

// tooLarge is a ledger's objection to more for a running lease.
func (c *Cluster) tooLarge(t *task, r *lending.Refusal) error {
	p, at := t.unit.pool, t.unit.charge.At
	name := resource.JoinName(p.name, c.kinds.Name(r.Kind))
	switch {
	case at == role.Root || r.Rule != lending.RuleHold && r.Rule != lending.RuleGuarantee:
	case r.Role == at:
		return refuse(string(lending.RuleGuarantee), "a task that it pays for ends, the guarantee is raised, or the task starts again as a borrower",
			"task %s cannot become larger: the guarantee of %s, which pays for it, would have to cover %s=%s and can cover %s; a running lease does not become a borrowed one",
			t.id, c.fundingName(at), name, resource.FormatValue(name, r.Need), resource.FormatValue(name, r.Have))
	default:
		return refuse(string(r.Rule), "borrowers end, or the task starts again: then they are asked back",
			"task %s cannot become larger: the guarantee of %s covers it, but that much %s is lent now", t.id, c.fundingName(at), name)
	}
	v := c.refused(p, nil, r)
	return refuse(v.code, v.next, "task %s cannot become larger: %s", t.id, v.message)
}

// syncSize tells an agent what a lease holds when it has heard something else: commands to a node that is away are lost.
func (c *Cluster) syncSize(n *node, task string, told resource.Resources) {
	t := c.task(task)
	if t == nil || t.node != n || amountsOf(told).Vector(c.kinds, "").Equal(t.holds()) {
		return
	}
	c.emit(ResizeTask{n.Name, t.id, t.holds().Resources(c.kinds, t.unit.pool.name)})
}
