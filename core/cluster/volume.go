package cluster

import (
	"fmt"
	"maps"
	"slices"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// A volume is a lease with Shape.Volume: disk on one node that outlasts the tasks which use it. It runs only on the guarantee of its own
// role, like all that is pinned, and more is promised to it: it is never given notice, it stays with its node while that does not
// answer, however long, and no plan is accepted whose least guarantee does not cover it. So it ends when somebody deletes it
// or gives its node up, or its agent says that it has ended, and in no other way.

// volume reports whether a task is a volume.
func (t *task) volume() bool { return t.shape.Volume }

// volume reports whether a unit is a volume: it is alone in it.
func (u *unit) volume() bool { return u.tasks[0].volume() }

// count counts a volume that comes to a node, or leaves it.
func (n *node) count(t *task, by int) {
	if t.volume() {
		n.volumes += by
	}
	if t.reserves() {
		n.reserves += by
	}
}

// keepsVolumes is what the volumes of every role hold and those that wait are to hold, by role and by name with the pool, but for one of them.
func (c *Cluster) keepsVolumes(but *task) map[string]resource.Resources {
	kept := map[string]resource.Resources{}
	add := func(path, pool string, holds resource.Resources) {
		if kept[path] == nil {
			kept[path] = resource.Resources{}
		}
		for kind, x := range holds {
			name := resource.JoinName(pool, kind)
			kept[path][name] = kept[path][name].Add(x)
		}
	}
	for t := range c.allTasks() { // an ask may be forgotten, and a lease may have been resized
		if t.volume() && !t.shape.carved() && t != but {
			add(t.role, t.unit.pool.name, t.need.Resources(c.kinds, ""))
		}
	}
	for _, a := range c.asks {
		if a.Shape.Volume && !a.Shape.carved() && a.live.len() == 0 {
			add(a.Role, a.Shape.Pool, a.Shape.Resources)
		}
	}
	for _, a := range c.pledged {
		add(a.Role, a.Shape.Pool, a.Shape.Resources)
	}
	return kept
}

// stillKept refuses a plan that could take the guarantee away from under a volume.
func (c *Cluster) stillKept(p *role.Plan) error {
	kept := c.keepsVolumes(nil)
	for _, path := range slices.Sorted(maps.Keys(kept)) {
		for _, name := range kept[path].Names() {
			if least := p.LeastGuarantee(path, name); kept[path][name] > least {
				return refuse("VolumesInUse", "keep that much guarantee, at all times, or delete volumes or reservations first",
					"role %s keeps %s=%s in volumes and reservations; the new plan guarantees it %s=%s at the least", path, name, resource.FormatValue(name, kept[path][name]),
					name, resource.FormatValue(name, least))
			}
		}
	}
	return nil
}

// admitVolume refuses an ask for a volume that is malformed or that its role's guarantee would not cover at all times.
func (c *Cluster) admitVolume(a *ask) *Refusal {
	if a.Count != 1 || a.Gang || a.Earmark || !a.Shape.Pinned || a.Shape.Requeue {
		return refuse("InvalidArgument", "", "ask %s: a %s is one lease that is not preemptible and does not come back", a.ID, a.Shape.keeping())
	}
	if leaf := c.tree.Roles[c.leafOf(a.Role)].Path; leaf != a.Role {
		return refuse("OverGuarantee", "name a role below it", "role %s has roles below it, and its guarantee is theirs: it can keep no %s", a.Role, a.Shape.keeping())
	}
	if a.Shape.carved() {
		return nil // the reservation it is carved out of was looked at
	}
	return c.roomForVolume(a.Role, &a.Shape, a.Shape.Resources, nil)
}

// roomForVolume refuses amounts of a volume that its role's guarantee would not cover at all times, beside the others it has; but is the
// volume itself when it is there already.
func (c *Cluster) roomForVolume(path string, s *Shape, wanted resource.Resources, but *task) *Refusal {
	kept := c.keepsVolumes(but)[path]
	for _, kind := range wanted.Names() {
		name := resource.JoinName(s.Pool, kind)
		least := c.plan.LeastGuarantee(path, name)
		left := max(0, least.Sub(kept[name]))
		if wanted[kind] <= left {
			continue
		}
		bound := "is guaranteed no " + name
		if least > 0 {
			bound = fmt.Sprintf("is guaranteed %s=%s at the least, of which other volumes and reservations leave %s", name, resource.FormatValue(name, least), resource.FormatValue(name, left))
		}
		return refuse("OverGuarantee", "ask for less, delete a volume or a reservation, or raise the guarantee in the plan and in all its windows",
			"role %s %s: a %s of %s does not fit, and %[3]ss never borrow", path, bound, s.keeping(), resource.FormatValue(name, wanted[kind]))
	}
	return nil
}

// payAtLeaf charges a volume to its own role, whatever else is charged there: what is in its way is for a repair to find.
func payAtLeaf(l *lending.Ledger, c lending.Charge) lending.Charge {
	c.At = c.Leaf
	l.Add(c)
	return c
}

// outlast keeps a lost node known that has volumes: it has nothing but them until it is back.
func (c *Cluster) outlast(n *node) {
	c.disconnect(n.Name)
	info := n.NodeInfo
	info.Capacity = n.used.Resources(c.kinds, "")
	c.place(n, info, n.pool)
	c.emit(SaveNode{n.Name})
	c.happened("NodeLost", n.Name, "", n.Name, "node %s does not come back; its tasks are lost, its %s stay with it", n.Name, n.staying())
}

// absent is a volume that its node does not report although nobody asked for its end: its disk may not be mounted, or its agent's directory
// be another. Whether it is lost is for people to say.
func (c *Cluster) absent(t *task) {
	c.happened("VolumeMissing", t.id, t.role, t.node.Name, "node %s does not have volume %s; it is kept until it is back, or deleted", t.node.Name, t.id)
}

// strange is a volume that a node has and the cluster does not: whatever is in it, nobody asked for its end.
func (c *Cluster) strange(n *node, r TaskReport, why string) {
	c.happened("VolumeUnknown", r.Task, r.Role, n.Name, "volume %s on %s is not what the cluster has (%s); what is in it stays there", r.Task, n.Name, why)
}
