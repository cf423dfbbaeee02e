package waste

import (
	"time"

	"polder.dev/polder/core/role"
)

// Account is one row: what a role and everything below it had of one resource over a time, and what became of it.
// Guarantee + Borrowed = Used + Lent + the sum of Idle. The root's guarantee is the capacity, and what is Missing of it.
type Account struct {
	Guarantee Quantity
	Borrowed  Quantity
	Used      Quantity
	Lent      Quantity
	Idle      [reasons]Quantity
}

// Has is the row's left side: what there was to use.
func (a *Account) Has() Quantity { return a.Guarantee.Plus(a.Borrowed) }

// Spent is the row's right side: what became of it.
func (a *Account) Spent() Quantity { return a.Used.Plus(a.Lent).Plus(a.Idled()) }

// Idled is the sum of Idle.
func (a *Account) Idled() Quantity {
	var sum Quantity
	for _, q := range a.Idle {
		sum = sum.Plus(q)
	}
	return sum
}

// Add adds another row to a.
func (a *Account) Add(b *Account) {
	a.Guarantee, a.Borrowed = a.Guarantee.Plus(b.Guarantee), a.Borrowed.Plus(b.Borrowed)
	a.Used, a.Lent = a.Used.Plus(b.Used), a.Lent.Plus(b.Lent)
	for i, q := range b.Idle {
		a.Idle[i] = a.Idle[i].Plus(q)
	}
}

// less returns a without what an older state of the same row had.
func (a Account) less(old Account) Account {
	a.Guarantee, a.Borrowed = a.Guarantee.Minus(old.Guarantee), a.Borrowed.Minus(old.Borrowed)
	a.Used, a.Lent = a.Used.Minus(old.Used), a.Lent.Minus(old.Lent)
	for i, q := range old.Idle {
		a.Idle[i] = a.Idle[i].Minus(q)
	}
	return a
}

// closing divides what one kind of resource did in the interval of a pool among its roles. Slices are by role.
type closing struct {
	*Pool
	kind      int
	lasted    time.Duration
	guarantee []Quantity
	held      []Quantity // by leases
	starting  []Quantity // of held, whose tasks do not run yet
	own       []Quantity // of held, paid for inside
	lent      []Quantity
	left      []Quantity // of what the role has promised to no child: used by nobody
	column    []Quantity // what is idle for one reason
	shares    []Quantity
}

// divide adds to each role's row what one kind did in the interval.
func (p *Pool) divide(kind int, rows []Account) {
	n := len(p.tree.Roles)
	all := make([]Quantity, 8*n)
	take := func() []Quantity {
		s := all[:n]
		all = all[n:]
		return s
	}
	c := &closing{Pool: p, kind: kind, lasted: p.length(), guarantee: take(), held: take(), starting: take(), own: take(), lent: take(), left: take(),
		column: take(), shares: take()}
	c.sumUp(p.used, c.held)
	c.sumUp(p.starting, c.starting)
	c.sumUp(p.paid, c.own)
	for id := range c.guarantee {
		c.guarantee[id] = Over(p.quotas[id].Guarantee.At(kind), c.lasted)
		c.own[id] = least(c.own[id], c.guarantee[id])
	}
	c.guarantee[role.Root] = c.stock[capacity].at(kind).Plus(c.stock[missing].at(kind))
	c.own[role.Root] = c.held[role.Root]
	for id := range p.tree.Roles {
		c.lend(role.ID(id))
	}
	c.fill(rows)
	c.blame(rows)
}

// sumUp turns what was metered at single roles into sums over subtrees.
func (c *closing) sumUp(ms []meter, out []Quantity) {
	for id := range ms {
		out[id] = ms[id].at(c.kind)
	}
	c.fold(out)
}

// fold adds every role's figure to those of all roles above it.
func (c *closing) fold(column []Quantity) {
	for id := len(column) - 1; id > 0; id-- {
		if up := c.tree.Roles[id].Parent; !column[id].IsZero() {
			column[up] = column[up].Plus(column[id])
		}
	}
}

// lend finds out who lent what was borrowed in the market of a role, and what it lent on itself: the part promised to no child
// comes first.
func (c *closing) lend(id role.ID) {
	kids := c.tree.Roles[id].Children
	private, taken := c.guarantee[id], c.own[id].Plus(c.lent[id])
	for _, kid := range kids {
		private, taken = private.Minus(c.guarantee[kid]), taken.Minus(c.own[kid])
	}
	first := least(private, taken)
	c.left[id] = private.Minus(first)
	rest := taken.Minus(first)
	for _, most := range []func(role.ID) Quantity{c.offered, c.idle} {
		rest = spread(rest, c.shares[:len(kids)], func(i int) Quantity { return most(kids[i]) },
			func(i int, q Quantity) { c.lent[kids[i]] = c.lent[kids[i]].Plus(q) })
	}
}

// idle is what a role's guarantee did not pay for inside, less what is known to be lent.
func (c *closing) idle(id role.ID) Quantity {
	return c.guarantee[id].Minus(c.own[id]).Minus(c.lent[id])
}

// offered is the part of it that the role lends.
func (c *closing) offered(id role.ID) Quantity {
	q := &c.quotas[id]
	return least(Over(q.Lend.At(c.kind), c.lasted), c.idle(id).Minus(Over(q.Warm.At(c.kind), c.lasted)))
}

// fill adds everything but what was idle, and what had not begun, to the rows.
func (c *closing) fill(rows []Account) {
	for id := range rows {
		a := &rows[id]
		a.Guarantee, a.Lent = a.Guarantee.Plus(c.guarantee[id]), a.Lent.Plus(c.lent[id])
		a.Borrowed = a.Borrowed.Plus(c.held[id].Minus(c.own[id]))
		a.Used = a.Used.Plus(c.held[id].Minus(c.starting[id]))
		a.Idle[Starting] = a.Idle[Starting].Plus(c.starting[id])
	}
}

// blame divides what was idle, reason by reason, among the roles whose guarantee was. What nobody is known to have kept idle is
// what nobody wanted.
func (c *closing) blame(rows []Account) {
	for r := range NoDemand {
		total := c.stock[r].at(c.kind)
		switch r {
		case NotLent:
			total = c.assign(total, c.heldBack(func(q *role.Quota) bool { return q.Lend.At(c.kind) < q.Guarantee.At(c.kind) }))
		case Warm:
			total = c.assign(total, c.heldBack(func(q *role.Quota) bool { return q.Warm.At(c.kind) > 0 }))
		}
		c.assign(total, nil)
		c.post(rows, r)
	}
	c.assign(c.stock[missing].at(c.kind), nil)
	c.post(rows, Missing)
	c.column, c.left = c.left, nil
	c.post(rows, NoDemand)
}

// assign divides an idle quantity among the roles with something left, of a set if one is given, and returns what is too much.
func (c *closing) assign(total Quantity, among []bool) Quantity {
	return spread(total, c.shares, func(i int) Quantity {
		if among != nil && !among[i] {
			return Quantity{}
		}
		return c.left[i]
	}, func(i int, q Quantity) {
		c.left[i] = c.left[i].Minus(q)
		c.column[i] = c.column[i].Plus(q)
	})
}

// heldBack marks the roles that keep something back, themselves or with a role above.
func (c *closing) heldBack(does func(*role.Quota) bool) []bool {
	out := make([]bool, len(c.left))
	for id := range out[1:] {
		out[id+1] = out[c.tree.Roles[id+1].Parent] || does(&c.quotas[id+1])
	}
	return out
}

// post adds the column to the rows under a reason.
func (c *closing) post(rows []Account, r Reason) {
	c.fold(c.column)
	for id, q := range c.column {
		if !q.IsZero() {
			rows[id].Idle[r] = rows[id].Idle[r].Plus(q)
		}
	}
	clear(c.column)
}

// spread divides a total among takers in proportion to what each can take, and returns what they cannot. Fractions go to the first
// who can. The shares are a place to work, one for each.
func spread(total Quantity, shares []Quantity, most func(int) Quantity, take func(int, Quantity)) Quantity {
	if total.IsZero() {
		return total
	}
	var all Quantity
	for i := range shares {
		shares[i] = most(i)
		all = all.Plus(shares[i])
	}
	if all.IsZero() {
		return total
	}
	given := least(total, all)
	rest := given
	for i, can := range shares {
		if can.IsZero() {
			continue
		}
		share := least(given.part(can, all), can)
		rest = rest.Minus(share)
		shares[i] = can.Minus(share)
		take(i, share)
	}
	for i := 0; !rest.IsZero() && i < len(shares); i++ {
		more := least(rest, shares[i])
		rest = rest.Minus(more)
		take(i, more)
	}
	return total.Minus(given)
}
