package cluster

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/reclaim"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// book shows a pool to a reclaim round. For a claim only units on nodes that answer count: others cannot leave in time.
type book struct {
	*pool
	away  bool // units on nodes that do not answer may be asked back too; they get their notice when they are back
	known map[*unit]*reclaim.Unit
}

func (p *pool) book(away bool) book { return book{p, away, map[*unit]*reclaim.Unit{}} }

// Cheapest implements [reclaim.Book]. It merges what is paid for in each leaf.
func (b book) Cheapest(f role.ID) func() *reclaim.Unit {
	type leaf struct {
		first *reclaim.Unit
		next  func() *unit
	}
	leaves := pile[leaf]{less: func(x, y leaf) bool { return reclaim.Cheaper(x.first, y.first) < 0 }}
	enter := func(next func() *unit) {
		if u := b.firstOf(next); u != nil {
			leaves.push(leaf{u, next})
		}
	}
	for _, l := range b.funded[f] {
		enter(l.units.inOrder())
	}
	return func() *reclaim.Unit {
		if len(leaves.items) == 0 {
			return nil
		}
		l := leaves.pop()
		enter(l.next)
		return l.first
	}
}

// firstOf describes the next unit that may be asked back, nil when there is none.
func (b book) firstOf(next func() *unit) *reclaim.Unit {
	for u := next(); u != nil; u = next() {
		if b.mayAsk(u) {
			return b.describe(u)
		}
	}
	return nil
}

// On implements [reclaim.Book].
func (b book) On(n placement.NodeID) []*reclaim.Unit {
	var out []*reclaim.Unit
	for _, t := range b.nodes[n].tasks {
		if u := b.describe(t.unit); b.mayAsk(t.unit) && !slices.Contains(out, u) {
			out = append(out, u)
		}
	}
	return out
}

func (b book) mayAsk(u *unit) bool { return u.reclaimable() && (b.away || u.reachable()) }

func (b book) describe(u *unit) *reclaim.Unit {
	v := b.known[u]
	if v == nil {
		v = b.unit(u)
		b.known[u] = v
	}
	return v
}

// Leaving implements [reclaim.Book].
func (b book) Leaving() []*reclaim.Unit {
	var out []*reclaim.Unit
	for _, u := range b.leavers {
		out = append(out, &reclaim.Unit{Charge: u.charge})
	}
	return out
}

// Spare implements [reclaim.Book].
func (b book) Spare(n placement.NodeID, within time.Duration) resource.Vector {
	return b.nodes[n].spareBy(b.c.now.Add(within), nil)
}

// Fits implements [reclaim.Steady].
func (b book) Fits(x resource.Vector, id placement.NodeID, within time.Duration) bool {
	n := b.nodes[id]
	var scratch [resource.MaxKinds]resource.Amount
	return x.Fits(n.writeSpare(scratch[:len(n.total)], b.c.now.Add(within), nil))
}

// Steady implements [reclaim.Steady]: neither ports, packages nor other tasks of its group can close a node to the claim.
func (b book) Steady(c reclaim.Claim) bool {
	return c.Task.(*class).steady()
}

// steady reports whether what starts and ends on nodes changes nothing but amounts for a class.
func (cl *class) steady() bool {
	s := cl.shape
	return len(s.Ports) == 0 && len(s.Spread) == 0 && !s.Exclusive && cl.pool.packages == nil
}

// Feasible implements [reclaim.Book].
func (b book) Feasible(c reclaim.Claim, visit func(placement.NodeID) bool) {
	b.index.EachFeasible(c.Task.(*class).compiled, func(n placement.NodeID) bool {
		return !b.packages.mayBook(c.Charge, c.Charge.Amount, n, nil) || visit(n)
	})
}

// reclaimable reports whether a unit may be asked back at all. One that was told to leave when a window opens still may, with
// a notice of its own.
func (u *unit) reclaimable() bool {
	return (!u.pinned || u.stopping()) && !u.leaving && !slices.ContainsFunc(u.tasks, func(t *task) bool {
		return t.notice != nil && t.notice.Kind != ForWindow
	})
}

// stopping reports whether all of a unit was told to stop: it goes anyhow, but a notice bounds by when.
func (u *unit) stopping() bool {
	return !slices.ContainsFunc(u.tasks, func(t *task) bool { return t.state != Stopping })
}

// reachable reports whether every task of a unit is on a node that answers.
func (u *unit) reachable() bool {
	return !slices.ContainsFunc(u.tasks, func(t *task) bool { return !t.node.reachable })
}

// unit describes a unit to the planner, with what it costs to lose it.
func (p *pool) unit(u *unit) *reclaim.Unit {
	first, cost := u.tasks[0], u.cost()
	piece := &struct { // most units have one task
		unit reclaim.Unit
		part [1]reclaim.Part
	}{}
	out := &piece.unit
	*out = reclaim.Unit{
		ID: u.seq, Owner: u, Charge: u.charge,
		RolePriority: p.c.tree.Roles[u.charge.Leaf].Priority, Over: p.over(u.charge.Leaf), TaskPriority: first.shape.Priority,
		Guard: cost.guard(), Cost: cost.Amount,
	}
	if u.stopping() {
		out.RolePriority = math.MinInt // before anything that could go on
	}
	out.Parts = piece.part[:0]
	for _, t := range u.tasks {
		out.Parts = append(out.Parts, reclaim.Part{Node: t.node.id, Amount: t.need})
		if !t.started.IsZero() {
			out.Work += int64(p.c.now.Sub(t.started))
			out.Started = max(out.Started, t.started.UnixNano())
		}
	}
	return out
}

// over is by what share of the pool a role is above its entitlement.
func (p *pool) over(leaf role.ID) float64 { return max(0, p.above(leaf)) }

// evict gives notice to a unit whose funding the ledger has given away already, and returns its last deadline.
func (p *pool) evict(u *unit, kind NoticeKind, claimant string) time.Time {
	if p.asking {
		p.asked = append(p.asked, u)
	} else {
		p.unlist(u)
	}
	p.setLeaving(u, true)
	return p.c.notify(u, kind, claimant, time.Time{})
}

// notify gives every task of a unit its notice; no deadline is before notBefore.
func (c *Cluster) notify(u *unit, kind NoticeKind, claimant string, notBefore time.Time) time.Time {
	var last time.Time
	for _, t := range u.tasks {
		if t.notice != nil && t.notice.Kind == ForWindow && kind != ForWindow {
			c.takeBackOne(t, "the notice of %s is replaced: it is asked for earlier")
		}
		if t.notice == nil {
			c.sendNotice(t, kind, claimant, later(t.earliestEnd(c.now), notBefore))
			t.notice.Opens = notBefore
		}
		if t.notice != nil {
			last = later(last, t.notice.Deadline)
		}
	}
	return last
}

// earliestEnd is when a task may be stopped if it is told now: after its minimal run time and its grace.
func (t *task) earliestEnd(now time.Time) time.Time {
	started := t.started
	if started.IsZero() {
		started = now
	}
	return later(now, started.Add(t.minRun)).Add(t.grace)
}

func (c *Cluster) sendNotice(t *task, kind NoticeKind, claimant string, deadline time.Time) {
	c.seq++ // two notices of one task may be given in the same millisecond
	amount := t.unit.pool.put(t.holds())
	t.notice = &notice{Notice: Notice{Kind: kind,
		ID:   t.id + "@" + strconv.FormatInt(c.now.UnixMilli(), 10) + "." + strconv.FormatInt(c.seq, 10),
		Task: t.id, Role: t.role, Node: t.node.Name, Claimant: claimant,
		Amount: amount.resources, Issued: c.now, Deadline: deadline, State: NoticeOpen, Funding: c.fundingName(t.unit.charge.At),
	}, by: deadline}
	t.node.refresh()
	c.emit(SaveTask{t.id}, SendNotice{t.node.Name, t.notice.Notice, deadline.Sub(c.now)})
	c.changed(ObjectTask, t.id)
	c.emit(Happened{Kind: "NoticeSent", Subject: t.id, Role: t.role, Node: t.node.Name,
		Message: t.id + " gives " + amount.text() + " back by " + c.dated.text(deadline) + " for " + claimant})
}

// claimant names who a claim is for, in one phrase.
func (c *Cluster) claimant(k *claim) string {
	return k.ask.Role + " (" + k.ask.ID + ", " + k.class.pool.put(k.charge.Amount).text() + ")"
}

// closeNotice ends a task's notice.
func (c *Cluster) closeNotice(t *task, s NoticeState) {
	closed := t.notice.Notice
	closed.State = s
	t.notice = nil
	c.emit(NoticeClosed{closed})
}

// withdraw takes back every notice without which all claims are served just as well, most expensive to lose first.
func (p *pool) withdraw() {
	if !p.touched {
		return
	}
	p.touched = false
	var us []*reclaim.Unit
	for _, u := range p.leavers {
		if u.mayStay() {
			us = append(us, p.unit(u))
		}
	}
	slices.SortFunc(us, func(x, y *reclaim.Unit) int {
		return cmp.Or(cmp.Compare(y.RolePriority, x.RolePriority), cmp.Compare(y.Guard, x.Guard),
			cmp.Compare(y.TaskPriority, x.TaskPriority), cmp.Compare(y.Cost, x.Cost), cmp.Compare(y.Work, x.Work), cmp.Compare(x.ID, y.ID))
	})
	for _, x := range us {
		if u := x.Owner.(*unit); p.stay(u) {
			p.c.takeBack(u, "nobody needs it any more")
		}
	}
}

// mayStay reports whether all notices of a unit are still open and were given for claims.
func (u *unit) mayStay() bool {
	return !slices.ContainsFunc(u.tasks, func(t *task) bool {
		return t.notice == nil || t.notice.Kind == ForDrain || t.notice.State != NoticeOpen || t.state == Stopping || !t.node.reachable || t.node.Draining != nil
	})
}

// takeBack tells every task of a unit that it may stay.
func (c *Cluster) takeBack(u *unit, why string) {
	for _, t := range u.tasks {
		if t.notice != nil {
			c.takeBackOne(t, "%s may stay: "+why)
		}
	}
}

// takeBackOne withdraws one task's notice; what has a place for the task's ID.
func (c *Cluster) takeBackOne(t *task, what string) {
	id := t.notice.ID
	c.closeNotice(t, NoticeWithdrawn)
	c.emit(WithdrawNotice{t.node.Name, t.id, id}, SaveTask{t.id})
	c.changed(ObjectTask, t.id)
	c.happened("NoticeWithdrawn", t.id, t.role, t.node.Name, what, t.id)
}

// accepted notes that an agent has a notice on disk. The agent's deadline counts; it is never earlier.
func (c *Cluster) accepted(e Accepted) {
	t := c.task(e.Task)
	if t == nil || t.notice == nil || t.notice.ID != e.Notice {
		return
	}
	t.notice.accepted = true
	t.notice.Deadline = later(t.notice.Deadline, e.Deadline)
	t.node.refresh()
	c.emit(SaveTask{t.id})
	c.changed(ObjectTask, t.id)
}

// answer takes what a task says to its notice.
func (c *Cluster) answer(e Answer) error {
	t := c.task(e.Task)
	if t == nil {
		return noTask(e.Task)
	}
	if t.notice == nil {
		return refuse("NoNotice", "answer only while a notice is open", "task %s is under no notice", e.Task)
	}
	if e.Done {
		t.notice.State = NoticeDone
		c.stop(t, nil, false, Reason{Code: "Done", Message: "it said that its work is saved"})
		return nil
	}
	return c.release(t, e.Released)
}

// release makes a lease smaller.
func (c *Cluster) release(t *task, amount resource.Resources) error {
	for _, name := range amount.Names() {
		if _, ok := c.kinds.Lookup(name); !ok {
			return refuse("InvalidArgument", "name a kind the task holds", "task %s: resource %q is unknown", t.id, name)
		}
	}
	less := amount.Vector(c.kinds, "")
	if less.IsZero() || less.Negative() >= 0 || !less.Fits(t.holds()) || less.Equal(t.holds()) {
		return refuse("InvalidArgument", "release less than all, or answer done", "task %s holds %s; it cannot release %s and go on", t.id,
			t.holds().Text(c.kinds, ""), less.Text(c.kinds, ""))
	}
	if t.gang {
		return refuse("InvalidArgument", "answer done", "task %s is one of a gang and cannot become smaller alone", t.id)
	}
	if t.shape.carved() {
		return c.resizeCarved(t, nil, less)
	}
	c.shrink(t, less)
	c.happened("PartReleased", t.id, t.role, t.node.Name, "%s released %s and goes on with %s", t.id, less.Text(c.kinds, t.unit.pool.name),
		t.need.Text(c.kinds, t.unit.pool.name))
	if !t.unit.leaving {
		return nil // a notice for a window; it is looked at again
	}
	if t.unit.mayStay() && t.unit.pool.stay(t.unit) {
		c.takeBack(t.unit, "what it released is enough")
	}
	return nil
}

// shrink takes an amount off a running lease everywhere it is booked.
func (c *Cluster) shrink(t *task, less resource.Vector) {
	u, p := t.unit, t.unit.pool
	leaving := u.leaving
	if leaving {
		p.ledger.Gone(u.charge)
		t.node.leaving.Dec(less)
	} else {
		p.ledger.Remove(u.charge)
		p.paysLess(u.charge.At)
	}
	u.charge.Amount = u.charge.Amount.Minus(less)
	t.need = t.need.Minus(less)
	p.noteUnit(u)
	p.ledger.Add(u.charge)
	if leaving {
		p.ledger.Leave(u.charge)
	}
	p.recount(u)
	p.ledger.Vacate(u.charge.Leaf, less)
	t.node.used.Dec(less)
	t.node.refresh()
	p.opened()
	c.emit(ResizeTask{t.node.Name, t.id, t.need.Resources(c.kinds, p.name)}, SaveTask{t.id})
	c.changed(ObjectTask, t.id)
	c.changed(ObjectRole, "")
}

// drainTasks gives notice to every task on a draining node that has none.
func (c *Cluster) drainTasks(n *node) {
	for _, t := range n.sortedTasks() {
		if t.notice != nil || t.state == Stopping || t.volume() {
			continue // it leaves in any case, notices on a draining node are not withdrawn; or it stays
		}
		if !t.unit.leaving {
			t.unit.pool.leave(t.unit)
		}
		by := later(c.now, n.Draining.By)
		if !n.Draining.Force {
			by = later(by, t.earliestEnd(c.now))
		}
		for _, o := range t.unit.tasks {
			if o.notice == nil && o.state != Stopping {
				c.sendNotice(o, ForDrain, "drain of node "+n.Name, by)
			}
		}
	}
}

// withdrawDrain lets the tasks of a node stay that is not drained any more, as far as the rules still allow it.
func (c *Cluster) withdrawDrain(n *node) {
	for _, t := range n.sortedTasks() {
		if t.notice == nil || t.notice.Kind != ForDrain || !t.unit.leaving {
			continue
		}
		for _, o := range t.unit.tasks {
			if o.notice != nil {
				o.notice.Kind = ForClaim
			}
		}
		if t.unit.mayStay() && t.unit.pool.stay(t.unit) {
			c.takeBack(t.unit, "node "+n.Name+" is not drained any more")
		}
	}
}
