package cluster

import (
	"slices"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/reclaim"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// displace plans a start that finds no victims because reservations stand in the way: claims paid for above the guarantee that
// covers it. They would be asked back if they ran; while they wait they give way at once. Those that are not in the way stay.
// As with victims, funding only moves to deeper payers by it.
func (p *pool) displace(round *reclaim.Round, cl *class, why reclaim.Outcome) (plans []member, outcome reclaim.Outcome) {
	if why != reclaim.NoVictim && why != reclaim.Fragmented {
		return nil, why
	}
	v, ok := p.covering(cl)
	if !ok {
		return nil, why
	}
	defer round.Forget()
	want := cl.claim()
	var out []*claim
	for _, k := range slices.Backward(p.claims) {
		if k.charge.At == v || !p.c.within(v, k.charge.At) {
			continue
		}
		p.suspend(k)
		round.Forget()
		out = append(out, k)
		if plans, outcome = p.planMembersAt(round, want, v); outcome == reclaim.Planned {
			break
		}
	}
	for _, k := range out {
		inTheWay := outcome == reclaim.Planned && !p.stillFits(k)
		p.resume(k)
		if inTheWay {
			p.dissolve(k)
		}
	}
	if outcome != reclaim.Planned {
		return nil, why
	}
	return plans, outcome
}

// suspend takes a claim's charge and what is kept for it off the books; its places stay booked.
func (p *pool) suspend(k *claim) {
	p.ledger.Remove(k.charge)
	for _, id := range k.nodes {
		p.unmark(id, k)
	}
}

// resume undoes suspend.
func (p *pool) resume(k *claim) {
	p.ledger.Add(k.charge)
	for _, id := range k.nodes {
		p.earmark(id, keep{k, k.due, k.class.need})
	}
}

// stillFits reports whether a suspended claim could go on as it was.
func (p *pool) stillFits(k *claim) bool {
	need := map[placement.NodeID]resource.Vector{}
	for _, id := range k.nodes {
		need[id] = need[id].Plus(k.class.need)
		if !need[id].Fits(p.nodes[id].spareBy(k.due, nil)) {
			return false
		}
	}
	if p.ledger.Try(k.charge) != nil {
		return false
	}
	p.ledger.Remove(k.charge)
	return true
}

// covering finds the deepest role whose guarantee covers one start of a class.
func (p *pool) covering(cl *class) (role.ID, bool) {
	charge := lending.Charge{Leaf: cl.leaf, Amount: cl.amount(), Hold: cl.hold(), Count: cl.count}
	for v := cl.leaf; v != role.Root; v = p.c.tree.Roles[v].Parent {
		charge.At = v
		if p.ledger.TryInside(charge) {
			p.ledger.Remove(charge)
			return v, true
		}
		if cl.shape.Pinned {
			break
		}
	}
	return role.None, false
}
