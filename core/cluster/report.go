package cluster

import (
	"maps"
	"slices"
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// report takes news about a task.
func (c *Cluster) report(e Report) {
	n := c.nodes[e.Node]
	if n == nil {
		return
	}
	e.Task.Node = e.Node
	c.reconcile(n, e.Task)
}

// reconcile brings what a node says about a task and what the cluster knows together. The node is right about what runs on
// it; the cluster is right about where a task belongs.
func (c *Cluster) reconcile(n *node, r TaskReport) {
	t := c.task(r.Task)
	switch {
	case t != nil && t.reserves():
		c.emit(Ack{n.Name, r.Task}) // there is nothing of it on any node
	case t != nil && t.node == n:
		c.update(t, r)
	case t != nil:
		c.disown(n, r, "it runs on "+t.node.Name)
	case n.trusted && c.expected(r) && c.believable(&r, n):
		c.adopt(r, n)
	default:
		c.disown(n, r, "nobody waits for it any more")
	}
}

// expected reports whether an unknown task is one the cluster should have: the present run of an instance of a known ask.
// A task from before a failover whose record was not yet saved is; one that was given up meanwhile is not.
func (c *Cluster) expected(r TaskReport) bool {
	a := c.asks[r.Ask]
	if a == nil || a.Cancelled || r.Index < 0 || r.Index >= a.Count || a.live.at(r.Index) != nil {
		return false
	}
	if r.Index >= a.Next {
		return true
	}
	return slices.ContainsFunc(a.Returned, func(in Instance) bool { return in.Index == r.Index && in.Attempt <= r.Attempt })
}

// believable fills in from the ask what the agent's word must not decide, and reports whether the rest can be true: the agent
// is trusted with what runs on its node, not with what other roles own.
func (c *Cluster) believable(r *TaskReport, n *node) bool {
	a := c.asks[r.Ask]
	leaf := &c.tree.Roles[c.leafOf(a.Role)]
	r.Role, r.Gang, r.Shape, r.Payload = a.Role, a.Gang, a.Shape, a.Payload
	r.ReclaimGrace, r.MinRuntime = shorter(leaf.ReclaimGrace, a.Shape.ReclaimGrace), shorter(leaf.MinRuntime, a.Shape.MinRuntime)
	for _, port := range r.Ports {
		if !n.Ports.Contains(port) {
			return false
		}
	}
	need := amountsOf(r.Resources).Vector(c.kinds, "").Min(a.Shape.Resources.Vector(c.kinds, "")) // it may have become larger, unwritten
	r.Resources = need.Resources(c.kinds, "")
	room := n.free()
	if a.Shape.Reserve {
		return false
	}
	if a.Shape.carved() {
		of := c.reservation(a.Shape.From)
		if of == nil || of.node != n {
			return false
		}
		room = c.uncarved(of)
	}
	return r.Task == taskID(r.Ask, r.Index, r.Attempt) && !need.IsZero() && need.Negative() < 0 && n.pool.name == a.Shape.Pool &&
		need.Fits(room)
}

// disown ends a task the cluster does not want on a node.
func (c *Cluster) disown(n *node, r TaskReport, why string) {
	switch {
	case r.State.Terminal():
		c.emit(Ack{n.Name, r.Task})
		return
	case r.Shape.Volume:
		c.strange(n, r, why)
		return
	}
	c.emit(StopTask{Node: n.Name, Task: r.Task, Reason: Reason{Code: "Stale", Message: why}})
	c.happened("TaskDisowned", r.Task, r.Role, n.Name, "%s is stopped on %s: %s", r.Task, n.Name, why)
}

// update takes over what the agent says about a known task.
func (c *Cluster) update(t *task, r TaskReport) {
	if r.State.Terminal() {
		c.end(t, endState(t, r), r.ExitCode, r.Reason, orNow(r.Ended, c.now))
		return
	}
	began := t.started.IsZero() && !r.Started.IsZero()
	if began {
		t.started = r.Started
		t.unit.pool.rerank(t.unit)
		c.happened("TaskStarted", t.id, t.role, t.node.Name, "%s runs on %s", t.id, t.node.Name)
	}
	if t.state == Starting && r.State >= Running {
		t.state = Running
		t.unit.pool.noteUnit(t.unit)
	}
	t.health = r.Health
	if t.state != Stopping {
		t.reason = r.Reason
	}
	c.syncNotice(t, r.Notice)
	if t.state == Stopping {
		c.emit(StopTask{Node: t.node.Name, Task: t.id, Reason: t.reason})
	}
	if began || r.State != Starting {
		c.emit(SaveTask{t.id})
	}
	c.changed(ObjectTask, t.id)
}

// endState is what an end means: a task that leaves because of its notice is reclaimed, one that somebody stopped is killed.
func endState(t *task, r TaskReport) State {
	switch {
	case t.killed:
		return Killed
	case t.notice != nil && (r.State != Succeeded || t.notice.State == NoticeDone):
		return Reclaimed
	case t.state == Stopping && r.State != Succeeded:
		return Killed
	}
	return r.State
}

func orNow(t, now time.Time) time.Time {
	if t.IsZero() {
		return now
	}
	return t
}

// syncNotice makes agent and cluster agree about a notice. A notice that only the agent has survived a failover: it counts,
// and is withdrawn if nobody needs it. One that only the cluster has is sent again.
func (c *Cluster) syncNotice(t *task, theirs *Notice) {
	if t.volume() {
		return // it has none, whatever its agent says
	}
	switch {
	case t.notice == nil && theirs != nil && (theirs.State == NoticeOpen || theirs.State == NoticeDone):
		c.takeOver(t, *theirs)
	case t.notice != nil && theirs != nil && theirs.ID == t.notice.ID:
		t.notice.accepted = true
		t.notice.Deadline = later(t.notice.Deadline, theirs.Deadline)
		if theirs.State == NoticeDone {
			t.notice.State = NoticeDone
		}
	case t.notice != nil && !t.notice.accepted && theirs != nil && (theirs.State == NoticeOpen || theirs.State == NoticeDone):
		c.keepTheirs(t, *theirs)
	case t.notice != nil && !t.notice.accepted:
		c.resend(t)
	}
}

// keepTheirs gives way to the notice that a task was told by an earlier leader whose record of it was not written: one that
// nobody has heard of would be a second one.
func (c *Cluster) keepTheirs(t *task, theirs Notice) {
	unheard := t.notice.Notice
	unheard.State = NoticeWithdrawn
	n := t.notice
	n.ID, n.Issued, n.Deadline, n.by, n.State, n.accepted = theirs.ID, theirs.Issued, theirs.Deadline, theirs.Deadline, theirs.State, true
	c.emit(NoticeClosed{unheard}, SaveTask{t.id})
	c.changed(ObjectTask, t.id)
}

// takeOver makes a notice that only the agent, or a saved record, knows count again. What it says about the task itself is
// the cluster's to say.
func (c *Cluster) takeOver(t *task, theirs Notice) {
	theirs.Task, theirs.Role, theirs.Node = t.id, t.role, t.node.Name
	theirs.Amount, theirs.Funding = t.holds().Resources(c.kinds, t.unit.pool.name), c.fundingName(t.unit.charge.At)
	t.notice = &notice{Notice: theirs, accepted: true, by: theirs.Deadline}
	if theirs.Kind == ForWindow && c.now.Before(theirs.Opens) {
		return // its funding stays until the window opens
	}
	if !t.unit.leaving {
		t.unit.pool.leave(t.unit)
	}
	t.unit.pool.touched = true
}

// resend delivers a notice that did not arrive. The task has its full grace from now on, unless an operator forced it.
func (c *Cluster) resend(t *task) {
	if d := t.node.Draining; d == nil || !d.Force {
		t.notice.Deadline = later(t.notice.Deadline, t.earliestEnd(c.now))
	}
	c.emit(SaveTask{t.id}, SendNotice{t.node.Name, t.notice.Notice, max(0, t.notice.Deadline.Sub(c.now))})
	c.changed(ObjectTask, t.id)
}

// missing deals with a task the cluster has on a node that does not report it: its launch never arrived, or it was lost.
func (c *Cluster) missing(t *task) {
	if t.reserves() { // no agent ever does
		c.changed(ObjectTask, t.id)
		return
	}
	if t.volume() && t.state == Running {
		c.absent(t)
		return
	}
	if t.state == Starting && t.started.IsZero() {
		c.emit(Launch{t.assignment()})
		if t.notice != nil {
			c.resend(t)
		}
		return
	}
	if t.state == Stopping && t.started.IsZero() {
		c.end(t, Killed, nil, t.reason, c.now)
		return
	}
	c.end(t, Lost, nil, Reason{Code: "TaskLost", Message: "node " + t.node.Name + " no longer has it"}, c.now)
}

// adopt makes a lease out of a report: of a saved record, or of a task an agent kept through a failover. With n nil the node
// is looked up, and the task is dropped when it is not known.
func (c *Cluster) adopt(r TaskReport, n *node) {
	saved := n == nil
	if saved {
		if n = c.nodes[r.Node]; n == nil || c.task(r.Task) != nil {
			return
		}
	}
	t := c.taskOf(r, n)
	c.enroll(t, r)
	if a := t.ask; a != nil {
		a.take(Instance{Index: t.index})
		a.note()
		if other := a.live.at(t.index); other != nil {
			c.strays[other.id] = other
		}
		a.live.put(t)
		if a.Gang {
			a.unit = t.unit
		}
		c.dissolveAsk(a) // its claims may be for what runs already; they are planned anew
		c.unwait(a)
	}
	c.occupy(t, false)
	c.syncNotice(t, r.Notice)
	if t.notice != nil {
		t.notice.accepted = !saved // only the agent can say that it has it
	}
	c.emit(SaveTask{t.id})
	if r.State.Terminal() {
		c.update(t, r)
	}
}

// taskOf turns a report into a task on a node, without booking it.
func (c *Cluster) taskOf(r TaskReport, n *node) *task {
	c.seq++
	shape := r.Shape
	t := &task{
		id: r.Task, seq: c.seq, ask: c.asks[r.Ask], index: r.Index, attempt: r.Attempt, gang: r.Gang, role: r.Role, shape: &shape,
		node: n, grace: r.ReclaimGrace, minRun: r.MinRuntime, created: r.Created, started: r.Started, state: Running,
		reason: r.Reason, health: r.Health, ports: r.Ports, payload: r.Payload, cost: r.Cost,
	}
	t.need = amountsOf(r.Resources).Vector(c.kinds, "")
	if shape.carved() {
		t.carve, t.need = t.need, make(resource.Vector, c.kinds.Len())
	}
	if len(shape.Spread) > 0 || shape.Exclusive {
		t.group = r.Ask
	}
	if r.State == Starting || r.State == Stopping {
		t.state = r.State
	}
	t.killed = r.State == Stopping && (r.Reason.Code == codeKilled || r.Reason.Code == codeCancelled)
	if len(r.Ports) > 0 {
		n.pool.index.HoldPorts(n.id, sortedPorts(r.Ports))
	}
	return t
}

// amountsOf removes the pool from resource names: a lease is in its node's pool whatever that is called now.
func amountsOf(r resource.Resources) resource.Resources {
	out := resource.Resources{}
	for _, name := range r.Names() {
		_, kind := resource.SplitName(name)
		out[kind] = out[kind].Add(r[name])
	}
	return out
}

// enroll charges an adopted task: to its gang's unit when another member is there, else to a unit of its own, funded as
// recorded if that is still legal and as deep as is legal otherwise. What was leaving had given its funding away already.
func (c *Cluster) enroll(t *task, r TaskReport) {
	p := t.node.pool
	leaving := r.Notice != nil && !t.volume() && !(r.Notice.Kind == ForWindow && c.now.Before(r.Notice.Opens)) &&
		(r.Notice.State == NoticeOpen || r.Notice.State == NoticeDone)
	charge := lending.Charge{Leaf: c.leafOf(t.role), Amount: t.need, Hold: t.hold(), Count: 1}
	if t.ask != nil && t.ask.unit != nil && len(t.ask.unit.tasks) > 0 && t.ask.unit.pool == p {
		p.join(t.ask.unit, t, charge, leaving)
		return
	}
	charge.At = c.fundingRole(r.Funding, charge.Leaf)
	u := &unit{seq: t.seq, pool: p, charge: charge, pinned: t.shape.Pinned, tasks: []*task{t}}
	t.unit = u
	if leaving {
		p.ledger.Add(charge)
		p.ledger.Leave(charge)
		p.seeOff(u, true)
		u.countLeaving(+1)
	} else if u.volume() || t.shape.carved() {
		p.strained = true
		u.charge = payAtLeaf(p.ledger, charge)
	} else if p.strained = true; p.ledger.TryHold(charge) != nil {
		u.charge = fundOrBorrow(p.ledger, charge, t.shape.Pinned)
	}
	p.enter(u)
}

// fundOrBorrow charges what runs already: as deep as is legal, or to the root, where a repair deals with it.
func fundOrBorrow(l *lending.Ledger, c lending.Charge, pinned bool) lending.Charge {
	funded, why := l.Fund(c, pinned)
	if why != nil {
		funded.At = role.Root
		l.Add(funded)
	}
	return funded
}

// join adds a gang's member to its unit. A gang is leaving when all of it is: one member that is not brings the others' funding
// back, which is legal because it was before the failover.
func (p *pool) join(u *unit, t *task, part lending.Charge, leaving bool) {
	t.unit = u
	part.At = u.charge.At
	whole := u.charge
	whole.Amount, whole.Count = whole.Amount.Plus(t.need), whole.Count+1
	moved := false
	switch {
	case u.leaving:
		p.ledger.Add(part)
		p.ledger.Leave(part)
		t.node.leaving.Inc(t.need)
		t.node.sort(t)
	case p.ledger.TryHold(part) != nil: // the plan was another when its payer was written down
		p.strained = true
		p.unlist(u)
		p.ledger.Remove(u.charge)
		whole = fundOrBorrow(p.ledger, whole, u.pinned)
		moved = true
	}
	u.charge = whole
	u.tasks = append(u.tasks, t)
	p.noteUnit(u)
	p.stir(u.charge.Leaf)
	switch {
	case moved:
		p.list(u)
	case u.leaving && !leaving:
		p.ledger.Return(u.charge)
		p.setLeaving(u, false)
		p.list(u)
	default:
		p.rerank(u)
		p.recount(u)
	}
}

// recovered ends the recovery. A gang of which the dead leader had launched only a part starts again as a whole.
func (c *Cluster) recovered() {
	c.recovering = false
	for _, id := range slices.Sorted(maps.Keys(c.asks)) {
		a := c.asks[id]
		if !a.Gang || !a.waits || a.live.len() == 0 {
			continue
		}
		c.leaveLine(a)
		for _, t := range a.live.inOrder() {
			if t.state != Stopping {
				c.stop(t, nil, false, Reason{Code: codeIncomplete, Message: "the rest of its gang did not start; all of it starts again"})
			}
		}
	}
}

// fundingRole finds the role a funding names; the root when it is not on the leaf's path any more.
func (c *Cluster) fundingRole(name string, leaf role.ID) role.ID {
	if id, ok := c.tree.Lookup(name); ok && name != Borrowed && c.within(leaf, id) {
		return id
	}
	return role.Root
}

// restoreNode makes a saved node known. It does not answer until it registers.
func (c *Cluster) restoreNode(info NodeInfo) {
	c.recovering = true
	if n, err := c.addNode(info); err == nil { // it was accepted before
		n.Cordoned, n.Draining, n.trusted = info.Cordoned, info.Draining, true
		n.reindex()
	}
}

// restoreAsk makes a saved ask known. It has waited since it was submitted.
func (c *Cluster) restoreAsk(e RestoreAsk) {
	c.recovering = true
	a := &ask{AskSpec: e.Ask, AskState: e.State}
	a.Returned = slices.Clone(e.State.Returned)
	c.reclass(a)
	c.know(a)
	c.wait(a)
	if a.waits {
		a.blocked = a.Submitted
	}
}
