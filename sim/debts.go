package sim

import (
	"slices"
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// This file judges T (I3) start by start: what a role owes is as many starts as wait, find room in what the role is promised whatever others
// lend, and have no excuse. Each has a clock of its own, and whatever starts in the role stops the oldest.

// debts are the clocks of what a role owes, the oldest first.
type debts struct {
	clocks []debt
	claims int    // of them, those the leader keeps places for
	paid   int    // stopped since they were last looked at
	credit []dose // of the last that was stopped: the rest of a gang pays for itself
}

// debt is one start that is owed.
type debt struct {
	since  int64
	ask    string
	amount []dose
	told   bool // it has been counted as longer than T
}

// pay stops the clocks that something which starts in the role accounts for: as many as make up its amount.
func (d *debts) pay(amount []dose) {
	for len(d.clocks) > 0 && !spend(&d.credit, amount) {
		for _, a := range d.clocks[0].amount {
			if i := slices.IndexFunc(d.credit, func(c dose) bool { return c.dim == a.dim }); i >= 0 {
				d.credit[i].is += a.is
			} else {
				d.credit = append(d.credit, a)
			}
		}
		d.clocks = slices.Delete(d.clocks, 0, 1)
		d.paid++
	}
}

// spend takes an amount off a credit; false when it is not enough.
func spend(credit *[]dose, amount []dose) bool {
	left := slices.Clone(*credit)
	for _, a := range amount {
		i := slices.IndexFunc(left, func(c dose) bool { return c.dim == a.dim })
		if i < 0 || left[i].is < a.is {
			return false
		}
		left[i].is -= a.is
	}
	*credit = left
	return true
}

// become makes the clocks those of what is owed now, of which so many have claims. Where fewer are owed than before and nothing started,
// what is not owed any more is the youngest; but a claim that is lost may be the oldest.
func (d *debts) become(owed []debt, claims int, now int64) {
	if over := len(d.clocks) - len(owed); over > 0 {
		lost := min(over, max(0, d.claims-claims-d.paid))
		d.clocks = d.clocks[lost:]
		d.clocks = d.clocks[:len(d.clocks)-(over-lost)]
	}
	for i := range owed {
		if i < len(d.clocks) {
			owed[i].since, owed[i].told = d.clocks[i].since, d.clocks[i].told
		} else {
			owed[i].since = now
		}
	}
	*d = debts{clocks: owed, claims: claims}
}

// pays stops clocks for a lease that starts: of every role on its path to who pays for it.
func (b *books) pays(l *lease) {
	for id := l.leaf; id > role.Root; id = b.roles[id].parent {
		b.roles[id].debts.pay(l.amount)
		if id == l.at {
			break
		}
	}
}

// owe looks at what every role owes now, and blames who owes something for longer than its T.
func (b *books) owe(now int64) {
	e := newTally(b)
	e.reserve(b.c.Claims())
	for _, id := range b.line {
		if q := b.asks[id]; q.waiting > 0 && b.shortAbove(q.leaf) {
			e.wait(id, q)
		}
	}
	for id, a := range b.roles {
		a.debts.become(e.owed[id], e.claims[id], now)
		for i := range a.debts.clocks {
			b.blame(a, &a.debts.clocks[i])
		}
	}
}

// blame counts a start that has been owed for longer than T with every machine there and answering.
func (b *books) blame(a *account, d *debt) {
	if d.told || max(d.since, b.excusedAt) >= b.now-int64(a.bound+b.slow) {
		return
	}
	d.told = true
	a.short.beyond++
	v, _ := b.c.Ask(d.ask)
	b.violated("I3: %s owes %s a start for more than %s, since %s: %s", role.Display(a.path), d.ask, a.bound, time.Duration(d.since), v.Reason.Message)
}

// shortAbove reports whether a role or one above it has less than what is covered.
func (b *books) shortAbove(id role.ID) bool {
	for ; id > role.Root; id = b.roles[id].parent {
		if b.roles[id].isShort() {
			return true
		}
	}
	return false
}

// tally is one look at what is owed: what waits takes its room one after the other.
type tally struct {
	*books
	owed     [][]debt            // by role
	claims   []int               // of them, by role
	charged  [][]resource.Amount // by role: what is waited for inside of it and paid for by it or above
	crossing [][]resource.Amount // and of it, paid for above
	has      map[string]int      // claims, by ask
	kept     map[string][]resource.Amount
}

func newTally(b *books) *tally {
	n := len(b.roles)
	e := &tally{books: b, owed: make([][]debt, n), claims: make([]int, n), charged: make([][]resource.Amount, n), crossing: make([][]resource.Amount, n),
		has: map[string]int{}, kept: map[string][]resource.Amount{}}
	for id := range n {
		e.charged[id], e.crossing[id] = make([]resource.Amount, len(b.dims)), make([]resource.Amount, len(b.dims))
	}
	return e
}

// reserve enters the starts that the leader keeps places for: they are owed like any other, as far as their payers have room for them.
func (e *tally) reserve(claims []cluster.ClaimView) {
	for _, k := range claims {
		q := e.asks[k.Ask]
		if q == nil {
			continue
		}
		e.has[k.Ask]++
		at := e.payer(k.Funding, q.leaf)
		if e.room(at, q) && e.maySoon(q, at) {
			e.owed[at] = append(e.owed[at], debt{ask: k.Ask, amount: q.start()})
			e.claims[at]++
		}
		e.charge(q, at)
		for _, node := range k.Nodes {
			if e.kept[node] == nil {
				e.kept[node] = make([]resource.Amount, len(e.dims))
			}
			for _, d := range q.amount {
				e.kept[node][d.dim] += d.is
			}
		}
	}
}

// wait enters what waits of an ask and has no claim, until nobody owes the next start of it or that has an excuse.
func (e *tally) wait(id string, q *queue) {
	for range q.ready(e.time())/q.gang - e.has[id] {
		v := e.owes(q)
		if v == role.None || !e.maySoon(q, v) || e.excused(id, q, v) {
			return
		}
		e.owed[v] = append(e.owed[v], debt{ask: id, amount: q.start()})
		e.charge(q, v)
	}
}

// charge books a start that waits.
func (e *tally) charge(q *queue, at role.ID) {
	for id := q.leaf; id > role.Root; id = e.roles[id].parent {
		for _, d := range q.start() {
			e.charged[id][d.dim] += d.is
			if id != at {
				e.crossing[id][d.dim] += d.is
			}
		}
		if id == at {
			return
		}
	}
}

// owes returns the role that owes the next start of an ask: the ask's own, if its guarantee is enough for it, or one above whose private part
// is; none if there is no such role. What siblings would have to lend is not owed; what may not borrow is owed by its own role only.
func (e *tally) owes(q *queue) role.ID {
	for id := q.leaf; id > role.Root; id = e.roles[id].parent {
		if e.room(id, q) {
			return id
		}
		if q.pinned || !e.mayCross(id, q) {
			break
		}
	}
	return role.None
}

// room reports whether what a role has promised to no child, or a leaf its whole guarantee, is enough for one start of an ask more.
func (e *tally) room(id role.ID, q *queue) bool {
	return id > role.Root && !slices.ContainsFunc(q.start(), func(d dose) bool {
		held := e.roles[id].used[d.dim] + e.charged[id][d.dim]
		for _, c := range e.tree.Roles[id].Children {
			held -= e.roles[c].funded[d.dim] // a task is paid for by one role, so a small guarantee below may pay for nothing
		}
		return held+d.is > e.roles[id].private[d.dim]
	})
}

// mayCross is the inflow rule: whether one start of an ask more in a role may be paid for above it.
func (e *tally) mayCross(id role.ID, q *queue) bool {
	a := e.roles[id]
	return !slices.ContainsFunc(q.start(), func(d dose) bool {
		inflow := a.used[d.dim] - a.funded[d.dim] + e.crossing[id][d.dim]
		return inflow+d.is > a.most[d.dim].Sub(a.guarantee[d.dim])
	})
}

// start is the amount of one start of an ask.
func (q *queue) start() []dose {
	if q.gang == 1 {
		return q.amount
	}
	out := slices.Clone(q.amount)
	for i := range out {
		out[i].is *= resource.Amount(q.gang)
	}
	return out
}

// ready is how many of what waits may start now.
func (q *queue) ready(now time.Time) int {
	n := q.waiting
	for _, at := range q.rests {
		if at.After(now) {
			n--
		}
	}
	return n
}
