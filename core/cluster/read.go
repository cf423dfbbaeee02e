package cluster

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// The methods in this file show the state to readers. What they return is the caller's; maps and slices inside shapes,
// payloads and node attributes are shared and must not be changed.

func (c *Cluster) taskView(t *task) TaskView {
	v := TaskView{Hold: t.hold()}
	v.Assignment = t.assignment()
	v.State, v.Reason, v.Started, v.Health = t.viewState(), t.reason, t.started, t.health
	v.Cost = t.cost
	if t.notice != nil {
		n := t.notice.Notice
		v.Notice = &n
	}
	return v
}

// Task returns a task that has a lease.
func (c *Cluster) Task(id string) (TaskView, bool) {
	t := c.task(id)
	if t == nil {
		return TaskView{}, false
	}
	return c.taskView(t), true
}

// Tasks lists the tasks that have a lease, by ID.
func (c *Cluster) Tasks() []TaskView {
	all := slices.SortedFunc(c.allTasks(), func(x, y *task) int { return cmp.Compare(x.id, y.id) })
	out := make([]TaskView, len(all))
	for i, t := range all {
		out[i] = c.taskView(t)
	}
	return out
}

func (c *Cluster) askView(a *ask) AskView {
	v := AskView{AskSpec: a.AskSpec, AskState: a.AskState, Pending: a.waiting(), Running: a.live.len(), State: a.state()}
	v.Returned = slices.Clone(a.Returned)
	if v.Pending > 0 {
		v.Reason = c.reasonOf(a)
	}
	if a.Earmark {
		v.Kept = a.class.pool.keptFor(a)
	}
	return v
}

// Ask returns an ask that is open.
func (c *Cluster) Ask(id string) (AskView, bool) {
	a := c.asks[id]
	if a == nil {
		return AskView{}, false
	}
	return c.askView(a), true
}

// Asks lists the open asks by ID.
func (c *Cluster) Asks() []AskView {
	out := make([]AskView, 0, len(c.asks))
	for _, id := range slices.Sorted(maps.Keys(c.asks)) {
		out = append(out, c.askView(c.asks[id]))
	}
	return out
}

// Claims lists the reservations, pool by pool in the order in which they were made.
func (c *Cluster) Claims() []ClaimView {
	var out []ClaimView
	for _, p := range c.pools {
		for _, k := range p.claims {
			v := ClaimView{Ask: k.ask.ID, Funding: c.fundingName(k.charge.At), Due: k.due, Kept: k.kept}
			for _, id := range k.nodes {
				v.Nodes = append(v.Nodes, p.nodes[id].Name)
			}
			out = append(out, v)
		}
	}
	return out
}

func (c *Cluster) nodeView(n *node) NodeView {
	k, pool := c.kinds, n.pool.name
	return NodeView{
		NodeInfo: n.NodeInfo, Pool: pool, State: n.state(), Total: n.total.Resources(k, pool), Used: n.used.Resources(k, pool),
		Available: n.available().Resources(k, pool), Earmarked: n.earmarked().Resources(k, pool), FreePorts: n.pool.index.FreePorts(n.id), Tasks: len(n.tasks),
		Volumes: n.volumes - n.reserves, Reservations: n.reserves,
	}
}

// Node returns a node.
func (c *Cluster) Node(name string) (NodeView, bool) {
	n := c.nodes[name]
	if n == nil {
		return NodeView{}, false
	}
	return c.nodeView(n), true
}

// Nodes lists the nodes by name.
func (c *Cluster) Nodes() []NodeView {
	out := make([]NodeView, 0, len(c.nodes))
	for _, n := range c.sortedNodes() {
		out = append(out, c.nodeView(n))
	}
	return out
}

// Notices lists the open notices by task.
func (c *Cluster) Notices() []Notice {
	var out []Notice
	for t := range c.allTasks() {
		if t.notice != nil {
			out = append(out, t.notice.Notice)
		}
	}
	slices.SortFunc(out, func(a, b Notice) int { return cmp.Compare(a.Task, b.Task) })
	return out
}

// Roles lists the roles of the tree in its order, the root first, with their accounts summed over all pools.
func (c *Cluster) Roles() []RoleView {
	ids := make(map[role.ID]int)
	var out []RoleView
	sums := make([]sums, len(c.pools))
	for i, p := range c.pools {
		sums[i] = p.sums()
	}
	for id, r := range c.tree.Roles {
		if role.Display(r.Path) != r.Path {
			ids[role.ID(id)] = ids[r.Parent]
			continue
		}
		ids[role.ID(id)] = len(out)
		out = append(out, c.roleView(role.ID(id), sums))
	}
	running, pending := make([]int, len(c.tree.Roles)), make([]int, len(c.tree.Roles)) // by leaf
	for _, p := range c.pools {
		for _, u := range p.units {
			running[u.charge.Leaf] += len(u.tasks)
		}
		for cl := range p.queue.all() {
			for _, a := range cl.asks {
				pending[cl.leaf] += a.waiting()
			}
		}
	}
	for leaf := range running {
		for id := role.ID(leaf); id != role.None; id = c.tree.Roles[id].Parent {
			if role.Display(c.tree.Roles[id].Path) == c.tree.Roles[id].Path {
				out[ids[id]].Running += running[leaf]
				out[ids[id]].Pending += pending[leaf]
			}
		}
	}
	return out
}

func (c *Cluster) roleView(id role.ID, sums []sums) RoleView {
	v := RoleView{Path: c.tree.Roles[id].Path}
	for i, p := range c.pools {
		l, show := p.ledger, func(into *resource.Resources, x resource.Vector) { merge(into, x.Resources(c.kinds, p.name)) }
		show(&v.Usage, l.Used(id))
		show(&v.Funded, sums[i].funded[id])
		show(&v.Borrowed, l.Used(id).Minus(sums[i].funded[id]))
		show(&v.Lent, l.Lent(id))
		show(&v.Leaving, sums[i].leaving[id])
		if p.shares != nil {
			show(&v.Entitlement, p.shares.Entitlement(id))
			show(&v.Demand, p.shares.Demand(id))
		}
		if b := p.packages.of(id); b != nil {
			v.Packages = append(v.Packages, p.packagesView(b))
		}
	}
	return v
}

// sums are what a pool's units add up to, by role.
type sums struct {
	funded  []resource.Vector // what runs in a subtree and is paid for by it, without reservations of claims and with what leaves
	leaving []resource.Vector // what leaves in a subtree
}

func (p *pool) sums() sums {
	tree := p.c.tree
	s := sums{resource.Zeros(len(tree.Roles), p.c.kinds.Len()), resource.Zeros(len(tree.Roles), p.c.kinds.Len())}
	for _, u := range p.units {
		s.funded[u.charge.At].Inc(u.charge.Amount)
		if u.leaving {
			s.leaving[u.charge.Leaf].Inc(u.charge.Amount)
		}
	}
	for id := len(tree.Roles) - 1; id > int(role.Root); id-- { // those below come after their parents
		up := tree.Roles[id].Parent
		s.funded[up].Inc(s.funded[id])
		s.leaving[up].Inc(s.leaving[id])
	}
	return s
}

func merge(into *resource.Resources, more resource.Resources) {
	if *into == nil {
		*into = resource.Resources{}
	}
	for name, a := range more {
		(*into)[name] = (*into)[name].Add(a)
	}
}

// AskRecord is what to save of an ask.
func (c *Cluster) AskRecord(id string) (AskSpec, AskState, bool) {
	a := c.asks[id]
	if a == nil {
		return AskSpec{}, AskState{}, false
	}
	state := a.AskState
	state.Returned = slices.Clone(a.Returned)
	return a.AskSpec, state, true
}

// TaskRecord is what to save of a task.
func (c *Cluster) TaskRecord(id string) (TaskReport, bool) {
	t := c.task(id)
	if t == nil {
		return TaskReport{}, false
	}
	r := c.taskView(t).TaskReport
	r.State = t.state
	return r, true
}

// NodeRecord is what to save of a node.
func (c *Cluster) NodeRecord(name string) (NodeInfo, bool) {
	n := c.nodes[name]
	if n == nil {
		return NodeInfo{}, false
	}
	return n.NodeInfo, true
}

// Explain says why an ask or a task is as it is: the primary reason, and the steps behind it.
func (c *Cluster) Explain(id string) (Reason, []string, bool) {
	if a := c.asks[id]; a != nil {
		return c.reasonOf(a), c.detailsOf(a), true
	}
	if t := c.task(id); t != nil {
		r, details := c.explainTask(t)
		return r, details, true
	}
	return Reason{}, nil, false
}

func until(now, t time.Time) string { return max(0, t.Sub(now)).Round(time.Second).String() }
