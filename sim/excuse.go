package sim

import (
	"slices"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// excused reports whether a start that v owes, and that the leader keeps no place for, may have to wait for longer than T: it fits on no node
// even if any one unit there leaves that may be asked back. It is worked out from the books, and less room is seen than there may be: a
// start that is not excused could certainly have been claimed. What asks for more than amounts has the leader's word for it.
func (e *tally) excused(id string, q *queue, v role.ID) bool {
	if !q.plain || e.packaged() {
		ask, ok := e.c.Ask(id)
		return !ok || slices.Contains([]string{"Fragmented", "NoNode", "NoVictim", "Packages", "Constraint"}, ask.Reason.Code)
	}
	// A look at all nodes has its cost: where there are many, an excuse is good for a while.
	if e.now < q.excusedUntil {
		return true
	}
	due := e.now + int64(e.tree.ReclaimBound(v, 0))
	fits := 0
	for _, m := range e.nodes {
		if !m.online || e.Plan.PoolOf(m.info.Attributes) != q.pool {
			continue
		}
		room := e.spare(m, due)
		fits += q.times(room)
		if fits >= q.gang || q.gang == 1 && e.oneMakesRoom(q, m, room, v) {
			return false
		}
	}
	q.excusedUntil = e.now + int64(len(e.nodes))*int64(time.Millisecond)
	return true
}

// maySoon reports whether one start more of an ask is within every limit on its path once those have left who do so in v's time: tasks of the
// role's own that leave later have its guarantee until then.
func (e *tally) maySoon(q *queue, v role.ID) bool {
	due := e.now + int64(e.tree.ReclaimBound(v, 0))
	for id := q.leaf; id > role.Root; id = e.roles[id].parent {
		for _, d := range q.start() {
			over := e.roles[id].used[d.dim] + d.is - e.roles[id].limit[d.dim]
			if over > 0 && over > e.leaving(id, d.dim, due) {
				return false
			}
		}
	}
	return true
}

// leaving is what leaves a subtree by an instant.
func (e *tally) leaving(id role.ID, dim int, by int64) (sum resource.Amount) {
	for _, m := range e.nodes {
		for _, l := range m.leases {
			if l.leaves == 0 || l.window || l.leaves > by || !e.isWithin(l.leaf, id) {
				continue
			}
			for _, d := range l.amount {
				if d.dim == dim {
					sum += d.is
				}
			}
		}
	}
	return sum
}

// isWithin reports whether a role is another one or below it.
func (b *books) isWithin(id, above role.ID) bool {
	for ; id != role.None; id = b.roles[id].parent {
		if id == above {
			return true
		}
	}
	return false
}

// packaged reports whether some guarantee is in whole packages.
func (e *tally) packaged() bool {
	for i := range e.tree.Roles {
		for _, q := range e.tree.Roles[i].Quotas {
			if q.Packages > 0 {
				return true
			}
		}
	}
	return false
}

// spare is what a machine has left at an instant, beside everything that is kept on it for claims.
func (e *tally) spare(m *machine, by int64) []resource.Amount {
	room := make([]resource.Amount, len(e.dims))
	for _, d := range e.doses(m.info.Capacity, e.Plan.PoolOf(m.info.Attributes)) {
		room[d.dim] = d.is
	}
	for _, l := range m.leases {
		if l.leaves == 0 || l.window || l.leaves > by {
			for _, d := range l.amount {
				room[d.dim] -= d.is
			}
		}
	}
	for i, kept := range e.kept[m.info.Name] {
		room[i] -= kept
	}
	return room
}

// times is how many tasks of an ask find room, at most as many as start together.
func (q *queue) times(room []resource.Amount) int {
	n := q.gang
	for _, d := range q.amount {
		if d.is > 0 {
			n = min(n, int(max(0, room[d.dim])/d.is))
		}
	}
	return n
}

// oneMakesRoom reports whether a task of an ask fits on a machine when one unit leaves that may be asked back for a claim on v.
func (e *tally) oneMakesRoom(q *queue, m *machine, room []resource.Amount, v role.ID) bool {
	return slices.ContainsFunc(m.leases, func(u *lease) bool {
		if !e.mayBeAsked(u, v) {
			return false
		}
		with := slices.Clone(room)
		for _, l := range m.leases {
			if l == u || u.gang && l.gang && l.ask == u.ask {
				for _, d := range l.amount {
					with[d.dim] += d.is
				}
			}
		}
		return q.times(with) > 0
	})
}

// mayBeAsked is I4 and I5: whoever is paid for above v and leaves within what the child on the way there tolerates.
func (e *tally) mayBeAsked(u *lease, v role.ID) bool {
	if u.pinned || u.leaves != 0 || u.at == v || u.ending {
		return false
	}
	child := v
	for e.tree.Roles[child].Parent != u.at {
		if child = e.tree.Roles[child].Parent; child <= role.Root {
			return false
		}
	}
	return u.hold <= e.tree.Roles[child].LendGrace
}
