package cluster

import (
	"cmp"
	"slices"
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// deepen moves borrowed units to deeper funding where guarantees became free, deepest roles first.
func (p *pool) deepen() {
	if len(p.paid) == 0 {
		return
	}
	tree := p.c.tree
	var roles []role.ID
	for id := range p.paid {
		roles = append(roles, id)
	}
	clear(p.paid)
	slices.SortFunc(roles, func(a, b role.ID) int {
		return cmp.Or(cmp.Compare(tree.Roles[b].Depth, tree.Roles[a].Depth), cmp.Compare(a, b))
	})
	for _, v := range roles {
		if v != role.Root && !p.ledger.Idle(v).IsZero() {
			p.deepenTo(v)
		}
	}
	clear(p.paid) // deepening frees shallower levels only, and those were looked at after
}

// deepenTo moves what it can of v's subtree to v's guarantee: more important first, then older.
func (p *pool) deepenTo(v role.ID) {
	var us []*unit
	room, last, from := depth{to: v, ledger: p.ledger}, p.c.lastOf(v), v
	for f := p.c.tree.Roles[v].Parent; f != role.None; f = p.c.tree.Roles[f].Parent {
		if len(us) == 0 {
			from = f // what moves makes room at who pays for it now and above, for others to move; below there is only less
		}
		p.funded.each(f, v, last, func(u *unit) {
			if room.has(&u.charge, from) {
				us = append(us, u)
			}
		})
	}
	slices.SortFunc(us, func(a, b *unit) int {
		return cmp.Or(cmp.Compare(b.tasks[0].shape.Priority, a.tasks[0].shape.Priority), cmp.Compare(a.seq, b.seq))
	})
	for _, u := range us {
		if !room.has(&u.charge, u.charge.At) {
			continue
		}
		if moved, ok := p.ledger.TryRefund(u.charge, v); ok && !p.mayRefund(u, moved) {
			p.ledger.Refund(moved, u.charge.At)
		} else if ok {
			p.refund(u, moved)
		}
	}
}

// depth is how much a role could take over from those above it, as long as the book stays as it is. Most of what is borrowed below a role
// cannot be paid for deeper, and mostly because of what others have borrowed: to find that out once for all of the same payer and hold is
// cheaper than to try each.
type depth struct {
	to      role.ID
	ledger  *lending.Ledger
	version uint64 // of the ledger
	known   []most
}

// most is the most that a role could take over of what is paid for with a hold at another, or above it.
type most struct {
	from   role.ID
	hold   time.Duration
	amount resource.Vector
}

// has reports whether there may be room for a charge at the role and at those between it and another.
func (d *depth) has(c *lending.Charge, from role.ID) bool {
	if v := d.ledger.Version(); d.version != v {
		d.version, d.known = v, d.known[:0]
	}
	for i := range d.known {
		if m := &d.known[i]; m.hold == c.Hold && m.from == from {
			return c.Amount.Fits(m.amount)
		}
	}
	m := most{from, c.Hold, make(resource.Vector, d.ledger.Kinds())}
	d.ledger.Refundable(c.Hold, from, d.to, m.amount)
	for i, idle := range d.ledger.Idle(d.to) {
		m.amount[i] = min(m.amount[i], idle)
	}
	d.known = append(d.known, m)
	return c.Amount.Fits(m.amount)
}
