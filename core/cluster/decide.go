package cluster

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/role"
)

// tick turns the calendar and takes every decision that is due.
func (c *Cluster) tick() {
	if !c.turnsAt.IsZero() && !c.now.Before(c.turnsAt) {
		c.turn()
	}
	if c.recovering {
		return
	}
	c.wake = time.Time{}
	c.rested()
	if !c.leadAt.IsZero() && !c.now.Before(c.leadAt) {
		c.readCalendar()
	}
	for _, p := range c.pools {
		p.decide()
	}
	c.lead()
}

// passes bounds how often one decision looks again at what it has itself set free.
const passes = 16

// decide runs one round in a pool: funding deepens and claims of age reclaim, claimants and then everybody else start, and
// notices that nobody needs are withdrawn; again as long as that sets something free. Claims come before starts: what has
// just come free is theirs, not the next borrower's.
func (p *pool) decide() {
	if p.strained {
		p.strained = false
		p.repair("the guarantees of other roles")
	}
	p.packages.settle()
	for range passes {
		before := p.epoch
		p.aheads = nil
		p.startPinned()
		p.weigh()
		p.reclaim()
		p.serveClaims()
		p.startAll()
		p.withdraw()
		if p.epoch == before {
			return
		}
	}
	p.c.wakeAt(p.c.now.Add(time.Second))
}

// refund books a unit's new funding role, already changed in the ledger.
func (p *pool) refund(u *unit, moved lending.Charge) {
	p.unlist(u)
	u.charge = moved
	p.list(u)
	p.announce(u)
	p.opened()
}

// within reports whether leaf lies in the subtree of v.
func (c *Cluster) within(leaf, v role.ID) bool {
	for ; leaf != role.None; leaf = c.tree.Roles[leaf].Parent {
		if leaf == v {
			return true
		}
	}
	return false
}

// hungry is a leaf with something to start; the heap has the one most below its entitlement on top.
type hungry struct {
	leaf    role.ID
	above   float64 // its entitlement; see [pool.above]
	classes []*class
	next    int // of them to be tried
}

type hunger []*hungry

func (h hunger) Len() int { return len(h) }
func (h hunger) Less(i, j int) bool {
	if h[i].above != h[j].above {
		return h[i].above < h[j].above
	}
	return h[i].leaf < h[j].leaf
}
func (h hunger) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *hunger) Push(x any) { *h = append(*h, x.(*hungry)) }

// Pop implements heap.Interface.
func (h *hunger) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// startPinned starts what may not borrow before its own role's borrowers deepen into the guarantee: they can go on without
// it.
func (p *pool) startPinned() {
	if p.pinned == 0 {
		return
	}
	for cl := range p.queue.all() {
		if cl.shape.Pinned && !cl.earmark && cl.tried != p.epoch+1 {
			p.weigh()
			p.startFrom(p.hungry(func(cl *class) bool { return cl.shape.Pinned }))
			return
		}
	}
}

// startAll starts what it can. Who was refused before, and is again because of what has started, is told why.
func (p *pool) startAll() {
	all := func(*class) bool { return true }
	if p.startFrom(p.hungry(all)) {
		p.startFrom(p.hungry(all))
	}
}

// startFrom starts what it can of some leaves, always for the one most below its entitlement. It reports whether that was anything.
func (p *pool) startFrom(h hunger) (any bool) {
	heap.Init(&h)
	for h.Len() > 0 {
		top := h[0]
		if !p.startOne(top) {
			heap.Pop(&h)
			continue
		}
		any = true
		top.above = p.above(top.leaf)
		heap.Fix(&h, 0)
	}
	return any
}

// hungry lists the leaves with classes that may start, the classes in the order they are served.
func (p *pool) hungry(wanted func(*class) bool) hunger {
	var h hunger
	for cl := range p.queue.all() {
		if cl.tried == p.epoch+1 || cl.earmark || !wanted(cl) || p.stillRefused(cl) {
			continue
		}
		e := &p.waiting[cl.leaf].hungry
		if len(e.classes) == 0 {
			e.leaf, e.above = cl.leaf, p.above(cl.leaf)
			h = append(h, e)
		}
		e.classes = append(e.classes, cl)
	}
	for _, e := range h {
		e.next = 0
		slices.SortStableFunc(e.classes, func(a, b *class) int {
			return cmp.Or(cmp.Compare(b.shape.Priority, a.shape.Priority), cmp.Compare(a.asks[0].seq, b.asks[0].seq))
		})
	}
	return h
}

// above is how far a leaf is above its entitlement, as a share of the pool, in the kind in which it is most so; below zero is below. It
// is a difference, not a ratio: by ratio, many roles that are due a little would come before one that is due much.
func (p *pool) above(leaf role.ID) float64 {
	worst, any := 0.0, false
	due, capacity := p.shares.Entitlement(leaf), p.ledger.Capacity()
	for i, u := range p.ledger.Used(leaf) {
		if capacity[i] == 0 || u == 0 && due.At(i) == 0 {
			continue
		}
		if x := float64(u-due.At(i)) / float64(capacity[i]); !any || x > worst {
			worst, any = x, true
		}
	}
	return worst
}

// startOne starts one task or gang of a leaf; false when none of its classes can start.
func (p *pool) startOne(e *hungry) bool {
	for ; e.next < len(e.classes); e.next++ {
		cl := e.classes[e.next]
		if p.stillRefused(cl) {
			continue
		}
		for _, a := range cl.asks {
			if !p.unclaimed(a) {
				continue
			}
			if p.start(cl, a) {
				return true
			}
			break
		}
	}
	e.classes = e.classes[:0]
	return false
}

// start tries to start one task or gang of an ask where capacity is idle.
func (p *pool) start(cl *class, a *ask) bool {
	charge, places, v := p.fit(cl)
	if v != nil {
		cl.tried = p.epoch + 1
		cl.refusal = v
		cl.note()
		p.remember(cl, v)
		if cl.impasse.at == cl.tried && cl.impasse.why != nil {
			cl.refusal = cl.impasse.why
		}
		return false
	}
	p.launch(cl, a, charge, places)
	p.begun(cl)
	return true
}

// fit finds funding and places for one start of a class and books both; the verdict says why there are none.
func (p *pool) fit(cl *class) (lending.Charge, places, *verdict) {
	if cl.shape.carved() {
		return p.fitCarved(cl)
	}
	amount := cl.amount()
	if r := p.ledger.Room(cl.leaf, amount); r != nil {
		return lending.Charge{}, places{}, p.c.refused(p, cl, r)
	}
	charge, r := p.ledger.Fund(lending.Charge{Leaf: cl.leaf, Amount: amount, Hold: cl.hold(), Count: cl.count}, cl.shape.Pinned)
	if r != nil {
		return charge, places{}, p.c.refused(p, cl, r)
	}
	for {
		found, ok := p.find(cl, charge, nil)
		if !ok {
			p.ledger.Remove(charge)
			if p.packages == nil || cl.shape.Pinned || !p.payHigher(&charge) {
				return charge, places{}, p.noPlace(cl)
			}
			continue
		}
		if charge.At == role.Root { // after the search: looking ahead costs more than a place in vain
			if v := p.heldBack(cl); v != nil {
				p.give(cl, found)
				p.ledger.Remove(charge)
				return charge, places{}, v
			}
		}
		return charge, found, nil
	}
}

// payHigher charges what has no place beside packages at the next role up that may pay for it: what borrows gives way to them.
func (p *pool) payHigher(c *lending.Charge) bool {
	for c.At != role.Root {
		c.At = p.c.tree.Roles[c.At].Parent
		if p.ledger.Try(*c) == nil {
			return true
		}
	}
	return false
}

// find chooses the nodes for one start of a class that is charged so and takes the places there. The start may be that of a claim, whose
// own place does not count.
func (p *pool) find(cl *class, c lending.Charge, but *claim) (places, bool) {
	fenced := c.At == role.Root && p.fenced(cl)
	if p.packages == nil && !fenced {
		return p.findAnywhere(cl)
	}
	if p.packages.owner(c) == nil {
		out, ok := p.findAnywhere(cl)
		if !ok || p.packages.admit(cl, c, out, but) && (!fenced || p.mayBorrowAll(cl, out)) {
			return out, ok
		}
		p.give(cl, out)
	}
	return p.findBeside(cl, c, but)
}

// findAnywhere is find where no packages are.
func (p *pool) findAnywhere(cl *class) (out places, ok bool) {
	var one [1]placement.NodeID
	nodes := one[:]
	if cl.count > 1 {
		nodes, ok = p.index.PlaceGang(slices.Repeat([]*placement.Compiled{cl.compiled}, cl.count))
	} else {
		nodes[0], ok = p.index.Place(cl.compiled)
	}
	if !ok {
		return places{}, false
	}
	for _, id := range nodes {
		ports, ok := p.take(cl, id)
		if !ok {
			p.give(cl, out)
			return places{}, false
		}
		out.add(id, ports)
	}
	return out, true
}

// places are where the tasks of one start go: a node each, and the host ports taken for it there. While they are booked every
// task counts in its group as if it ran; its amounts are its holder's business.
type places struct {
	nodes   []placement.NodeID
	ports   []map[string]uint16 // empty when the tasks have none
	amounts bool                // are booked on node and ledger as well
}

func (s *places) add(id placement.NodeID, ports map[string]uint16) {
	s.nodes = append(s.nodes, id)
	if ports != nil { // tasks of one start are the same: all have ports, or none has
		s.ports = append(s.ports, ports)
	}
}

// portsOf is what the task at a place has taken there.
func (s *places) portsOf(i int) map[string]uint16 {
	if len(s.ports) == 0 {
		return nil
	}
	return s.ports[i]
}

// first is the first n of the places.
func (s *places) first(n int) places {
	return places{nodes: s.nodes[:n], ports: s.ports[:min(n, len(s.ports))]}
}

// place is one place.
func place(id placement.NodeID, ports map[string]uint16) (s places) {
	s.add(id, ports)
	return s
}

// take books what one task of a class has of a node beside amounts; false when its ports are not to be had.
func (p *pool) take(cl *class, id placement.NodeID) (map[string]uint16, bool) {
	ports, ok := p.takePorts(id, cl.shape.Ports)
	if ok {
		p.index.AddTask(id, cl.group)
	}
	return ports, ok
}

// retake books one task's place again, on the very ports it had.
func (p *pool) retake(cl *class, id placement.NodeID, ports map[string]uint16) bool {
	_, ok := p.index.TakePorts(id, sortedPorts(ports), 0)
	if ok {
		p.index.AddTask(id, cl.group)
	}
	return ok
}

// give undoes what take did for every one of the places.
func (p *pool) give(cl *class, s places) {
	for i, id := range s.nodes {
		p.index.RemoveTask(id, cl.group)
		if ports := s.portsOf(i); len(ports) > 0 {
			p.index.ReleasePorts(id, sortedPorts(ports))
		}
	}
}

// launch turns a charge and places that are booked into running tasks.
func (p *pool) launch(cl *class, a *ask, charge lending.Charge, at places) *unit {
	c := p.c
	c.seq++
	u, tasks := newUnit(len(at.nodes))
	u.seq, u.pool, u.charge, u.pinned = c.seq, p, charge, cl.shape.Pinned
	for i, id := range at.nodes {
		in := a.next(c.now)
		t := &tasks[i]
		*t = task{
			id: taskID(a.ID, in.Index, in.Attempt), seq: c.seq, ask: a, index: in.Index, attempt: in.Attempt,
			gang: a.Gang, role: a.Role, shape: &a.Shape, group: cl.group, node: p.nodes[id], unit: u, need: cl.need, carve: cl.carve,
			grace: cl.grace, minRun: cl.minRun, created: c.now, state: Starting, payload: a.Payload, ports: at.portsOf(i),
		}
		if t.reserves() { // no agent has to begin anything
			t.state, t.started = Running, c.now
		}
		u.tasks = append(u.tasks, t)
		a.live.put(t)
		p.index.RemoveTask(id, cl.group) // occupy counts it
		c.occupy(t, at.amounts || cl.shape.carved())
	}
	p.enter(u)
	if a.waits { // what was claimed never did
		a.note()
	}
	c.unwait(a)
	for _, t := range u.tasks {
		if t.reserves() {
			c.emit(SaveTask{t.id})
			c.happened("Reserved", t.id, t.role, t.node.Name, "%s is reserved on %s", t.id, t.node.Name)
			continue
		}
		c.emit(SaveTask{t.id}, Launch{t.assignment()}, Happened{Kind: "TaskStarting", Subject: t.id, Role: t.role, Node: t.node.Name,
			Message: t.id + " starts on " + t.node.Name + ", " + paying(u.paidBy)})
	}
	c.saveAsk(a.ID)
	c.changed(ObjectAsk, a.ID)
	c.changed(ObjectRole, "")
	return u
}

// takePorts books the ports of a task on its node: the fixed ones, and the lowest free ones for the others. It books none when
// not all are free.
func (p *pool) takePorts(id placement.NodeID, want []Port) (map[string]uint16, bool) {
	if len(want) == 0 {
		return nil, true
	}
	var fixed []uint16
	dynamic := 0
	for _, w := range want {
		if w.Host != 0 {
			fixed = append(fixed, w.Host)
		} else {
			dynamic++
		}
	}
	chosen, ok := p.index.TakePorts(id, fixed, dynamic)
	if !ok {
		return nil, false
	}
	chosen = chosen[len(fixed):]
	out := map[string]uint16{}
	for _, w := range want {
		out[w.Name] = w.Host
		if w.Host == 0 {
			out[w.Name], chosen = chosen[0], chosen[1:]
		}
	}
	return out, true
}

func sortedPorts(ports map[string]uint16) []uint16 {
	var out []uint16
	for _, p := range ports {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}
