package cluster

import (
	"slices"
	"strconv"
	"time"

	"polder.dev/polder/core/resource"
)

// task is a lease and what runs on it.
type task struct {
	id      string
	seq     int64
	ask     *ask // nil when its ask is not known (any more)
	index   int
	attempt int
	gang    bool
	role    string // as written
	shape   *Shape
	group   string // for spread and anti-affinity
	node    *node
	slot    int // in node.tasks
	unit    *unit
	need    resource.Vector // booked on node and ledger
	carve   resource.Vector // of its reservation; need is nothing then
	grace   time.Duration
	minRun  time.Duration
	created time.Time
	started time.Time
	state   State // Starting, Running or Stopping; see view for the rest
	killed  bool  // somebody asked for its end
	reason  Reason
	health  string
	cost    Cost // of losing it, as its owner said
	ports   map[string]uint16
	notice  *notice
	payload any
}

// notice is a task's notice with what the cluster remembers about it.
type notice struct {
	Notice
	accepted bool // the agent has it on disk
	// by is the deadline that those who wait for what it frees reckon with. The agent's own is a message's time later; nobody counts less on
	// a task for that.
	by time.Time
}

func taskID(ask string, index, attempt int) string {
	id := ask + "." + strconv.Itoa(index)
	if attempt > 0 {
		id += "." + strconv.Itoa(attempt)
	}
	return id
}

func (t *task) hold() time.Duration { return t.grace + t.minRun }

// viewState folds what is known about node and notice into the state.
func (t *task) viewState() State {
	switch {
	case !t.node.reachable:
		return Unreachable
	case t.state == Running && t.notice != nil:
		return Leaving
	}
	return t.state
}

// assignment is the lease for the agent, the record and readers.
func (t *task) assignment() Assignment {
	a := Assignment{
		Task: t.id, Index: t.index, Attempt: t.attempt, Gang: t.gang, Role: t.role, Node: t.node.Name, Shape: *t.shape,
		Resources: t.unit.pool.put(t.holds()).resources, Ports: t.ports,
		Funding: t.unit.pool.c.fundingName(t.unit.charge.At), ReclaimGrace: t.grace, MinRuntime: t.minRun,
		Created: t.created, Payload: t.payload,
	}
	a.Ask = t.askID()
	return a
}

func (t *task) askID() string {
	if t.ask != nil {
		return t.ask.ID
	}
	for i, c := range t.id {
		if c == '.' {
			return t.id[:i]
		}
	}
	return t.id
}

// occupy books a task on its node: amounts, ports, spread counters, the role's usage. The amounts may be
// booked already.
func (c *Cluster) occupy(t *task, amounts bool) {
	n := t.node
	t.slot = len(n.tasks)
	n.tasks = append(n.tasks, t)
	n.count(t, +1)
	if t.group != "" {
		n.pool.index.AddTask(n.id, t.group)
	}
	if t.shape.carved() && !amounts {
		c.carveOut(t.shape.From, t.carve)
	}
	if !amounts {
		n.used.Inc(t.need)
		t.unit.pool.ledger.Occupy(t.unit.charge.Leaf, t.need)
		n.refresh()
	}
	if t.shape.carved() { // nothing that is booked has changed, but how many tasks there are
		c.changed(ObjectNode, n.Name)
	}
	c.remember(t)
	c.changed(ObjectTask, t.id)
}

// end takes a task off the books and decides whether its instance waits again.
func (c *Cluster) end(t *task, s State, exit *int, why Reason, at time.Time) {
	view := c.taskView(t)
	view.State, view.ExitCode, view.Reason, view.Ended = s, exit, why, at
	if t.notice != nil {
		closed := *view.Notice
		closed.State = c.closing(t, s)
		view.Notice = &closed
		c.closeNotice(t, closed.State)
	}
	c.vacate(t)
	c.emit(DeleteTask{t.id}, TaskEnded{view}, Ack{t.node.Name, t.id})
	c.happened("Task"+title(s), t.id, t.role, t.node.Name, "%s %s%s", t.id, s, because(why))
	c.settle(t, s)
	c.breakGang(t, s)
}

// closing is how a notice ends when its task ends.
func (c *Cluster) closing(t *task, s State) NoticeState {
	if s == Reclaimed && !c.now.Before(t.notice.Deadline) {
		return NoticeExpired
	}
	return NoticeLeft
}

func title(s State) string {
	name := s.String()
	return string(name[0]-'a'+'A') + name[1:]
}

func because(r Reason) string {
	if r.Message == "" {
		return ""
	}
	return ": " + r.Message
}

// vacate undoes occupy and the task's part of its unit's charge.
func (c *Cluster) vacate(t *task) {
	n := t.node
	last := len(n.tasks) - 1
	n.tasks[t.slot], n.tasks[last].slot = n.tasks[last], t.slot
	n.tasks[last] = nil
	n.tasks = n.tasks[:last]
	n.count(t, -1)
	delete(c.strays, t.id)
	if t.shape.carved() {
		c.putBack(t.shape.From, t.carve)
	}
	n.used.Dec(t.need)
	for _, port := range sortedPorts(t.ports) {
		n.pool.index.ReleasePorts(n.id, []uint16{port})
	}
	if t.group != "" {
		n.pool.index.RemoveTask(n.id, t.group)
	}
	t.unit.pool.drop(t)
	n.refresh()
	c.changed(ObjectRole, "")
}

// breakGang stops the rest of a gang that lost a member: all of it starts again together, or nothing of it does when the
// member does not start again.
func (c *Cluster) breakGang(t *task, s State) {
	if !t.gang || s == Succeeded {
		return
	}
	again := t.ask != nil && slices.ContainsFunc(t.ask.Returned, func(in Instance) bool { return in.Index == t.index })
	for _, o := range slices.Clone(t.unit.tasks) {
		o.killed = o.killed || !again
		if o.state != Stopping {
			code := "GangBroken"
			if !again {
				code = codeKilled
			}
			c.stop(o, nil, false, Reason{Code: code, Message: "its gang lost " + t.id})
		}
	}
}

// stop tells the agent to end a task.
func (c *Cluster) stop(t *task, grace *time.Duration, force bool, why Reason) {
	t.state, t.reason = Stopping, why
	t.unit.pool.rerank(t.unit)
	t.unit.pool.noteUnit(t.unit)
	c.emit(StopTask{Node: t.node.Name, Task: t.id, Grace: grace, Force: force, Reason: why}, SaveTask{t.id})
	c.changed(ObjectTask, t.id)
}

// Codes of a stop after which the instance does not start again.
const (
	codeKilled    = "Killed"
	codeCancelled = "Cancelled"
)

// codeIncomplete is that of a stop after which the instance starts again in any case.
const codeIncomplete = "GangIncomplete"

func (c *Cluster) kill(e Kill) error {
	t := c.task(e.Task)
	if t == nil {
		return noTask(e.Task)
	}
	if t.reserves() {
		return c.giveUpReservation(t)
	}
	t.killed = true
	c.stop(t, e.Grace, e.Force, Reason{Code: codeKilled, Message: "somebody asked for it"})
	return nil
}

// setCost notes what it costs the owner of a task to lose it.
func (c *Cluster) setCost(e SetCost) error {
	t := c.task(e.Task)
	if t == nil {
		return noTask(e.Task)
	}
	if t.cost == e.Cost {
		return nil
	}
	t.cost = e.Cost
	t.unit.pool.rerank(t.unit)
	c.emit(SaveTask{t.id})
	c.changed(ObjectTask, t.id)
	return nil
}

func (c Cost) guard() int {
	if c.Guarded {
		return 1
	}
	return 0
}

// cost is what it costs to lose a unit: as much as the dearest of its tasks.
func (u *unit) cost() Cost {
	most := u.tasks[0].cost
	for _, t := range u.tasks[1:] {
		most.Guarded = most.Guarded || t.cost.Guarded
		most.Amount = max(most.Amount, t.cost.Amount)
	}
	return most
}

func noTask(id string) *Refusal {
	return refuse("NotFound", "list the tasks there are, ended ones included", "no task runs under the id %q", id)
}
