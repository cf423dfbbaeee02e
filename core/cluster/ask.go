package cluster

import (
	"fmt"
	"slices"
	"time"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
	"polder.dev/polder/core/waste"
)

// ask is an ask with where its instances are.
type ask struct {
	AskSpec
	AskState
	seq     int64
	class   *class
	live    instances // with a lease
	blocked time.Time // since when something of it waits in vain; zero when nothing does
	unit    *unit     // of a gang: its charge while it runs
	claims  int       // instances (a gang counts once) with a reservation
	waits   bool      // it is in its class's list
	queued  queued
	backlog backlog
	own     class // its class at first: where others wait that are the same, it joins theirs
}

// class is everything that waits and is the same to the scheduler: one role, one shape, one treatment.
type class struct {
	key      string // see identity
	pool     *pool
	path     string  // role as written
	leaf     role.ID // of the current tree
	shape    *Shape
	group    string
	gang     bool
	earmark  bool
	count    int             // of a gang; 1 otherwise
	need     resource.Vector // what is booked for one
	carve    resource.Vector // of a reservation; need is nothing then
	grace    time.Duration
	minRun   time.Duration
	compiled *placement.Compiled
	asks     []*ask // with something waiting, oldest first
	backlog  int    // instances that wait, as of the last decision

	nowhere int64 // opens and one, when a claim of it was last looked for another place in vain
	tried   int64 // epoch in which nothing more of it could start
	lasting lasting
	branch  role.ID // the role below the root on the way to its leaf
	refusal *verdict
	impasse impasse
	wants   wants
	standing
}

// verdict is why a class cannot start at the moment.
type verdict struct {
	code    string
	message string
	next    string
	unlent  waste.Reason // of the hold rule: what is in its way
}

// waiting is how many instances have no lease.
func (a *ask) waiting() int {
	if a.Cancelled {
		return 0
	}
	return len(a.Returned) + a.Count - a.Next
}

// next takes the instance that starts next, of those that may start now; there must be one, see [ask.readyCount].
func (a *ask) next(now time.Time) Instance {
	in := Instance{Index: a.Next}
	if i := slices.IndexFunc(a.Returned, func(r Instance) bool { return !r.NotBefore.After(now) }); i >= 0 {
		in = a.Returned[i]
	}
	a.take(in)
	return in
}

// readyCount is how many instances may start now.
func (a *ask) readyCount(now time.Time) int {
	if a.Cancelled {
		return 0
	}
	n := a.Count - a.Next
	for _, in := range a.Returned {
		if !in.NotBefore.After(now) {
			n++
		}
	}
	return n
}

// take marks an instance as having a lease.
func (a *ask) take(in Instance) {
	i := slices.IndexFunc(a.Returned, func(r Instance) bool { return r.Index == in.Index })
	switch {
	case i >= 0:
		a.Returned = slices.Delete(a.Returned, i, i+1)
	case in.Index >= a.Next:
		for j := a.Next; j < in.Index; j++ {
			a.Returned = append(a.Returned, Instance{Index: j})
		}
		a.Next = in.Index + 1
	}
}

// giveBack queues an instance again.
func (a *ask) giveBack(in Instance) {
	i, _ := slices.BinarySearchFunc(a.Returned, in, func(x, y Instance) int { return x.Index - y.Index })
	a.Returned = slices.Insert(a.Returned, i, in)
}

func (a *ask) state() string {
	switch {
	case a.Cancelled && a.live.len() == 0:
		return "cancelled"
	case a.waiting() == 0 && a.live.len() == 0:
		return "finished"
	}
	return "open"
}

// submit queues an ask, or refuses one that can never be served.
func (c *Cluster) submit(spec AskSpec) error {
	if _, dup := c.asks[spec.ID]; dup {
		return refuse("AlreadyExists", "submit it under another name", "ask %s exists already", spec.ID)
	}
	a := &ask{AskSpec: spec}
	if r := c.admit(a); r != nil {
		return r
	}
	c.know(a)
	c.wait(a)
	c.saveAsk(a.ID)
	c.happened("AskSubmitted", a.ID, a.Role, "", "%s asks for %d × %s for %s", a.ID, a.Count, spec.Shape.Resources, a.Role)
	return nil
}

// know makes an ask known that has its class. What waits of it is to be queued by [Cluster.wait].
func (c *Cluster) know(a *ask) {
	c.seq++
	a.seq = c.seq
	c.asks[a.ID] = a
	for _, in := range a.Returned {
		c.rest(in.NotBefore)
	}
	c.changed(ObjectAsk, a.ID)
	c.changed(ObjectRole, "")
}

// wait puts an ask with waiting instances into its class's line, in order of arrival.
func (c *Cluster) wait(a *ask) {
	a.note()
	if a.waits || a.waiting() == 0 {
		return
	}
	cl := c.enlist(a.class)
	a.class = cl
	i, _ := slices.BinarySearchFunc(cl.asks, a.seq, func(x *ask, s int64) int { return int(x.seq - s) })
	cl.asks = slices.Insert(cl.asks, i, a)
	a.waits = true
	cl.tried = 0
}

// enlist returns the class of that identity that is in its pool's queue, putting this one there when there is none.
func (c *Cluster) enlist(cl *class) *class {
	if cl.key == "" {
		cl.key = cl.identity()
	}
	if old, ok := cl.pool.classes[cl.key]; ok {
		if old != cl { // an ask that waits again may find the class it left, kept in the queue by others
			cl.release()
		}
		return old
	}
	if cl.compiled == nil {
		c.resolve(cl) // admit has validated it
	}
	cl.pool.classes[cl.key] = cl
	cl.pool.enqueue(cl)
	return cl
}

// unwait takes an ask with nothing waiting out of the line.
func (c *Cluster) unwait(a *ask) {
	if a.waits && a.waiting() == 0 {
		c.leaveLine(a)
	}
}

// leaveLine takes an ask out of its class's line.
func (c *Cluster) leaveLine(a *ask) {
	c.dissolveAsk(a)
	a.note()
	a.waits = false
	a.blocked = time.Time{}
	cl := a.class
	i, _ := slices.BinarySearchFunc(cl.asks, a.seq, func(x *ask, s int64) int { return int(x.seq - s) })
	cl.asks = slices.Delete(cl.asks, i, i+1)
	if len(cl.asks) == 0 {
		cl.release()
		delete(cl.pool.classes, cl.key)
		cl.pool.dequeue(cl)
	}
}

// classOf makes the class of an ask; [Cluster.enlist] finds the one that is queued already.
func (c *Cluster) classOf(a *ask) class {
	s := &a.Shape
	p := c.poolOrNew(s.Pool)
	cl := class{pool: p, path: a.Role, shape: s, gang: a.Gang, earmark: a.Earmark, count: 1}
	if a.Gang {
		cl.count = a.Count - a.Succeeded - a.Failed - a.Killed // what has ended for good does not start again
	}
	if len(s.Spread) > 0 || s.Exclusive {
		cl.group = a.ID
	}
	return cl
}

// identity is the same text for asks that are the same to the scheduler.
func (cl *class) identity() string {
	s := cl.shape
	text := fmt.Sprintf("%s|%s|%v|%d|%v|%v|%d|%v|%v|%v|%v|%v", cl.path, s.Resources, s.Ports, cl.count, s.Constraints, s.Spread,
		s.Priority, s.Pinned, duration(s.ReclaimGrace), duration(s.MinRuntime), cl.group, cl.earmark)
	if s.Volume {
		text += "|volume"
	}
	if s.Reserve {
		text += "|reserve"
	}
	if s.carved() {
		text += "|from " + s.From
	}
	return text
}

func duration(d *time.Duration) string {
	if d == nil {
		return "-"
	}
	return d.String()
}

// resolve fills in what depends on the tree and the table of kinds. It fails on a malformed shape.
func (c *Cluster) resolve(cl *class) (err error) {
	cl.leaf = c.leafOf(cl.path)
	r := &c.tree.Roles[cl.leaf]
	cl.grace = shorter(r.ReclaimGrace, cl.shape.ReclaimGrace)
	cl.minRun = shorter(r.MinRuntime, cl.shape.MinRuntime)
	if len(cl.need) != c.kinds.Len() {
		cl.need = cl.shape.Resources.Vector(c.kinds, "")
	}
	if cl.shape.carved() {
		cl.carve, cl.need = cl.shape.Resources.Vector(c.kinds, ""), make(resource.Vector, c.kinds.Len())
	}
	cl.branch = c.branchOf(cl.leaf)
	cl.tried, cl.lasting = 0, lasting{}
	cl.release()
	cl.compiled, err = cl.pool.index.Compile(cl.placementShape())
	return err
}

// release lets go of what the placement index keeps for the class.
func (cl *class) release() {
	if cl.compiled != nil {
		cl.pool.index.Release(cl.compiled)
		cl.compiled = nil
	}
}

func shorter(d time.Duration, own *time.Duration) time.Duration {
	if own != nil && *own < d {
		return *own
	}
	return d
}

// placementShape is what a node must have.
func (cl *class) placementShape() placement.Shape {
	s := placement.Shape{Need: cl.need, Constraints: cl.shape.Constraints, Spread: cl.shape.Spread, Group: cl.group}
	for _, p := range cl.shape.Ports {
		if p.Host == 0 {
			s.DynamicPorts++
		} else {
			s.HostPorts = append(s.HostPorts, p.Host)
		}
	}
	if cl.shape.Exclusive {
		s.AntiAffinity = []string{cl.group}
	}
	return s
}

func (cl *class) hold() time.Duration { return cl.grace + cl.minRun }

// amount is what one start of the class takes: a task, or the whole gang.
func (cl *class) amount() resource.Vector {
	if cl.count == 1 {
		return cl.need
	}
	out := make(resource.Vector, len(cl.need))
	for i, a := range cl.need {
		out[i] = a.MulDiv(int64(cl.count), 1)
	}
	return out
}

// cancel withdraws an ask.
func (c *Cluster) cancel(e Cancel) error {
	a := c.asks[e.Ask]
	if a == nil {
		return refuse("NotFound", "list the asks there are", "no open ask has the id %q", e.Ask)
	}
	if !e.KeepRunning {
		for _, t := range a.live.inOrder() {
			if t.reserves() {
				return c.giveUpReservation(t)
			}
		}
	}
	c.withdraw(a, e.KeepRunning, "")
	return nil
}

// withdraw cancels what of an ask does not run, and stops what does unless that is to be kept.
func (c *Cluster) withdraw(a *ask, keepRunning bool, why string) {
	a.Cancelled = true
	c.dissolveAsk(a)
	c.unwait(a)
	if !keepRunning {
		for _, t := range a.live.inOrder() {
			t.killed = true
			c.stop(t, nil, false, Reason{Code: codeCancelled, Message: "its ask was cancelled"})
		}
	}
	a.class.pool.opened()
	c.saveAsk(a.ID)
	c.happened("AskCancelled", a.ID, a.Role, "", "%s is cancelled; %d tasks of it run%s", a.ID, a.live.len(), why)
	c.finish(a)
}

// reclass gives an ask that is in no line a class anew.
func (c *Cluster) reclass(a *ask) {
	cl := c.classOf(a)
	a.class = &cl
}

// settle decides what becomes of the instance whose task ended.
func (c *Cluster) settle(t *task, s State) {
	a := t.ask
	if a == nil {
		return
	}
	a.live.drop(t)
	again, delay := a.again(t, s)
	switch {
	case again:
		in := Instance{Index: t.index, Attempt: t.attempt + 1}
		if delay > 0 {
			in.NotBefore = c.now.Add(delay)
			c.rest(in.NotBefore)
		}
		a.giveBack(in)
	case s == Succeeded:
		a.Succeeded++
	case s == Failed || s == Lost:
		a.Failed++
	default:
		a.Killed++
	}
	if a.Gang && a.live.len() == 0 && a.waiting() > 0 {
		if a.waits {
			c.leaveLine(a) // of a part of it: the dead leader had launched the rest
		}
		c.reclass(a) // what is left of it starts together
	}
	if !a.Gang || a.live.len() == 0 {
		c.wait(a)
	}
	c.saveAsk(a.ID)
	c.changed(ObjectAsk, a.ID)
	c.finish(a)
}

// again reports whether an ended instance waits again, and for how long it rests first.
func (a *ask) again(t *task, s State) (bool, time.Duration) {
	if a.Cancelled || t.killed {
		return false, 0
	}
	r := a.Shape.Restart
	switch s {
	case Reclaimed, Lost, Killed:
		if t.reason.Code == codeIncomplete {
			return true, 0
		}
		// killed without anybody asking: its gang broke, its node was drained
		return a.Shape.Requeue, 0
	case Failed:
		if r.Policy == RestartNever || r.Policy == "" || (r.Max > 0 && a.Restarts >= r.Max) {
			return false, 0
		}
		a.Restarts++
		return true, backoff(r.Backoff, a.Restarts)
	case Succeeded:
		return r.Policy == RestartAlways, r.Backoff
	}
	return false, 0
}

// backoff doubles from first with every failure, up to a minute.
func backoff(first time.Duration, failures int) time.Duration {
	d := first
	for i := 1; i < failures && d < time.Minute; i++ {
		d *= 2
	}
	return min(d, max(first, time.Minute))
}

// finish forgets an ask of which nothing waits or runs.
func (c *Cluster) finish(a *ask) {
	c.unwait(a)
	c.changed(ObjectAsk, a.ID)
	if a.state() == "open" {
		return
	}
	delete(c.asks, a.ID)
	c.said.saved = ""
	c.emit(DeleteAsk{a.ID}, AskEnded{c.askView(a)})
}
