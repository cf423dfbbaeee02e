package cluster

import (
	"fmt"
	"slices"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
	"polder.dev/polder/core/waste"
)

// Cluster is the state of one Polder cluster. Make one with [New].
type Cluster struct {
	plan      *role.Plan
	revision  int64
	settings  role.Settings
	tree      *role.Tree
	treeSince time.Time
	kinds     *resource.Kinds
	pools     []*pool // sorted by name
	nodes     map[string]*node
	asks      map[string]*ask
	strays    map[string]*task // tasks that no ask that is known has under their id; see task
	seq       int64            // orders asks and units by arrival

	pledged []*ask                     // volumes that the commit under way has a place for
	carved  map[string]resource.Vector // out of reservations, by their id

	recovering bool         // restored state is not complete: decide nothing
	turnsAt    time.Time    // when the calendar next changes the tree; zero is never
	leadAt     time.Time    // when the next lead begins; zero is never
	calendars  int64        // how often the calendar was read
	raises     []role.Raise // whose lead has begun
	wake       time.Time    // earliest time a decision may fall due; zero is never
	restsTill  time.Time    // when the next instance has rested from a failure; zero is never

	forecast forecast
	book     *waste.Book
	now      time.Time
	out      []Effect
	said     said // of out
	dated    date
}

// New returns an empty cluster with an empty plan. It decides nothing before [Recovered] if anything is restored.
func New() *Cluster {
	c := &Cluster{
		plan: &role.Plan{}, kinds: resource.NewKinds(),
		nodes: map[string]*node{}, asks: map[string]*ask{}, strays: map[string]*task{}, carved: map[string]resource.Vector{},
	}
	c.retree()
	c.out = nil
	return c
}

// Step applies one event at a time that is not before that of the last Step. The effects are to be carried out in order.
// A [Refusal] means that the event was refused and nothing has changed.
func (c *Cluster) Step(e Event, now time.Time) ([]Effect, error) {
	c.keepBooks(now)
	c.now = now
	c.said = said{}
	err := c.apply(e)
	return c.take(), err
}

// mostKept is how many effects there is always room for: a step that has no more needs memory for those it returns only.
const mostKept = 1 << 12

// take hands over the effects of a step.
func (c *Cluster) take() []Effect {
	out := c.out
	if len(out) > mostKept {
		c.out = nil
		return out
	}
	c.out = out[:0]
	if len(out) == 0 {
		return nil
	}
	out = slices.Clone(out)
	clear(c.out[:len(out)])
	return out
}

// apply dispatches on the event. Errors are *Refusal.
func (c *Cluster) apply(e Event) error {
	switch e := e.(type) {
	case Tick:
		c.tick()
	case SetPlan:
		return c.setPlan(e)
	case Register:
		return c.register(e)
	case SetAttributes:
		return c.setAttributes(e)
	case Disconnect:
		c.disconnect(e.Node)
	case RemoveNode:
		return c.removeNode(e)
	case Cordon:
		return c.cordon(e)
	case Drain:
		return c.drain(e)
	case Submit:
		return c.submit(e.Ask)
	case Cancel:
		return c.cancel(e)
	case Commit:
		c.commit(e)
	case Report:
		c.report(e)
	case Answer:
		return c.answer(e)
	case Resize:
		return c.resize(e)
	case SetCost:
		return c.setCost(e)
	case Accepted:
		c.accepted(e)
	case Kill:
		return c.kill(e)
	case RestoreNode:
		c.restoreNode(e.Node)
	case RestoreAsk:
		c.restoreAsk(e)
	case RestoreTask:
		c.recovering = true
		c.adopt(e.Task, nil)
	case Recovered:
		c.recovered()
	default:
		return refuse("UnknownEvent", "", "event %T is unknown", e)
	}
	return nil
}

// emit adds to the effects. Their room doubles, so that a step with many moves each of them once.
func (c *Cluster) emit(e ...Effect) {
	if cap(c.out)-len(c.out) < len(e) {
		c.out = slices.Grow(c.out, len(c.out)+len(e))
	}
	c.out = append(c.out, e...)
}

// changed tells readers that an object looks different. They look once the step is over: once in a row is enough.
func (c *Cluster) changed(o Object, id string) {
	if e := (Changed{o, id}); !c.said.changed(e) {
		c.emit(e)
	}
}

// saveAsk makes an ask durable as it is when the step is over: once in a row is enough.
func (c *Cluster) saveAsk(id string) {
	if c.said.saved != id {
		c.said.saved = id
		c.emit(SaveAsk{id})
	}
}

// said is what a step has told last, of effects that need no repeating.
type said struct {
	saved           string // ask
	task, ask, node string
	role            bool
}

// changed reports whether a change is the last of its kind once more, and notes it.
func (s *said) changed(e Changed) (again bool) {
	if e.Object == ObjectRole {
		again, s.role = s.role, true
		return again
	}
	last := &s.task
	switch e.Object {
	case ObjectAsk:
		last = &s.ask
	case ObjectNode:
		last = &s.node
	}
	again, *last = *last == e.ID, e.ID
	return again
}

func (c *Cluster) happened(kind, subject, role, node, format string, args ...any) {
	c.emit(Happened{Kind: kind, Subject: subject, Role: role, Node: node, Message: fmt.Sprintf(format, args...)})
}

// wakeAt makes sure that NextWake is not later than t.
func (c *Cluster) wakeAt(t time.Time) {
	if c.wake.IsZero() || t.Before(c.wake) {
		c.wake = t
	}
}

// rest notes that an instance may start again at t, if that is later.
func (c *Cluster) rest(t time.Time) {
	if t.After(c.now) && (c.restsTill.IsZero() || t.Before(c.restsTill)) {
		c.restsTill = t
	}
}

// rested looks up whose rest ends next, once one has ended.
func (c *Cluster) rested() {
	if c.restsTill.IsZero() || c.now.Before(c.restsTill) {
		return
	}
	c.restsTill = time.Time{}
	for _, a := range c.asks {
		for _, in := range a.Returned {
			c.rest(in.NotBefore)
			a.note()
		}
	}
}

// NextWake returns when the next [Tick] is due if no event comes before: a claim comes of age, a window turns, a delay ends.
func (c *Cluster) NextWake() (time.Time, bool) {
	next := c.wake
	for _, t := range []time.Time{c.turnsAt, c.leadAt, c.restsTill} {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next, !next.IsZero() && !c.recovering
}

// pool finds a pool by name; nil when neither plan nor nodes have it.
func (c *Cluster) pool(name string) *pool {
	i, ok := slices.BinarySearchFunc(c.pools, name, func(p *pool, n string) int {
		switch {
		case p.name < n:
			return -1
		case p.name > n:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return c.pools[i]
}

// poolOrNew finds a pool by name, making it when it is new.
func (c *Cluster) poolOrNew(name string) *pool {
	if p := c.pool(name); p != nil {
		return p
	}
	p := newPool(c, name)
	c.pools = append(c.pools, p)
	slices.SortFunc(c.pools, func(a, b *pool) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	p.reledger()
	return p
}

// leafOf is the role that holds work of a path in the present tree; see leafIn.
func (c *Cluster) leafOf(path string) role.ID { return leafIn(c.tree, path) }

func parentPath(p string) string {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] == '/' {
			return p[:i]
		}
	}
	return ""
}

// fundingName is how a funding role is written.
func (c *Cluster) fundingName(at role.ID) string {
	if at == role.Root {
		return Borrowed
	}
	return role.Display(c.tree.Roles[at].Path)
}

// paying says in a sentence who pays.
func paying(funding string) string {
	if funding == Borrowed {
		return "on borrowed capacity"
	}
	return "paid by " + funding
}
