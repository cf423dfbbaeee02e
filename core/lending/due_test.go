package lending

import (
	"testing"

	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// TestDueAgainstFullWalk lets what leaves want, and the capacity, change at random: what is kept is what dividing everything anew gives.
func TestDueAgainstFullWalk(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScene(rt, false)
		l := NewLedger(s.tree, "", kinds, s.capacity)
		d := NewDue(l)
		for range rapid.IntRange(1, 8).Draw(rt, "rounds") {
			for range rapid.IntRange(0, 3).Draw(rt, "changes") {
				id := rapid.IntRange(0, len(s.tree.Roles)-1).Draw(rt, "leaf")
				if len(s.tree.Roles[id].Children) == 0 {
					s.leaf[id] = drawVector(rt, 20*grain, "demand")
				}
			}
			if rapid.IntRange(0, 4).Draw(rt, "nodes") == 0 {
				l.SetCapacity(drawVector(rt, 40*grain, "capacity"))
			}
			for id, x := range s.leaf {
				d.Want(role.ID(id), x)
			}
			d.Settle()
			demand := l.demandOf(s.leaf)
			for id, want := range l.entitle(demand) {
				is := d.Entitlement(role.ID(id))
				if !d.Demand(role.ID(id)).Equal(demand[id]) || !is.Equal(want) {
					rt.Fatalf("role %d demands %v, want %v; is due %v, want %v", id, d.Demand(role.ID(id)), demand[id], is, want)
				}
			}
		}
	})
}

// demandOf turns what each leaf wants (running plus waiting, by role ID; nil means nothing) into the demand of every role:
// d(v) = min(limit(v), Σ d(children)). The input is not changed.
func (l *Ledger) demandOf(leaf []resource.Vector) []resource.Vector {
	out := resource.Zeros(len(l.accts), l.kinds)
	for id := len(l.accts) - 1; id >= 0; id-- {
		d := out[id]
		if id < len(leaf) {
			d.Inc(leaf[id])
		}
		for i := range d {
			d[i] = min(d[i], l.accts[id].quota.Limit.At(i))
		}
		if up := l.accts[id].parent; up != role.None {
			out[up].Inc(d)
		}
	}
	return out
}

// entitle divides everything anew, from the root down.
func (l *Ledger) entitle(demand []resource.Vector) []resource.Vector {
	out := resource.Zeros(len(l.accts), l.kinds)
	copy(out[role.Root], l.Capacity())
	lent := l.lendable(demand)
	for id := range l.tree.Roles {
		if len(l.tree.Roles[id].Children) > 0 {
			l.entitleChildren(role.ID(id), out, demand, lent)
		}
	}
	return out
}

// lendable is what every role below the root would offer its parent if it had all it asks for: within its lend, not kept warm, nor kept
// by a role below it.
func (l *Ledger) lendable(demand []resource.Vector) []resource.Vector {
	out, own := resource.Zeros(len(l.accts), l.kinds), resource.Zeros(len(l.accts), l.kinds)
	for id := len(l.accts) - 1; id > 0; id-- {
		a, up := &l.accts[id], own[l.accts[id].parent]
		for i := range out[id] {
			g, d := a.quota.Guarantee[i], demand[id][i]
			left := a.market.private[i] + own[id][i] - d // own has what the children offer, and what their guarantees cover of d
			out[id][i] = max(0, min(a.quota.Lend.At(i), g-d-a.quota.Warm.At(i), left))
			up[i] += out[id][i] + min(g, d)
		}
	}
	return out
}
