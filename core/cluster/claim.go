package cluster

import (
	"cmp"
	"slices"
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/reclaim"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// claim is a reservation: a task or gang inside a guarantee, charged in the ledger, that waits for capacity to come free
// on its nodes, where as much is earmarked for it.
type claim struct {
	ask     *ask
	class   *class
	charge  lending.Charge
	places            // booked
	by      time.Time // when the last victim is gone at the latest
	due     time.Time // the latest it may have to wait: everything it counts on has left by then
	planned time.Time
	victims int
	looked  int64 // pool.touches when somebody last looked after it
	over    bool  // it is reserved no more
	kept    bool  // its places are free and wait for a commit
}

// impasse is that no claim of a class could be planned, and why if a guarantee covers it. It lasts until the pool's epoch rises,
// or what leaves leaves soon enough.
type impasse struct {
	at    int64 // the epoch and one
	until time.Time
	why   *verdict
}

// lasts reports whether it is of no use to plan again.
func (i impasse) lasts(p *pool) bool {
	return i.at == p.epoch+1 && (i.until.IsZero() || p.c.now.Before(i.until))
}

// claimDue is the latest that a claim on a role's guarantee may have to wait from now on.
func (p *pool) claimDue(v role.ID) time.Time { return p.c.now.Add(p.c.tree.ReclaimBound(v, 0)) }

// serveClaims starts every claimant whose place is free, or that finds another one, the most urgent first.
func (p *pool) serveClaims() {
	urgent := slices.SortedStableFunc(slices.Values(p.claims), func(a, b *claim) int { return a.due.Compare(b.due) })
	p.serving = true // many may be over at once
	for _, cl := range urgent {
		if cl.over || cl.kept || p.idle(cl) || cl.ask.readyCount(p.c.now) < cl.class.count || p.ledger.Room(cl.class.leaf, cl.charge.Amount) != nil {
			continue
		}
		p.serve(cl)
		cl.looked = p.touches
	}
	p.serving = false
	p.sweep()
}

// idle reports whether it is of no use to look after a claim: nothing has changed on its nodes since somebody did, and nothing has come
// free anywhere since one of its class was looked for in vain.
func (p *pool) idle(k *claim) bool {
	return k.class.nowhere == p.opens+1 && !slices.ContainsFunc(k.nodes, func(id placement.NodeID) bool { return p.nodes[id].touched > k.looked })
}

// serve starts a claimant whose places are free or that finds others. One whose nodes do not take it any more, whatever comes
// free there, is planned anew.
func (p *pool) serve(cl *claim) {
	p.give(cl.class, cl.places)
	if !p.reseat(cl) {
		p.forget(cl)
		return
	}
	if cl.class.earmark {
		p.keep(cl)
		return
	}
	if p.arrived(cl) {
		p.unreserve(cl)
		p.served(cl)
		p.launch(cl.class, cl.ask, cl.charge, cl.places)
		return
	}
	p.give(cl.class, cl.places) // it is not in its own way elsewhere
	if other, ok := p.find(cl.class, cl.charge, cl); ok {
		p.unreserve(cl)
		p.touched = true // its victims may not be needed any more
		p.served(cl)
		p.launch(cl.class, cl.ask, cl.charge, other)
		return
	}
	p.reseat(cl)
	if cl.class.steady() {
		cl.class.nowhere = p.opens + 1
	}
}

// served tells how long a claim took that somebody was asked for.
func (p *pool) served(cl *claim) {
	if delay := p.c.settings.ReclaimDelay; cl.victims > 0 {
		p.c.emit(ClaimServed{cl.ask.ID, cl.ask.Role, delay + p.c.now.Sub(cl.planned), p.c.tree.ReclaimBound(cl.class.leaf, delay)})
	}
}

// reseat takes the places of a claim again that were given back, one after the other as they were planned. It takes none when a
// node refuses one for another reason than amounts.
func (p *pool) reseat(cl *claim) bool {
	for i, id := range cl.nodes {
		ok, why := p.index.Fits(cl.class.compiled, id)
		if !ok && why != placement.ReasonResources || !p.retake(cl.class, id, cl.portsOf(i)) {
			p.give(cl.class, cl.first(i))
			return false
		}
	}
	return true
}

// arrived reports whether the amounts that the claim waits for are free on its nodes now, and no other claim counts on them to be
// served in time.
func (p *pool) arrived(cl *claim) bool {
	need := map[placement.NodeID]resource.Vector{}
	for _, id := range cl.nodes {
		need[id] = need[id].Plus(cl.class.need)
		if !need[id].Fits(p.nodes[id].availableTo(cl)) {
			return false
		}
	}
	return true
}

// reserve books a claim whose places are taken: its nodes keep room for it.
func (p *pool) reserve(cl *claim) {
	p.claims = append(p.claims, cl)
	cl.ask.claims++
	cl.ask.note()
	for _, id := range cl.nodes {
		p.earmark(id, keep{cl, cl.due, cl.class.need})
	}
	p.c.changed(ObjectAsk, cl.ask.ID)
}

// unreserve takes a claim off the list, leaving its charge in the ledger and its places booked for whoever takes them over.
func (p *pool) unreserve(cl *claim) {
	if cl.over = true; !p.serving {
		p.sweep()
	}
	cl.ask.claims--
	cl.ask.note()
	p.epoch++
	p.opens++
	for _, id := range cl.nodes {
		p.unmark(id, cl)
	}
}

// sweep takes the claims that are over off the list.
func (p *pool) sweep() {
	p.claims = slices.DeleteFunc(p.claims, func(cl *claim) bool { return cl.over })
}

// dissolve ends a claim that is not to be served: what was earmarked is anybody's, its victims may be unneeded.
func (p *pool) dissolve(cl *claim) {
	p.give(cl.class, cl.places)
	p.forget(cl)
}

// forget is dissolve for a claim whose places are given back already.
func (p *pool) forget(cl *claim) {
	p.unreserve(cl)
	p.ledger.Remove(cl.charge)
	p.opened()
	p.c.changed(ObjectAsk, cl.ask.ID)
	if cl.kept {
		p.lost(cl)
	}
}

// dissolveOn ends the claims that wait for a node.
func (c *Cluster) dissolveOn(n *node) {
	for len(n.keeps) > 0 {
		n.pool.dissolve(n.keeps[0].claim)
	}
}

// dissolveAsk ends the claims of an ask.
func (c *Cluster) dissolveAsk(a *ask) {
	if a.claims == 0 {
		return
	}
	for _, cl := range a.class.pool.claimsOf(a) {
		a.class.pool.dissolve(cl)
	}
}

// reclaim goes up the tree from its deepest roles: what borrows deepens into what their guarantees have free, then every claim of age on them is
// planned: capacity is asked back, and earmarked. Whoever is paid for, or claims, higher up comes after: its payer may have lent from the very
// role that claims here, and somebody would be asked in vain.
func (p *pool) reclaim() {
	waits, depth := p.claimants()
	free := p.relieved()
	if len(free) > 0 {
		depth = max(depth, p.c.tree.Roles[free[0]].Depth)
	}
	var round *reclaim.Round
	for ; depth > 0; depth-- {
		n := 0
		for n < len(free) && p.c.tree.Roles[free[n]].Depth == depth {
			n++
		}
		if n > 0 {
			if round != nil { // who was asked back does not deepen, and the next claim is to see who pays for whom now
				p.endRound()
				round = nil
			}
			p.deepen(free[:n])
			free = free[n:]
		}
		for _, w := range waits {
			round = p.claimAt(round, w, depth)
		}
	}
	for _, w := range waits {
		round = p.claimRest(round, w)
	}
	if round != nil {
		p.endRound()
	}
}

// newRound begins to look at whom to ask back.
func (p *pool) newRound() *reclaim.Round {
	p.asking = true
	p.touched = p.touched || len(p.leavers) > 0 // asking more back may spare them
	return reclaim.NewRound(p.ledger, p.book(false))
}

// claimant is a class with claims of age, as a round goes on.
type claimant struct {
	*class
	asks    []*ask          // with such claims
	above   float64         // its role's entitlement; see [pool.above]
	outcome reclaim.Outcome // why the next of them was planned nowhere
}

// claimants lists who claims in a round, in the order of need, and how deep the deepest of their roles is. It notes since when what waits does
// so in vain.
func (p *pool) claimants() (out []*claimant, deepest int) {
	for cl := range p.queue.all() {
		if cl.earmark && cl.refusal == nil {
			cl.refusal = unkept
		}
		if cl.shape.carved() {
			continue // what it waits for is its reservation's
		}
		var of []*ask
		for _, a := range cl.asks {
			if p.due(cl, a) {
				of = append(of, a)
			}
		}
		if len(of) == 0 {
			continue
		}
		out = append(out, &claimant{class: cl, asks: of, above: p.above(cl.leaf), outcome: reclaim.NotGuaranteed})
		deepest = max(deepest, p.c.tree.Roles[cl.leaf].Depth)
		if cl.impasse.lasts(p) && !cl.impasse.until.IsZero() {
			p.c.wakeAt(cl.impasse.until)
		}
	}
	slices.SortFunc(out, (*claimant).compare)
	return out, deepest
}

// claimAt plans what the guarantee of the role that is so deep on a class's path covers, in a round that it begins if there is none.
func (p *pool) claimAt(round *reclaim.Round, w *claimant, depth int) *reclaim.Round {
	v := above(p.c.tree, w.leaf, depth)
	if v == role.None || v != w.leaf && w.shape.Pinned || w.impasse.lasts(p) {
		return round
	}
	if round == nil {
		round = p.newRound()
	}
	for _, a := range w.asks {
		for p.unclaimed(a) {
			if !p.ledger.MayCoverAt(v, w.need) {
				return round // planning would find so
			}
			plans, o := p.planMembersAt(round, w.claim(), v)
			if o != reclaim.Planned {
				if o != reclaim.NotGuaranteed {
					w.outcome = o
				}
				return round
			}
			p.claim(w.class, a, plans)
		}
	}
	return round
}

// above is the role at a depth on the path to a role; none when that is not so deep.
func above(tree *role.Tree, v role.ID, depth int) role.ID {
	for tree.Roles[v].Depth > depth {
		v = tree.Roles[v].Parent
	}
	if tree.Roles[v].Depth < depth {
		return role.None
	}
	return v
}

// claimRest has claims that wait give way to those of a class that were planned nowhere, or notes why they were not.
func (p *pool) claimRest(round *reclaim.Round, w *claimant) *reclaim.Round {
	if w.impasse.lasts(p) {
		return round
	}
	if round == nil {
		round = p.newRound()
	}
	for _, a := range w.asks {
		for p.unclaimed(a) {
			plans, outcome := p.displace(round, w.class, w.outcome)
			if outcome != reclaim.Planned {
				p.inVain(w.class, outcome)
				return round
			}
			p.claim(w.class, a, plans)
			for depth := p.c.tree.Roles[w.leaf].Depth; depth > 0; depth-- {
				p.claimAt(round, w, depth)
			}
		}
	}
	return round
}

// endRound brings up to date what had to stay as it was, or was of no interest, while a round looked at whom to ask back: those who
// were asked leave their payer's list, and the index is told what nodes have.
func (p *pool) endRound() {
	p.asking = false
	for _, u := range slices.Backward(p.asked) { // who was asked first is on top of a heap: taking the last ones out first moves few others
		p.unlist(u)
	}
	clear(p.asked)
	p.asked = p.asked[:0]
	p.freshen()
	for _, k := range p.fresh {
		k.looked = p.touches
		if k.class.steady() {
			k.class.nowhere = p.opens + 1
		}
	}
	clear(p.fresh)
	p.fresh = p.fresh[:0]
}

// freshen tells the index what nodes have that changed while a round looked at whom to ask back.
func (p *pool) freshen() {
	asking := p.asking
	p.asking = false
	for _, n := range p.stale {
		n.stale = false
		n.refresh()
	}
	clear(p.stale)
	p.stale, p.asking = p.stale[:0], asking
}

// byNeed lists the classes in the order in which they claim, see [claimant.compare].
func (p *pool) byNeed() []*class {
	var order []*claimant
	for cl := range p.queue.all() {
		order = append(order, &claimant{class: cl, above: p.above(cl.leaf)})
	}
	slices.SortFunc(order, (*claimant).compare)
	out := make([]*class, len(order))
	for i, w := range order {
		out[i] = w.class
	}
	return out
}

// compare is the order in which classes claim: roles most below their entitlement first, then by priority and arrival.
func (w *claimant) compare(o *claimant) int {
	return cmp.Or(cmp.Compare(w.above, o.above), cmp.Compare(o.shape.Priority, w.shape.Priority), cmp.Compare(w.class.asks[0].seq, o.class.asks[0].seq))
}

// unclaimed reports whether something of an ask is ready and has no claim.
func (p *pool) unclaimed(a *ask) bool {
	return a.readyCount(p.c.now)-a.claims*a.class.count >= a.class.count
}

// due notes since when an ask waits in vain, and reports whether its claims have persisted long enough.
func (p *pool) due(cl *class, a *ask) bool {
	if !p.unclaimed(a) {
		return false
	}
	if a.blocked.IsZero() {
		a.blocked = p.c.now
	}
	at := a.blocked.Add(p.c.settings.ReclaimDelay)
	if p.c.now.Before(at) {
		p.c.wakeAt(at)
		return false
	}
	return true
}

// inVain notes that no claim of a class could be planned, and why.
func (p *pool) inVain(cl *class, outcome reclaim.Outcome) {
	cl.impasse = impasse{at: p.epoch + 1}
	if outcome == reclaim.NotGuaranteed && cl.earmark {
		cl.refusal = unkept
	}
	if outcome != reclaim.NotGuaranteed {
		cl.impasse.until = p.leavesInTime(cl)
		cl.impasse.why = p.unclaimable(cl, outcome)
		cl.refusal = cl.impasse.why
		cl.note()
	}
}

// leavesInTime is when something that leaves too late for a class will leave soon enough; zero when nothing does.
func (p *pool) leavesInTime(cl *class) (first time.Time) {
	v, ok := p.covering(cl)
	if !ok {
		return first
	}
	due := p.claimDue(v)
	for _, u := range p.leavers {
		for _, t := range u.tasks {
			if t.notice != nil && t.notice.by.After(due) && (first.IsZero() || t.notice.by.Before(first)) {
				first = t.notice.by
			}
		}
	}
	if first.IsZero() {
		return first
	}
	first = first.Add(p.c.now.Sub(due))
	p.c.wakeAt(first)
	return first
}

// claim makes a claim of what is planned for one task or gang of an ask, and sends the notices.
func (p *pool) claim(cl *class, a *ask, plans []member) {
	k := &claim{ask: a, class: cl, by: p.c.now, planned: p.c.now}
	k.charge = plans[0].Charge
	k.due = p.claimDue(k.charge.At)
	k.charge.Amount, k.charge.Count = cl.amount(), cl.count
	claimant := p.c.claimant(k)
	for _, m := range plans {
		k.add(m.Node, m.ports)
		p.unmark(m.Node, nil) // planMembers marked it; reserve does so for good
		p.touched = p.touched || len(p.leavers) > 0 && m.frees(cl.need)
		if m.frees(cl.need) {
			p.opens++
		}
		for _, v := range m.Victims {
			u := v.Unit.Owner.(*unit)
			k.victims += len(u.tasks)
			k.by = later(k.by, p.evict(u, ForClaim, claimant))
		}
	}
	p.reserve(k)
	p.packages.unbook(len(plans))
	if k.victims > 0 && cl.count == 1 {
		p.fresh = append(p.fresh, k) // had there been room anywhere, nobody would have been asked
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// member is the plan for one task of a start, with the host ports taken for it.
type member struct {
	reclaim.Plan
	ports map[string]uint16
}

// frees reports whether the victims hold something that the member does not need, or hold it elsewhere: who was asked back before
// them may not be needed any more.
func (m *member) frees(need resource.Vector) bool {
	var sum resource.Vector
	for _, v := range m.Victims {
		for _, part := range v.Unit.Parts {
			if part.Node != m.Node {
				return true
			}
			sum = sum.Plus(part.Amount)
		}
	}
	return !sum.Fits(need)
}

// claim is what one task of a class asks for.
func (cl *class) claim() reclaim.Claim {
	return reclaim.Claim{Task: cl, Charge: lending.Charge{Leaf: cl.leaf, Amount: cl.need, Hold: cl.hold(), Count: 1}}
}

// planMembersAt plans every member of one start, all funded at one role, each counting on what is left by those before. The places stay
// booked.
func (p *pool) planMembersAt(round *reclaim.Round, want reclaim.Claim, v role.ID) ([]member, reclaim.Outcome) {
	var plans []member
	cl := want.Task.(*class)
	for range cl.count {
		m, o := p.planMember(round, want, v)
		if o != reclaim.Planned {
			for _, m := range slices.Backward(plans) {
				p.unplan(round, cl, m)
			}
			return nil, o
		}
		plans = append(plans, m)
	}
	for _, m := range plans {
		for _, v := range m.Victims {
			v.Unit.Owner.(*unit).plan(false) // evict makes it leave for good
		}
	}
	return plans, reclaim.Planned
}

// planMember plans one member and books its place, so that the next one does not count on it.
func (p *pool) planMember(round *reclaim.Round, want reclaim.Claim, v role.ID) (member, reclaim.Outcome) {
	want.Whole = wholeIn(p.c.tree, p.name, want.Charge, v)
	plan, o := round.Plan(want, v)
	if o != reclaim.Planned {
		return member{}, o
	}
	ports, ok := p.take(want.Task.(*class), plan.Node)
	if !ok {
		round.Undo(plan)
		return member{}, reclaim.NoNode
	}
	p.packages.book(plan.Charge, want.Charge.Amount, plan.Node, nil) // Feasible has shown that it may
	for _, v := range plan.Victims {
		v.Unit.Owner.(*unit).plan(true)
	}
	p.earmark(plan.Node, keep{nil, p.claimDue(v), want.Charge.Amount})
	return member{plan, ports}, o
}

func (p *pool) unplan(round *reclaim.Round, cl *class, m member) {
	p.give(cl, place(m.Node, m.ports))
	p.unmark(m.Node, nil)
	p.packages.unbook(1)
	for _, v := range m.Victims {
		v.Unit.Owner.(*unit).plan(false)
	}
	round.Undo(m.Plan)
}
