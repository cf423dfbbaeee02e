package cluster

import (
	"fmt"
	"slices"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Invariants checks the lending contract and the cluster's own bookkeeping on the live state and returns every violation. It
// recomputes everything from the tasks, so it costs time in proportion to the cluster; call it in tests, in simulations,
// and now and then in production.
func (c *Cluster) Invariants() []error {
	var out []error
	bad := func(format string, args ...any) { out = append(out, fmt.Errorf(format, args...)) }
	for _, p := range c.pools {
		p.checkNodes(bad)
		p.checkLedger(bad)
		p.checkPayroll(bad)
		p.checkRules(bad)
		p.checkPackages(bad)
	}
	c.checkAsks(bad)
	return out
}

type complain func(format string, args ...any)

// checkNodes is I1: per node the leases are what is booked, and fit.
func (p *pool) checkNodes(bad complain) {
	for _, n := range p.nodes {
		if n == nil {
			continue
		}
		used, leaving, volumes := make(resource.Vector, len(n.total)), make(resource.Vector, len(n.total)), [2]int{}
		for _, t := range n.tasks {
			used.Inc(t.need)
			if t.volume() {
				volumes[0]++
			}
			if t.reserves() {
				volumes[1]++
			}
			if t.unit.leaving {
				leaving.Inc(t.need)
			}
			if t.unit.leaving != slices.Contains(n.going, t) {
				bad("I1: node %s has %s, and whether it leaves is not what the node counts", n.Name, t.id)
			}
			if p.c.task(t.id) != t {
				bad("I1: node %s has %s, which the cluster does not know", n.Name, t.id)
			}
		}
		if !used.Equal(n.used) || !leaving.Equal(n.leaving) {
			bad("I1: node %s books %v used and %v leaving, its tasks hold %v and %v", n.Name, n.used, n.leaving, used, leaving)
		}
		if counted := [2]int{n.volumes, n.reserves}; volumes != counted {
			bad("I21: node %s counts %d volumes and reservations, and has %d", n.Name, counted, volumes)
		}
		if !n.used.Fits(n.total) {
			bad("I1: node %s has %v, its leases hold %v", n.Name, n.total, n.used)
		}
		earmark, kept := make(resource.Vector, len(n.total)), make(resource.Vector, len(n.total))
		for _, k := range p.claims {
			for _, id := range k.nodes {
				if id == n.id {
					earmark.Inc(k.class.need)
				}
				if id == n.id && k.kept {
					kept.Inc(k.class.need)
				}
			}
		}
		if !kept.Fits(n.free()) {
			bad("I1: node %s has %v free and keeps %v that came free already", n.Name, n.free(), kept)
		}
		if !earmark.Equal(n.earmarked()) {
			bad("I1: node %s keeps %v for claimants, their claims add up to %v", n.Name, n.earmarked(), earmark)
		}
	}
}

// checkPayroll looks whether every unit that is paid for is on its payer's list, with the rank it has now.
func (p *pool) checkPayroll(bad complain) {
	for _, u := range p.units {
		listed, right := false, false
		if i, ok := p.funded.find(u.charge.At, u.charge.Leaf, u.started); ok {
			l := p.funded[u.charge.At][i].units
			listed = u.slot < len(l) && l[u.slot].unit == u
			right = listed && l[u.slot].rank == u.ranked()
		}
		if listed == u.leaving || listed != right {
			bad("payroll: the unit of %s is leaving: %v, listed: %v, at its rank: %v", u.tasks[0].id, u.leaving, listed, right)
		}
		if own := kinOf(u); !u.leaving && (u.kin == nil || u.kin.compare(&own) != 0 || u.kin.units[u.place].unit != u) {
			bad("elders: the unit of %s is not among its kin", u.tasks[0].id)
		}
	}
}

// checkLedger recomputes usage and funding of every role.
func (p *pool) checkLedger(bad complain) {
	k := p.c.kinds.Len()
	for i := range p.c.tree.Roles {
		id := role.ID(i)
		used, funded, inflow := make(resource.Vector, k), make(resource.Vector, k), make(resource.Vector, k)
		for _, u := range p.units {
			if !p.c.within(u.charge.Leaf, id) {
				continue
			}
			used.Inc(u.charge.Amount)
			if !p.c.within(u.charge.At, id) {
				inflow.Inc(u.charge.Amount)
			} else if !u.leaving {
				funded.Inc(u.charge.Amount)
			}
		}
		for _, x := range p.claims {
			if !p.c.within(x.charge.Leaf, id) {
				continue
			}
			if !p.c.within(x.charge.At, id) {
				inflow.Inc(x.charge.Amount)
			} else {
				funded.Inc(x.charge.Amount)
			}
		}
		path := p.c.tree.Roles[i].Path
		if !used.Equal(p.ledger.Used(id)) || !funded.Equal(p.ledger.Funded(id)) || !inflow.Equal(p.ledger.Borrowed(id)) {
			bad("ledger: role %q books used %v funded %v inflow %v; leases and claims add up to %v, %v, %v", path,
				p.ledger.Used(id), p.ledger.Funded(id), p.ledger.Borrowed(id), used, funded, inflow)
		}
	}
}

// checkRules is I2, I10, I11 and I19 on the live ledger.
func (p *pool) checkRules(bad complain) {
	for i := range p.c.tree.Roles {
		id := role.ID(i)
		q, path := p.ledger.Quota(id), p.c.tree.Roles[i].Path
		repairing := p.repairing(id)
		if id == role.Root {
			if !p.ledger.Sound(id) && !p.lacksNodes() {
				bad("I11: the hold rule is broken at the root")
			}
			continue
		}
		if !p.ledger.Used(id).Fits(q.Limit) && !repairing {
			bad("I2: role %s uses %v, above its limit %v", path, p.ledger.Used(id), q.Limit)
		}
		for kind, stays := range p.staying(id) {
			most := min(q.Borrow.At(kind), q.Limit.At(kind).Sub(q.Guarantee.At(kind)))
			if stays > most || (p.ledger.Borrowed(id)[kind] > most && !repairing) {
				bad("I2: role %s borrows %v, above its bound", path, p.ledger.Borrowed(id))
			}
		}
		if !p.ledger.Sound(id) {
			bad("I11: the hold rule is broken at role %s", path)
		}
		if !p.ledger.Funded(id).Fits(q.Guarantee) {
			bad("I11: the guarantee of role %s pays for %v, it is %v", path, p.ledger.Funded(id), q.Guarantee)
		}
	}
	for _, u := range p.units {
		if u.pinned && !u.leaving && u.charge.At != u.charge.Leaf {
			bad("I19: %s may not borrow but %s pays", u.tasks[0].id, p.c.fundingName(u.charge.At))
		}
		if u.volume() && (u.charge.At != u.charge.Leaf || u.leaving && !u.stopping()) {
			bad("I21: volume %s is asked to leave, or %s pays for it", u.tasks[0].id, p.c.fundingName(u.charge.At))
		}
	}
}

// repairing reports whether a role may be above its bounds for now: something in it that is leaving was there when the tree
// last changed, or is being stopped.
func (p *pool) repairing(id role.ID) bool {
	return slices.ContainsFunc(p.units, func(u *unit) bool {
		return u.leaving && p.c.within(u.charge.Leaf, id) && slices.ContainsFunc(u.tasks, func(t *task) bool {
			return t.notice == nil || t.notice.Kind == ForPlan || !t.created.After(p.c.treeSince)
		})
	})
}

// staying is the part of what a subtree borrows that is not leaving.
func (p *pool) staying(id role.ID) resource.Vector {
	sum := p.ledger.Borrowed(id).Clone(0)
	for _, u := range p.units {
		if u.leaving && p.c.within(u.charge.Leaf, id) && !p.c.within(u.charge.At, id) {
			sum.Dec(u.charge.Amount)
		}
	}
	return sum
}

// lacksNodes reports whether nodes are missing for the guarantees themselves.
func (p *pool) lacksNodes() bool {
	promised := make(resource.Vector, p.c.kinds.Len())
	for _, id := range p.c.tree.Roles[role.Root].Children {
		promised.Inc(p.ledger.Quota(id).Guarantee)
	}
	return !promised.Fits(p.ledger.Capacity())
}

// checkAsks is I18: every instance of every ask is in exactly one place.
func (c *Cluster) checkAsks(bad complain) {
	for _, a := range c.asks {
		placed := map[int]bool{}
		for _, in := range a.Returned {
			if placed[in.Index] || a.live.at(in.Index) != nil || in.Index >= a.Next {
				bad("I18: instance %d of %s is in two places", in.Index, a.ID)
			}
			placed[in.Index] = true
		}
		for _, t := range a.live.inOrder() {
			if a.live.at(t.index) != t || c.task(t.id) != t {
				bad("I18: %s is not instance %d of %s", t.id, t.index, a.ID)
			}
		}
		if done := a.Succeeded + a.Failed + a.Killed; done+len(a.Returned)+a.live.len()+a.Count-a.Next != a.Count {
			bad("I18: %s: %d ended, %d live, %d returned, %d fresh do not add up to %d", a.ID, done, a.live.len(), len(a.Returned), a.Count-a.Next, a.Count)
		}
	}
}

// checkPackages is that what is promised in packages can be had on the nodes that keep room for them, all at once.
func (p *pool) checkPackages(bad complain) {
	if p.packages == nil || p.c.recovering {
		return
	}
	for _, b := range p.packages.roles {
		for _, id := range b.nodes() {
			l := p.packages.look(id, nil)
			idle := b.begun(l.own(b)) < b.homes[id]
			if idle && b.housed() > b.count {
				bad("I3: %s has homes for %d packages of %d, and one on %s is idle", b.path, b.housed(), b.count, p.nodes[id].Name)
			}
			if idle && p.nodes[id].schedulable() && !l.sound() {
				bad("I3: node %s is home to %d packages of %s, and something in their way does not leave in time", p.nodes[id].Name, b.homes[id], b.path)
			}
		}
	}
}
