package cluster

import (
	"slices"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// waiting is what a pool knows of one leaf: what waits there, and whether anything of it has changed.
type waiting struct {
	classes []*class // in no order
	stirred bool     // something began, ended, waits or is charged otherwise since the last decision weighed it
	stirs   int64    // of a branch of the tree: rises with each time something in it is
	hungry  hungry   // for one walk over what waits
}

// backlog is what of an ask is counted in a class.
type backlog struct {
	class *class
	count int
	noted bool
}

// stir notes that what runs or waits in a leaf, or who pays for it, may have changed.
func (p *pool) stir(leaf role.ID) {
	p.stirrings++
	p.waiting[p.c.branchOf(leaf)].stirs = p.stirrings
	if w := &p.waiting[leaf]; !w.stirred {
		w.stirred = true
		p.stirred = append(p.stirred, leaf)
	}
}

// weigh computes demand and entitlement: only where something has changed since it last did.
func (p *pool) weigh() {
	if p.shares == nil {
		p.shares = lending.NewDue(p.ledger)
		for id := range p.waiting {
			p.stir(role.ID(id))
		}
	}
	p.countBacklogs()
	for _, leaf := range p.stirred {
		p.waiting[leaf].stirred = false
		p.shares.Want(leaf, p.wanted(leaf))
	}
	p.stirred = p.stirred[:0]
	p.shares.Settle()
}

// wanted is what runs and what waits in a leaf.
func (p *pool) wanted(leaf role.ID) resource.Vector {
	if len(p.c.tree.Roles[leaf].Children) > 0 {
		return nil
	}
	sum := p.ledger.Used(leaf).Clone(p.ledger.Kinds())
	for _, cl := range p.waiting[leaf].classes {
		for i, x := range cl.need {
			sum[i] = sum[i].Add(x.MulDiv(int64(cl.backlog), 1))
		}
	}
	return sum
}

// countBacklogs brings up to date how much waits of each class.
func (p *pool) countBacklogs() {
	for _, a := range p.noted {
		old, now := a.backlog, backlog{class: a.class}
		if a.waits {
			now.count = a.waiting()
		}
		a.backlog = now
		for _, b := range []backlog{{class: old.class, count: -old.count}, now} {
			if b.class == nil || b.count == 0 {
				continue
			}
			if b.class.backlog += b.count; len(b.class.asks) > 0 {
				p.stir(b.class.leaf)
			}
		}
	}
	clear(p.noted)
	p.noted = p.noted[:0]
}

// enqueue puts a class in the queue.
func (p *pool) enqueue(cl *class) {
	p.queue.join(cl)
	w := &p.waiting[cl.leaf]
	w.classes = append(w.classes, cl)
	if cl.shape.Pinned {
		p.pinned++
	}
	p.stir(cl.leaf)
}

// dequeue takes a class out of the queue.
func (p *pool) dequeue(cl *class) {
	p.queue.leave(cl)
	w := &p.waiting[cl.leaf]
	i := slices.Index(w.classes, cl)
	w.classes = slices.Delete(w.classes, i, i+1)
	if cl.shape.Pinned {
		p.pinned--
	}
	p.stir(cl.leaf)
}

// rewait enters what waits under the leaves of a tree that is new.
func (p *pool) rewait() {
	for cl := range p.queue.all() {
		w := &p.waiting[cl.leaf]
		w.classes = append(w.classes, cl)
	}
}
