package cluster

// An ask that only earmarks is how a scheduler that chooses nodes itself gets what its role's guarantee covers while others have
// borrowed it: capacity is claimed and asked back as for any ask, but nothing starts in it. The place stays with the ask until a
// [Commit] gives it up and has its tasks there, or the ask is cancelled. Places are kept inside guarantees only.

// unkept is why an ask that only earmarks waits where no claim of it is the reason.
var unkept = &verdict{code: "OutsideGuarantee", message: "places are kept inside guarantees only, and none of them has so much free",
	next: "a task paid by the guarantee ends, or the guarantee is raised"}

// keep looks after a claim that only earmarks, whose places are taken: when they have come free they are kept; when others are
// free, those are kept in their place.
func (p *pool) keep(k *claim) {
	if p.arrived(k) {
		p.hold(k)
		return
	}
	p.give(k.class, k.places)
	other, ok := p.find(k.class, k.charge, k)
	if !ok {
		p.reseat(k)
		return
	}
	for _, id := range k.nodes {
		p.unmark(id, k)
	}
	k.places = other
	for _, id := range k.nodes {
		p.earmark(id, keep{k, p.c.now, k.class.need})
	}
	p.opened() // its victims may not be needed any more
	p.hold(k)
}

// hold keeps a claim's places from now on, whatever else comes free there.
func (p *pool) hold(k *claim) {
	k.kept, k.due = true, p.c.now
	for _, id := range k.nodes {
		p.unmark(id, k)
		p.earmark(id, keep{k, k.due, k.class.need})
		p.c.happened("PlaceKept", k.ask.ID, k.ask.Role, p.nodes[id].Name, "%s is kept for %s on %s",
			k.class.need.Text(p.c.kinds, p.name), k.ask.ID, p.nodes[id].Name)
	}
	p.served(k)
	p.c.changed(ObjectAsk, k.ask.ID)
}

// lost tells that a place is not kept any more.
func (p *pool) lost(k *claim) {
	for _, id := range k.nodes {
		p.c.happened("PlaceLost", k.ask.ID, k.ask.Role, p.nodes[id].Name, "%s is not kept for %s on %s any more",
			k.class.need.Text(p.c.kinds, p.name), k.ask.ID, p.nodes[id].Name)
	}
}

// keptFor counts the places kept for an ask, by node.
func (p *pool) keptFor(a *ask) map[string]int {
	out := map[string]int{}
	for _, k := range p.claims {
		if k.ask == a && k.kept {
			out[p.nodes[k.nodes[0]].Name]++
		}
	}
	return out
}

// giveUp frees what an ask has kept on a node, or some of it. That much of it has been served.
func (c *Cluster) giveUp(e Kept) {
	a, n := c.asks[e.Ask], c.nodes[e.Node]
	if a == nil || n == nil || !a.Earmark {
		return // it was lost, or withdrawn, meanwhile
	}
	p := a.class.pool
	done := 0
	for _, k := range p.claimsOf(a) {
		if !k.kept || k.nodes[0] != n.id || e.Count > 0 && done == e.Count {
			continue
		}
		done++
		k.kept = false
		p.dissolve(k)
		a.next(c.now)
		a.Succeeded++
	}
	a.note()
	c.saveAsk(a.ID)
	c.finish(a)
}

// claimsOf lists the claims of an ask.
func (p *pool) claimsOf(a *ask) []*claim {
	var out []*claim
	for _, k := range p.claims {
		if k.ask == a && !k.over {
			out = append(out, k)
		}
	}
	return out
}
