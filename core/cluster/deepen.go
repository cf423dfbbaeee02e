package cluster

import (
	"cmp"
	"slices"
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// relieved takes the roles that may have guarantee free since units were last deepened, the deepest first.
func (p *pool) relieved() []role.ID {
	var roles []role.ID
	for id := range p.paid {
		if id != role.Root {
			roles = append(roles, id)
		}
	}
	clear(p.paid)
	slices.SortFunc(roles, func(a, b role.ID) int {
		return cmp.Or(cmp.Compare(p.c.tree.Roles[b].Depth, p.c.tree.Roles[a].Depth), cmp.Compare(a, b))
	})
	return roles
}

// deepen moves borrowed units to the funding of some roles, all those above them to come: it frees levels above only.
func (p *pool) deepen(roles []role.ID) {
	paid := p.paid
	p.paid = map[role.ID]struct{}{}
	for _, v := range roles {
		p.deepenTo(v)
	}
	p.paid = paid
}

// deepenTo moves what it can of v's subtree to v's guarantee: more important first, then older.
func (p *pool) deepenTo(v role.ID) {
	if p.ledger.Idle(v).IsZero() {
		return
	}
	room := depth{to: v, ledger: p.ledger}
	next := p.mayDeepen(v, &room)
	var stuck []*queue // of whom nobody can move before somebody else has
	for len(next.items) > 0 {
		q := next.pop()
		u := q.first()
		moved, ok := u.charge, room.has(&u.charge, u.charge.At)
		if ok {
			moved, ok = p.ledger.TryRefund(u.charge, v)
		}
		switch {
		case !ok:
			stuck = append(stuck, q)
			continue
		case !p.mayRefund(u, moved):
			p.ledger.Refund(moved, u.charge.At)
			q.pass() // its kin are on other nodes
		default:
			p.refund(u, moved)
			q.gone()
			stuck = slices.DeleteFunc(stuck, func(s *queue) bool { return s.resume(u, &room, &next) })
		}
		if q.first() != nil {
			next.push(q)
		}
	}
}

// mayDeepen lists whom v could pay for if nobody else moved.
func (p *pool) mayDeepen(v role.ID, room *depth) pile[*queue] {
	next := pile[*queue]{less: (*queue).before}
	last, from := p.c.lastOf(v), v
	for f := p.c.tree.Roles[v].Parent; f != role.None; f = p.c.tree.Roles[f].Parent {
		if len(next.items) == 0 {
			from = f // what moves makes room at who pays for it now and above, for others to move; below there is only less
		}
		for _, x := range p.elders.in(f, v, last) {
			if room.has(&x.kin.units[0].unit.charge, from) {
				next.push(&queue{kin: x.kin})
			}
		}
	}
	return next
}

// resume queues those again that come after a unit that moved, if they may have room now; false when they have none.
func (q *queue) resume(moved *unit, room *depth, next *pile[*queue]) bool {
	if c := &q.first().charge; !room.has(c, c.At) {
		return false
	}
	if q.passTo(moved.priority(), moved.seq); q.first() != nil {
		next.push(q)
	}
	return true
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
