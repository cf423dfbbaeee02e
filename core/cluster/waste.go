package cluster

import (
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
	"polder.dev/polder/core/waste"
)

// The waste book learns what changed when time goes on: whatever is touched in a step is noted once, and booked as it stands when
// the instant is over. What is noted twice, or changed back, costs nothing more.

// accounts are a pool's part of the waste book, and what is to be booked.
type accounts struct {
	book  *waste.Pool
	tree  int64 // counts the trees there were: bookings under an older one are void
	stock waste.Stock

	units   *unit // the first of a list through the units themselves: there may be many at once
	nodes   []*node
	asks    []*ask
	classes []*class
	moved   bool // the stock is to be told to the book
}

// booked is what the book has of a unit.
type booked struct {
	lease waste.Lease
	tree  int64 // zero is nothing
	noted bool
	next  *unit // of those noted
}

// shelved is what the stock has of a node.
type shelved struct {
	noted          bool
	at             waste.Reason
	capacity, idle resource.Vector // idle at that reason
	kept, free     resource.Vector // idle that is kept for claimants, and for anybody
}

// queued is what the classes have of an ask.
type queued struct {
	class *class
	count int
	noted bool
}

// wants is what the stock has of a class.
type wants struct {
	count int // instances that wait and may start, without those that have a claim
	by    waste.Reason
	need  resource.Vector
	times int // that much was booked
	noted bool
}

// Waste returns who used what since an instant, and why nobody used the rest. The zero time is since the cluster was made. What a
// report may begin with is coarse, see [waste.Book.Report]. No Step may be before now afterwards.
func (c *Cluster) Waste(since, now time.Time) waste.Report {
	c.keepBooks(now)
	return c.book.Report(since, now, c.kinds)
}

// keepBooks books what has changed until now, if time has gone on.
func (c *Cluster) keepBooks(now time.Time) {
	if c.book == nil {
		c.book = waste.NewBook(now)
	}
	if !now.After(c.now) {
		return
	}
	for _, p := range c.pools {
		p.settleAccounts()
	}
	c.book.Advance(now)
}

// retreeAccounts begins the book anew under the present tree.
func (p *pool) retreeAccounts() {
	p.accounts.book = p.c.book.Retree(p.name, p.c.tree, p.c.kinds.Len())
	p.accounts.tree++
	p.accounts.moved = true
	for _, u := range p.units {
		p.noteUnit(u)
	}
}

func (p *pool) noteUnit(u *unit) {
	switch {
	case u.booked.noted:
	case len(u.tasks) == 0: // it is over, and at hand only now
		p.bookUnit(u)
	default:
		u.booked.noted, u.booked.next = true, p.accounts.units
		p.accounts.units = u
	}
}

func (p *pool) noteNode(n *node) {
	if !n.shelved.noted {
		n.shelved.noted = true
		p.accounts.nodes = append(p.accounts.nodes, n)
	}
}

func (a *ask) note() {
	if p := a.class.pool; !a.backlog.noted {
		a.backlog.noted = true
		p.noted = append(p.noted, a)
	}
	if !a.queued.noted {
		a.queued.noted = true
		at := &a.class.pool.accounts
		at.asks = append(at.asks, a)
	}
}

func (cl *class) note() {
	if !cl.wants.noted {
		cl.wants.noted = true
		at := &cl.pool.accounts
		at.classes = append(at.classes, cl)
	}
}

// settleAccounts books everything noted as it stands now.
func (p *pool) settleAccounts() {
	a := &p.accounts
	for u := a.units; u != nil; {
		next := u.booked.next
		p.bookUnit(u)
		u = next
	}
	for _, n := range a.nodes {
		if n.pool == p {
			p.shelve(n)
		}
	}
	for _, x := range a.asks {
		p.queueUp(x)
	}
	for _, cl := range a.classes {
		p.bookClass(cl)
	}
	a.units, a.nodes, a.asks, a.classes = nil, a.nodes[:0], a.asks[:0], a.classes[:0]
	if a.moved {
		a.moved = false
		a.book.Restock(&a.stock)
	}
}

func (p *pool) bookUnit(u *unit) {
	b, a := &u.booked, &p.accounts
	if b.tree == a.tree {
		a.book.End(b.lease)
	}
	*b = booked{}
	if len(u.tasks) == 0 {
		return
	}
	l := waste.Lease{Leaf: u.charge.Leaf, Payer: u.charge.At, Amount: u.charge.Amount}
	if u.leaving {
		l.Payer = role.Root
	}
	for _, t := range u.tasks {
		switch {
		case t.state != Starting:
		case l.Starting == nil:
			l.Starting = t.need
		default:
			l.Starting = l.Starting.Plus(t.need)
		}
	}
	a.book.Begin(l)
	*b = booked{lease: l, tree: a.tree}
}

// shelve brings what the stock has of a node up to date.
func (p *pool) shelve(n *node) {
	p.stock(&n.shelved, -1)
	n.share(&n.shelved)
	p.stock(&n.shelved, +1)
}

// unshelve takes a node out of the stock.
func (p *pool) unshelve(n *node) {
	p.stock(&n.shelved, -1)
	n.shelved = shelved{}
}

// stock adds what a node has to the stock, or takes it away.
func (p *pool) stock(n *shelved, sign int) {
	s := &p.accounts.stock
	adjust(&s.Capacity, n.capacity, sign)
	adjust(&s.Free, n.free, sign)
	adjust(&s.Idle[waste.Earmarked], n.kept, sign)
	adjust(&s.Idle[n.at], n.idle, sign)
	p.accounts.moved = true
}

// adjust adds what somebody has to a sum that may be shorter, or takes it away.
func adjust(sum *resource.Vector, have resource.Vector, sign int) {
	if len(*sum) < len(have) {
		*sum = sum.Clone(len(have))
	}
	if sign > 0 {
		sum.Inc(have)
	} else {
		sum.Dec(have)
	}
}

// share works out what a node has for the stock, in the vectors of the last time.
func (n *node) share(s *shelved) {
	s.noted = false
	var available resource.Vector
	switch {
	case !n.reachable:
		s.at = waste.Unreachable
	case n.Draining != nil:
		s.at = waste.Draining
	case n.Cordoned:
		s.at = waste.Cordoned
	default:
		s.at = 0
		available = n.pool.index.Available(n.id) // what may be placed there, as of when the node was last touched
	}
	for i := range n.total {
		s.capacity[i] = max(n.total[i], n.used.At(i))
		idle := s.capacity[i] - n.used.At(i)
		s.idle[i], s.kept[i], s.free[i] = idle, 0, 0
		if available != nil {
			s.free[i] = min(available.At(i), idle)
			s.idle[i], s.kept[i] = 0, idle-s.free[i]
		}
	}
}

// queueUp brings what a class has of an ask up to date.
func (p *pool) queueUp(a *ask) {
	old, now := a.queued, queued{class: a.class}
	if a.waits {
		now.count = max(0, a.readyCount(p.c.now)-a.claims*a.class.count)
	}
	a.queued = now
	if old.class != nil && old.count > 0 {
		old.class.wants.count -= old.count
		old.class.note()
	}
	if now.count > 0 {
		now.class.wants.count += now.count
		now.class.note()
	}
}

// bookClass brings what the stock has of a class up to date.
func (p *pool) bookClass(cl *class) {
	w, s := &cl.wants, &p.accounts.stock
	for i, need := range w.need {
		s.Wanted[w.by][i] = s.Wanted[w.by][i].Minus(waste.Over(need, time.Duration(w.times)))
	}
	w.noted, w.need, w.times, w.by = false, cl.need, w.count, cl.heldUp()
	if short := len(w.need) - len(s.Wanted[w.by]); short > 0 {
		s.Wanted[w.by] = append(s.Wanted[w.by], make([]waste.Quantity, short)...)
	}
	for i, need := range w.need {
		s.Wanted[w.by][i] = s.Wanted[w.by][i].Plus(waste.Over(need, time.Duration(w.times)))
	}
	p.accounts.moved = true
}

// heldUp is what kept a class from what is free when it was last looked at.
func (cl *class) heldUp() waste.Reason {
	v := cl.refusal
	if v == nil {
		return waste.Undecided
	}
	switch lending.Rule(v.code) {
	case lending.RuleLimit, lending.RuleBorrow, lending.RuleGuarantee:
		return waste.OverBound
	case lending.RuleHold:
		return v.unlent
	}
	if v.code == "Lead" {
		return waste.HoldTooLong
	}
	return waste.NoFit
}

// unlent is why a market does not lend what a charge needs of it.
func (p *pool) unlent(r *lending.Refusal) waste.Reason {
	free, warm, kept := p.ledger.Untaken(r.Role, r.Kind)
	switch {
	case r.Need <= free:
		return waste.HoldTooLong
	case r.Need <= free+warm:
		return waste.Warm
	case r.Need <= free+warm+kept:
		return waste.NotLent
	}
	return waste.NoFit
}
