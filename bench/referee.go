package bench

import (
	"fmt"
	"slices"
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Judge is the referee: it looks at machines, plan and running tasks alone, adds everything up anew, and says what is wrong. It
// knows none of the core's books.
func Judge(nodes []cluster.NodeInfo, plan *role.Plan, now time.Time, tasks []cluster.TaskView) []string {
	j := &referee{
		kinds: resource.NewKinds(), nodes: map[string]*cluster.NodeInfo{}, total: resource.Resources{},
	}
	for i, n := range nodes {
		j.nodes[n.Name] = &nodes[i]
		add(j.total, n.Capacity)
	}
	j.tree = role.Effective(plan, now, j.kinds)
	j.machines(tasks)
	j.constraints(tasks)
	j.rules(tasks)
	return j.faults
}

type referee struct {
	kinds  *resource.Kinds
	nodes  map[string]*cluster.NodeInfo
	total  resource.Resources
	tree   *role.Tree
	faults []string
}

func (j *referee) fault(format string, args ...any) {
	j.faults = append(j.faults, fmt.Sprintf(format, args...))
}

func add(into, more resource.Resources) {
	for name, a := range more {
		into[name] += a
	}
}

// machines checks that nothing is given away twice: amounts and ports.
func (j *referee) machines(tasks []cluster.TaskView) {
	used, ports := map[string]resource.Resources{}, map[string]bool{}
	for _, t := range tasks {
		if used[t.Node] == nil {
			used[t.Node] = resource.Resources{}
		}
		add(used[t.Node], t.Resources)
		for _, p := range t.Ports {
			key := fmt.Sprintf("%s:%d", t.Node, p)
			if ports[key] {
				j.fault("port %s is taken twice", key)
			}
			ports[key] = true
		}
		for _, p := range t.Shape.Ports {
			if p.Host != 0 && t.Ports[p.Name] != p.Host {
				j.fault("task %s has port %d, not %d", t.Task, t.Ports[p.Name], p.Host)
			}
		}
	}
	for name, u := range used {
		for kind, a := range u {
			if have := j.nodes[name].Capacity[kind]; a > have {
				j.fault("machine %s: %s of %s used, it has %s", name, resource.FormatValue(kind, a), kind, resource.FormatValue(kind, have))
			}
		}
	}
}

// constraints checks where tasks run against what they asked for. A spread is checked for what has only grown.
func (j *referee) constraints(tasks []cluster.TaskView) {
	byAsk := map[string][]cluster.TaskView{}
	for _, t := range tasks {
		for _, c := range t.Shape.Constraints {
			if c.Op == placement.Equals && j.nodes[t.Node].Attributes[c.Attribute] != c.Values[0] {
				j.fault("task %s wants %s, %s has not", t.Task, c, t.Node)
			}
		}
		if t.Shape.Exclusive || len(t.Shape.Spread) > 0 || t.Gang {
			byAsk[t.Ask] = append(byAsk[t.Ask], t)
		}
	}
	for id, ts := range byAsk {
		on := map[string]int{}
		for _, t := range ts {
			if on[t.Node]++; on[t.Node] > 1 && t.Shape.Exclusive {
				j.fault("ask %s wants a machine for each task, two run on %s", id, t.Node)
			}
		}
		for _, sp := range ts[0].Shape.Spread {
			j.spread(id, sp, ts)
		}
	}
}

func (j *referee) spread(id string, sp placement.Spread, ts []cluster.TaskView) {
	count := map[string]int{}
	for _, n := range j.nodes {
		count[n.Attributes[sp.Attribute]] += 0
	}
	least, most := len(ts), 0
	for _, t := range ts {
		count[j.nodes[t.Node].Attributes[sp.Attribute]]++
	}
	for _, n := range count {
		least, most = min(least, n), max(most, n)
	}
	if sp.Hard && most-least > sp.MaxSkew {
		j.fault("ask %s: %d to %d tasks per %s, more than %d apart", id, least, most, sp.Attribute, sp.MaxSkew)
	}
}

// lease is a task as the rules of the tree see it.
type lease struct {
	path   []role.ID // leaf to root
	at     role.ID   // who pays
	hold   time.Duration
	amount resource.Vector
	gone   bool // under notice: its funding is given away
}

// rules checks the tree: limits, guarantees, inflow and the hold rule, role by role.
func (j *referee) rules(tasks []cluster.TaskView) {
	under := make([][]*lease, len(j.tree.Roles)) // by role: what runs in its subtree
	holds := map[time.Duration]bool{}
	for i := range tasks {
		l := j.lease(&tasks[i])
		holds[l.hold] = true
		for _, id := range l.path {
			under[id] = append(under[id], l)
		}
	}
	for id := range j.tree.Roles {
		j.role(role.ID(id), under, holds)
	}
}

func (j *referee) lease(t *cluster.TaskView) *lease {
	leaf, ok := j.tree.WorkRole(t.Role)
	if !ok {
		j.fault("task %s runs for %s, which the plan does not have", t.Task, t.Role)
	}
	l := &lease{hold: t.ReclaimGrace + t.MinRuntime, amount: t.Resources.Vector(j.kinds, ""), gone: t.Notice != nil}
	for id := leaf; id != role.None; id = j.tree.Roles[id].Parent {
		l.path = append(l.path, id)
		if path := j.tree.Roles[id].Path; role.Display(path) == t.Funding {
			l.at = id // of two with that name the upper one: ".self" guarantees nothing
		}
	}
	return l
}

// sum adds up the leases of a list that qualify.
func (j *referee) sum(ls []*lease, which func(*lease) bool) resource.Vector {
	v := make(resource.Vector, j.kinds.Len())
	for _, l := range ls {
		if which(l) {
			v.Inc(l.amount)
		}
	}
	return v
}

// inside reports whether a lease is paid for at v or deeper.
func (l *lease) inside(tree *role.Tree, v role.ID) bool {
	return tree.Roles[l.at].Depth >= tree.Roles[v].Depth
}

func (j *referee) guarantee(id role.ID) resource.Vector {
	if id == role.Root {
		return j.total.Vector(j.kinds, "")
	}
	return j.tree.Quota(id, "", j.kinds.Len()).Guarantee
}

func (j *referee) funded(id role.ID, under [][]*lease) resource.Vector {
	return j.sum(under[id], func(l *lease) bool { return !l.gone && l.inside(j.tree, id) })
}

func (j *referee) role(id role.ID, under [][]*lease, holds map[time.Duration]bool) {
	r, q := &j.tree.Roles[id], j.tree.Quota(id, "", j.kinds.Len())
	g := j.guarantee(id)
	if paid := j.funded(id, under); !paid.Fits(g) {
		j.fault("role %q pays for %v of %v", r.Path, paid, g)
	}
	if id != role.Root {
		if used := j.sum(under[id], func(*lease) bool { return true }); !used.Fits(q.Limit) {
			j.fault("role %q uses %v of %v", r.Path, used, q.Limit)
		}
		inflow := j.sum(under[id], func(l *lease) bool { return !l.inside(j.tree, id) })
		for i, a := range inflow {
			if most := min(q.Borrow.At(i), q.Limit.At(i).Sub(g.At(i))); a > most {
				j.fault("role %q holds %d of kind %d above its guarantee, it may %d", r.Path, a, i, most)
			}
		}
	}
	for _, kid := range r.Children {
		g = g.Minus(j.guarantee(kid))
	}
	here := slices.DeleteFunc(slices.Clone(under[id]), func(l *lease) bool { return l.gone || l.at != id })
	for h := range holds {
		supply := g.Clone(0)
		for _, kid := range r.Children {
			if j.tree.Roles[kid].LendGrace >= h {
				supply.Inc(j.lends(kid, under))
			}
		}
		if used := j.sum(here, func(l *lease) bool { return l.hold >= h }); !used.Fits(supply) {
			j.fault("role %q: %v is borrowed for %s or longer, lenders allow %v", r.Path, used, h, supply)
		}
	}
}

// lends is what a role has to lend: what it does not use of its guarantee, as far as it lends.
func (j *referee) lends(id role.ID, under [][]*lease) resource.Vector {
	q := j.tree.Quota(id, "", j.kinds.Len())
	return j.guarantee(id).Minus(j.funded(id, under)).Minus(q.Warm).Min(q.Lend).Max(make(resource.Vector, j.kinds.Len()))
}
