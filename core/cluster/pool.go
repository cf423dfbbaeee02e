package cluster

import (
	"slices"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// pool is one market of machines: its nodes, its ledger, what waits for it.
type pool struct {
	c      *Cluster
	name   string
	ledger *lending.Ledger
	index  *placement.Index
	nodes  []*node // by placement.NodeID; nil where a node was removed
	free   []placement.NodeID
	total  resource.Vector // of all nodes

	units   []*unit           // everything charged; the order has no meaning, but is the same every time
	funded  payroll           // charged and not leaving
	elders  elders            // the same, for deepening
	leavers []*unit           // leaving; the order has no meaning
	classes map[string]*class // what waits, by identity
	queue   line              // the same, in order of arrival
	claims  []*claim          // reservations waiting for their victims, in order
	asking  bool              // a round looks at whom to ask back: asked are still on their lists
	asked   []*unit
	stale   []*node  // to be refreshed when it is over
	fresh   []*claim // made by it, with victims
	opens   int64    // rises when something may have come free
	touches int64    // rises with every change of a node
	serving bool     // some of them may be over; see sweep

	aheads   []*ahead  // what is needed when windows open, as of this pass of a decision
	packages *packages // guarantees in whole packages; nil when there are none

	shares    *lending.Due         // demand and entitlement as of the last decision; nil before the first under a tree
	waiting   []waiting            // by role
	stirred   []role.ID            // leaves that are to be weighed again
	stirrings int64                // how often a leaf was stirred; tells states of a branch apart
	pinned    int                  // classes that wait and may not borrow
	rootLends rootLends            // of single tasks, to tell whether a refusal lasts
	noted     []*ask               // of which more or less waits than is counted
	paid      map[role.ID]struct{} // roles whose funding fell since units were last deepened
	epoch     int64                // rises when something may fit that did not
	leads     int                  // raises whose lead ran when notices were last looked through
	dropped   int64                // calendar they were looked through for
	led       leadState            // what lead notices were last worked out from
	strained  bool                 // tasks were adopted: repair what they break, if anything
	touched   bool                 // something was freed or withdrawn: notices may be unneeded
	worded    wordings
	offers    *Offers // nil when nobody takes offers
	accounts  accounts
}

func newPool(c *Cluster, name string) *pool {
	return &pool{c: c, name: name, index: placement.NewIndex(c.kinds, placement.Options{}), classes: map[string]*class{}, paid: map[role.ID]struct{}{}}
}

// reledger makes a fresh ledger for the cluster's tree, with nothing charged.
func (p *pool) reledger() {
	p.measure()
	p.ledger = lending.NewLedger(p.c.tree, p.name, p.c.kinds.Len(), p.total)
	p.funded, p.elders = make(payroll, len(p.c.tree.Roles)), make(elders, len(p.c.tree.Roles))
	p.shares, p.waiting, p.stirred = nil, make([]waiting, len(p.c.tree.Roles)), nil // ids may have changed
	p.repackage()
	if p.offers != nil {
		p.offers.rebase()
	}
	p.retreeAccounts()
}

// measure adds up what the pool's nodes have, those included that do not answer.
func (p *pool) measure() {
	p.total = make(resource.Vector, p.c.kinds.Len())
	for _, n := range p.nodes {
		if n != nil {
			p.total.Inc(n.total)
		}
	}
}

// opened notes that something may fit now that did not before.
func (p *pool) opened() {
	p.epoch++
	p.opens++
	p.touched = true
}

// unit is what is charged and leaves together: a task, or all tasks of a gang.
type unit struct {
	seq     int64
	pool    *pool
	charge  lending.Charge
	pinned  bool
	tasks   []*task
	leaving bool   // its funding is given away; its tasks are under notice
	planned bool   // it is to leave for a claim that is being planned
	started int    // tasks that had started when it entered pool.funded
	slot    int    // position there
	kin     *kin   // in pool.elders
	place   int    // position there
	exit    int    // position in pool.leavers
	pos     int    // position in pool.units
	paidBy  string // funding last told to its agents
	booked  booked
}

// newUnit makes a unit and n tasks for it, which come and go together: one task and its unit are one piece of memory.
func newUnit(n int) (*unit, []task) {
	if n > 1 {
		return &unit{tasks: make([]*task, 0, n)}, make([]task, n)
	}
	x := &struct {
		unit unit
		task [1]task
		list [1]*task
	}{}
	x.unit.tasks = x.list[:0]
	return &x.unit, x.task[:]
}

// enter puts a unit that is charged in the ledger on the lists.
func (p *pool) enter(u *unit) {
	u.paidBy = p.c.fundingName(u.charge.At)
	u.pos = len(p.units)
	p.units = append(p.units, u)
	u.booked.noted = true // at once, while it is at hand
	if p.stir(u.charge.Leaf); !u.leaving {
		p.list(u)
	}
	p.bookUnit(u)
}

func (p *pool) list(u *unit) {
	p.noteUnit(u)
	p.funded.add(u)
	p.elders.add(u)
	p.stir(u.charge.Leaf)
}

func (p *pool) unlist(u *unit) {
	p.funded.remove(u)
	p.elders.remove(u, u.charge.At)
	p.stir(u.charge.Leaf)
	p.paysLess(u.charge.At)
}

// rerank notes that what it costs to lose a unit may have changed by something else than time.
func (p *pool) rerank(u *unit) {
	if !u.leaving {
		p.funded.remove(u)
		p.funded.add(u)
	}
}

// recount notes that what a unit holds has changed.
func (p *pool) recount(u *unit) {
	p.stir(u.charge.Leaf)
	if !u.leaving {
		p.elders.remove(u, u.charge.At)
		p.elders.add(u)
	}
}

// paysLess notes that a role pays for less than before: its guarantee may cover something that shallower ones pay for.
func (p *pool) paysLess(at role.ID) {
	for id := at; id != role.None; id = p.c.tree.Roles[id].Parent {
		p.paid[id] = struct{}{}
	}
}

// leave gives a unit's funding away.
func (p *pool) leave(u *unit) {
	p.ledger.Leave(u.charge)
	p.unlist(u)
	p.setLeaving(u, true)
}

func (p *pool) setLeaving(u *unit, on bool) {
	p.seeOff(u, on)
	p.noteUnit(u)
	p.stir(u.charge.Leaf)
	p.epoch++
	if on {
		u.countLeaving(+1)
	} else {
		u.countLeaving(-1)
	}
}

// seeOff enters a unit that is on no payroll among those that leave, or takes it out.
func (p *pool) seeOff(u *unit, on bool) {
	if u.leaving == on {
		return
	}
	if u.leaving = on; on {
		u.exit = len(p.leavers)
		p.leavers = append(p.leavers, u)
		return
	}
	last := len(p.leavers) - 1
	p.leavers[u.exit], p.leavers[last].exit = p.leavers[last], u.exit
	p.leavers[last] = nil
	p.leavers = p.leavers[:last]
}

// countLeaving adds the unit to what leaves its nodes, or takes it away.
func (u *unit) countLeaving(sign int) {
	for _, t := range u.tasks {
		if sign > 0 {
			t.node.leaving.Inc(t.need)
		} else {
			t.node.leaving.Dec(t.need)
		}
		t.node.sort(t)
		t.node.refresh()
	}
}

// plan counts the unit as leaving while a claim is planned, or no more.
func (u *unit) plan(on bool) {
	u.planned = on
	for _, t := range u.tasks {
		t.node.sort(t)
		t.node.refresh()
	}
}

// stay takes a leaving unit back if the rules and the machines allow it, funded no shallower than before.
func (p *pool) stay(u *unit) bool {
	p.setLeaving(u, false)
	if p.fitsAgain(u) {
		p.ledger.Gone(u.charge)
		charge, why := p.ledger.Fund(u.charge, u.pinned)
		if why == nil && p.c.tree.Roles[charge.At].Depth >= p.c.tree.Roles[u.charge.At].Depth && p.mayRefund(u, charge) {
			u.charge = charge
			p.list(u)
			p.announce(u)
			return true
		}
		if why == nil {
			p.ledger.Remove(charge)
		}
		p.ledger.Add(u.charge)
		p.ledger.Leave(u.charge)
	}
	p.setLeaving(u, true)
	return false
}

// fitsAgain reports whether claimants have enough on the unit's nodes without what it holds.
func (p *pool) fitsAgain(u *unit) bool {
	return !slices.ContainsFunc(u.tasks, func(t *task) bool { return !t.node.fitsWithout(t, t.notice.by) })
}

// announce tells agents and readers who pays for a unit now, if that is news.
func (p *pool) announce(u *unit) {
	name := p.c.fundingName(u.charge.At)
	if name == u.paidBy {
		return
	}
	u.paidBy = name
	for _, t := range u.tasks {
		p.c.emit(SetFunding{t.node.Name, t.id, name}, SaveTask{t.id})
		p.c.changed(ObjectTask, t.id)
	}
}

// drop takes one task out of its unit and off the books.
func (p *pool) drop(t *task) {
	u := t.unit
	part := u.charge
	part.Amount, part.Count = t.need, 1
	if u.leaving {
		p.ledger.Gone(part)
		t.node.leaving.Dec(t.need)
		t.node.going = slices.DeleteFunc(t.node.going, func(x *task) bool { return x == t })
	} else {
		p.ledger.Remove(part)
		p.paysLess(u.charge.At)
	}
	u.charge.Amount = u.charge.Amount.Minus(t.need)
	u.charge.Count--
	u.tasks = slices.DeleteFunc(u.tasks, func(x *task) bool { return x == t })
	p.noteUnit(u)
	if len(u.tasks) > 0 {
		p.rerank(u)
		p.recount(u)
	} else {
		if u.leaving {
			p.seeOff(u, false)
		} else {
			p.unlist(u)
		}
		last := p.units[len(p.units)-1]
		p.units[u.pos], last.pos = last, u.pos
		p.units = p.units[:len(p.units)-1]
	}
	p.ledger.Vacate(u.charge.Leaf, t.need)
	p.stir(u.charge.Leaf)
	p.opened()
}
