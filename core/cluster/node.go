package cluster

import (
	"cmp"
	"fmt"
	"slices"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// node is a machine. Amounts are vectors of its pool. What every start and end of a task touches comes first: with many nodes,
// each line of memory costs.
type node struct {
	pool      *pool
	id        placement.NodeID
	reachable bool
	stale     bool  // the index is to be told what it has
	trusted   bool  // restored and not heard yet: it may have tasks whose records were not saved before the failover
	touched   int64 // pool.touches when it last changed
	total     resource.Vector
	used      resource.Vector // by leases, leaving included
	tasks     []*task         // the order has no meaning
	keeps     []keep          // for claims, out of what is free or leaving; the earliest first
	NodeInfo
	shelved  shelved
	leaving  resource.Vector // part of used that is under notice
	volumes  int             // of tasks; reservations are among them
	reserves int             // reservations
	going    []*task         // those that have given their funding away, or are to; see sort
}

// setTotal says what the machine has, and makes room for so many kinds in all vectors of the node: they lie side by side.
func (n *node) setTotal(total resource.Vector) {
	s := &n.shelved
	n.total = total
	vectors := [...]*resource.Vector{&n.total, &n.used, &s.capacity, &s.idle, &s.kept, &s.free, &n.leaving}
	rows := resource.Zeros(len(vectors), len(total))
	for i, v := range vectors {
		copy(rows[i], *v)
		*v = rows[i]
	}
}

// free is what no lease holds.
func (n *node) free() resource.Vector { return n.total.Minus(n.used) }

// refresh tells the index what the node has; while a round looks at whom to ask back, once it is over: it plans much on a node, and
// asks the index for none of it.
func (n *node) refresh() {
	if n.pool.asking {
		if !n.stale {
			n.stale = true
			n.pool.stale = append(n.pool.stale, n)
		}
		return
	}
	n.pool.touches++
	n.touched = n.pool.touches
	n.pool.noteNode(n)
	var scratch [resource.MaxKinds]resource.Amount
	n.pool.index.SetAvailable(n.id, n.writeAvailable(scratch[:len(n.total)]))
	n.pool.show(n)
	n.pool.c.changed(ObjectNode, n.Name)
}

func (n *node) schedulable() bool { return n.reachable && !n.Cordoned }

func (n *node) state() string {
	switch {
	case !n.reachable:
		return "unreachable"
	case n.Draining != nil:
		return "draining"
	case n.Cordoned:
		return "cordoned"
	}
	return "ready"
}

// sortedTasks lists the node's tasks by ID.
func (n *node) sortedTasks() []*task {
	return slices.SortedFunc(slices.Values(n.tasks), func(a, b *task) int { return cmp.Compare(a.id, b.id) })
}

// index tells the placement index everything about the node.
func (n *node) reindex() {
	n.pool.touches++
	n.touched = n.pool.touches
	n.pool.noteNode(n)
	n.pool.index.Set(n.id, placement.Node{
		Name: n.Name, Attributes: n.Attributes, Capacity: n.total, Ports: n.Ports, Schedulable: n.schedulable(),
	})
	n.pool.index.SetAvailable(n.id, n.available())
	n.pool.show(n)
}

// maxAmount is the most of one kind that one node may offer or one task ask for: sums over the largest cluster stay far from
// saturation.
const maxAmount = 1 << 48

// addNode makes a node known, or takes over what a known one says about itself now.
func (c *Cluster) addNode(info NodeInfo) (*node, error) {
	for _, name := range info.Capacity.Names() {
		if a := info.Capacity[name]; a < 0 || a > maxAmount {
			return nil, refuse("InvalidNode", "correct the agent's capacity", "node %s: %s=%s is no amount a machine can have", info.Name, name,
				resource.FormatValue(name, a))
		}
	}
	if err := c.kinds.InternAll(info.Capacity.Names()); err != nil {
		return nil, refuse("InvalidNode", "correct the agent's capacity", "node %s: %v", info.Name, err)
	}
	if c.growKinds() {
		c.retree()
	}
	n, known := c.nodes[info.Name]
	if !known {
		n = &node{}
		c.nodes[info.Name] = n
	} else {
		info.Cordoned, info.Draining = n.Cordoned, n.Draining
	}
	pool := c.poolOrNew(c.plan.PoolOf(info.Attributes))
	if known && n.pool != pool && len(n.tasks) > 0 {
		pool = n.pool // moves once it is empty
	}
	c.place(n, info, pool)
	return n, nil
}

// growKinds reports whether the ledgers are shorter than the table of kinds.
func (c *Cluster) growKinds() bool {
	return slices.ContainsFunc(c.pools, func(p *pool) bool { return p.ledger.Kinds() < c.kinds.Len() })
}

// place puts a node into a pool with what it says about itself.
func (c *Cluster) place(n *node, info NodeInfo, p *pool) {
	if n.pool != nil && n.pool != p {
		c.dissolveOn(n)
		c.unplace(n)
	}
	k := c.kinds.Len()
	p.total = p.total.Clone(k)
	before := n.total
	if n.pool == p {
		p.total.Dec(before)
	}
	n.NodeInfo = info
	n.setTotal(info.Capacity.Vector(c.kinds, ""))
	if n.pool == p && !before.Fits(n.total) {
		c.dissolveOn(n) // what its claims count on may never come
	}
	if n.pool == nil {
		n.pool = p
		if last := len(p.free) - 1; last >= 0 {
			n.id, p.free = p.free[last], p.free[:last]
			p.nodes[n.id] = n
		} else {
			n.id = placement.NodeID(len(p.nodes))
			p.nodes = append(p.nodes, n)
		}
	}
	n.reindex()
	p.total.Inc(n.total)
	p.resized()
	p.opened()
	c.changed(ObjectNode, n.Name)
}

// unplace takes a node without tasks out of its pool.
func (c *Cluster) unplace(n *node) {
	p := n.pool
	p.unshelve(n)
	p.index.Remove(n.id)
	if p.offers != nil {
		p.offers.SetNode(n.id, nil)
	}
	p.nodes[n.id] = nil
	p.free = append(p.free, n.id)
	p.total.Dec(n.total)
	p.resized()
	n.pool = nil
}

// resized tells the ledger what the pool's nodes have now. With less, what is borrowed may be too much beside the guarantees; with
// more, it may be again that they can be held at all.
func (p *pool) resized() {
	before := p.ledger.Capacity()
	p.ledger.SetCapacity(p.total)
	if !before.Fits(p.ledger.Capacity()) || !p.ledger.Sound(role.Root) {
		p.strained = true
	}
}

// register takes a node in, reconciles every task on it and re-sends what it lacks.
func (c *Cluster) register(e Register) error {
	old, known := c.nodes[e.Node.Name]
	if !known {
		e.Node.Cordoned, e.Node.Draining = false, nil
	}
	back := known && !old.reachable
	n, err := c.addNode(e.Node)
	if err != nil {
		return err
	}
	n.reachable = true
	n.reindex()
	c.emit(SaveNode{n.Name})
	c.reconcileAll(n, e.Tasks)
	switch {
	case !known:
		c.happened("NodeJoined", n.Name, "", n.Name, "node %s joined with %s", n.Name, n.total.Text(c.kinds, n.pool.name))
	case back:
		c.happened("NodeBack", n.Name, "", n.Name, "node %s is back with %d tasks", n.Name, len(n.tasks))
	}
	if n.Draining != nil {
		c.drainTasks(n)
	}
	return nil
}

// setAttributes looks at a node anew. Claims that count on it are made again: it may not be what they need any more.
func (c *Cluster) setAttributes(e SetAttributes) error {
	n := c.nodes[e.Node]
	if n == nil {
		return noNode(e.Node)
	}
	info := n.NodeInfo
	info.Attributes = e.Attributes
	if _, err := c.addNode(info); err != nil {
		return err
	}
	c.dissolveOn(n)
	c.emit(SaveNode{n.Name})
	return nil
}

// reconcileAll goes through everything on a node. What is known comes first, and of that what has ended: the node had room for
// what started since the last record only because of it.
func (c *Cluster) reconcileAll(n *node, reports []TaskReport) {
	reported := map[string]bool{}
	var turns [4][]TaskReport
	for _, r := range reports {
		reported[r.Task] = true
		r.Node = n.Name
		turn := 0
		if c.task(r.Task) == nil {
			turn += 2
		}
		if !r.State.Terminal() {
			turn++
		}
		turns[turn] = append(turns[turn], r)
	}
	for turn, rs := range turns {
		for _, r := range rs {
			told := r.Resources
			c.reconcile(n, r)
			c.syncSize(n, r.Task, told)
		}
		if turn == 1 {
			c.reconcileMissing(n, reported)
		}
	}
	n.trusted = false
}

// reconcileMissing deals with what the records have on a node and the node has not.
func (c *Cluster) reconcileMissing(n *node, reported map[string]bool) {
	for _, t := range n.sortedTasks() {
		if !reported[t.id] {
			c.missing(t)
		}
	}
}

func (c *Cluster) disconnect(name string) {
	n := c.nodes[name]
	if n == nil || !n.reachable {
		return
	}
	n.reachable = false
	n.pool.noteNode(n)
	n.pool.index.SetSchedulable(n.id, false)
	n.pool.show(n)
	n.pool.opened() // a spread counts only nodes that answer
	c.dissolveOn(n)
	for _, t := range n.sortedTasks() {
		c.changed(ObjectTask, t.id)
	}
	c.changed(ObjectNode, n.Name)
	c.happened("NodeUnreachable", name, "", name, "node %s does not answer; its %d tasks count as neither running nor lost", name, len(n.tasks))
}

func (c *Cluster) removeNode(e RemoveNode) error {
	name, n := e.Node, c.nodes[e.Node]
	if n == nil {
		return noNode(name)
	}
	lost := n.sortedTasks()
	if !e.LoseVolumes {
		lost = slices.DeleteFunc(lost, (*task).volume)
	}
	for _, t := range lost {
		c.end(t, Lost, nil, Reason{Code: "NodeLost", Message: "node " + name + " is gone"}, c.now)
	}
	for _, t := range lost {
		if t.reserves() {
			c.uncarvable(t.id)
		}
	}
	c.dissolveOn(n)
	if len(n.tasks) > 0 {
		c.outlast(n)
		return nil
	}
	p := n.pool
	c.unplace(n)
	p.opened()
	delete(c.nodes, name)
	c.emit(DeleteNode{name})
	c.changed(ObjectNode, name)
	c.happened("NodeLost", name, "", name, "node %s was removed; %d tasks were lost with it", name, len(lost))
	return nil
}

// staying says how many volumes and reservations a node has.
func (n *node) staying() string {
	volumes, reservations := fmt.Sprintf("%d volumes", n.volumes-n.reserves), fmt.Sprintf("%d reservations", n.reserves)
	switch {
	case n.reserves == 0:
		return volumes
	case n.reserves == n.volumes:
		return reservations
	}
	return volumes + " and " + reservations
}

// andStays is what is said of volumes and reservations that stay, if there are any.
func (n *node) andStays() string {
	if n.volumes == 0 {
		return ""
	}
	return ", " + n.staying() + " stay"
}

func noNode(name string) *Refusal {
	return refuse("NotFound", "list the nodes there are", "no node is called %q", name)
}

func (c *Cluster) cordon(e Cordon) error {
	n := c.nodes[e.Node]
	if n == nil {
		return noNode(e.Node)
	}
	if !e.Cordoned && n.Draining != nil {
		n.Draining = nil
		c.withdrawDrain(n)
	}
	c.setCordon(n, e.Cordoned)
	return nil
}

func (c *Cluster) setCordon(n *node, on bool) {
	if n.Cordoned == on {
		return
	}
	n.Cordoned = on
	n.pool.noteNode(n)
	n.pool.index.SetSchedulable(n.id, n.schedulable())
	n.pool.show(n)
	kind, word := "NodeUncordoned", "takes new tasks again"
	if on {
		kind, word = "NodeCordoned", "takes no new tasks"
		c.dissolveOn(n)
	}
	n.pool.opened()
	c.emit(SaveNode{n.Name})
	c.changed(ObjectNode, n.Name)
	c.happened(kind, n.Name, "", n.Name, "node %s %s", n.Name, word)
}

func (c *Cluster) drain(e Drain) error {
	n := c.nodes[e.Node]
	if n == nil {
		return noNode(e.Node)
	}
	if e.Deadline < 0 {
		return refuse("InvalidArgument", "give a deadline such as 10m", "drain %s: deadline %s is negative", e.Node, e.Deadline)
	}
	n.Draining = &Draining{By: c.now.Add(e.Deadline), Force: e.Force}
	n.pool.noteNode(n)
	c.emit(SaveNode{n.Name})
	c.setCordon(n, true)
	c.drainTasks(n)
	c.changed(ObjectNode, n.Name)
	c.happened("NodeDraining", n.Name, "", n.Name, "node %s is drained: %d tasks leave%s", n.Name, len(n.tasks)-n.volumes, n.andStays())
	return nil
}
