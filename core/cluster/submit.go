package cluster

import (
	"fmt"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/reclaim"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// admit gives an ask that is new its class, resolved and the caller's to release, or refuses one that can never be served: unknown role or
// pool, a malformed shape, more than a limit allows, a shape no node could ever hold.
func (c *Cluster) admit(a *ask) *Refusal {
	if _, ok := c.tree.WorkRole(a.Role); !ok {
		return refuse("NotFound", "see the roles there are, or add it to the plan", "the plan has no role %q", a.Role)
	}
	if a.Count < 1 {
		return refuse("InvalidArgument", "ask for at least one task", "ask %s: count is %d", a.ID, a.Count)
	}
	if a.Gang && a.Earmark {
		return refuse("InvalidArgument", "leave gang out", "ask %s: places are kept one by one, not for a gang", a.ID)
	}
	if a.Shape.Pool != "" && c.pool(a.Shape.Pool) == nil {
		return refuse("NotFound", "see the plan's pools", "the plan has no pool %q", a.Shape.Pool)
	}
	need, r := c.needOf(a)
	if r != nil {
		return r
	}
	if r := c.admitReservation(a); r != nil {
		return r
	}
	if a.Shape.Volume {
		if r := c.admitVolume(a); r != nil {
			return r
		}
	}
	a.own = c.classOf(a)
	a.own.need = need
	a.class = &a.own
	if err := c.resolve(a.class); err != nil {
		return refuse("InvalidArgument", "", "ask %s: %v", a.ID, err)
	}
	if r := c.hopeless(a.class, a.ID); r != nil {
		a.class.release()
		return r
	}
	return nil
}

// needOf is what one task of an ask needs. It refuses amounts that no machine can have, and kinds that nobody has; of several the first by name.
func (c *Cluster) needOf(x *ask) (need resource.Vector, r *Refusal) {
	first := ""
	need = make(resource.Vector, c.kinds.Len())
	for name, a := range x.Shape.Resources { // every ask comes by here: it is not sorted to find nothing
		kind, known := c.kinds.Lookup(name)
		enormous := a < 0 || a > maxAmount || x.Gang && a > maxAmount/resource.Amount(x.Count)
		if known && !enormous {
			need[kind] = a
			continue
		}
		if r != nil && first < name {
			continue
		}
		first = name
		if enormous {
			r = refuse("Impossible", "ask for less", "no machine can have %s=%s", name, resource.FormatValue(name, a))
		} else {
			r = refuse("Impossible", "name a resource that a node or the plan has", "no node and no role has any %q", name)
		}
	}
	return need, r
}

// hopeless says why an ask of a class can never start, if so.
func (c *Cluster) hopeless(cl *class, id string) *Refusal {
	if cl.need.IsZero() && cl.carve.IsZero() {
		return refuse("InvalidArgument", "ask for at least some cpu or memory", "ask %s: its tasks need no resources", id)
	}
	if r := c.neverAllowed(cl); r != nil {
		return r
	}
	if why, bad := cl.pool.index.Impossible(cl.compiled); bad {
		return refuse("Impossible", "make it smaller, loosen its constraints, or add a node that fits", "%s can never start: %s", id, why)
	}
	return nil
}

// neverAllowed checks one start of a class against the bounds of its role and all above it, whatever runs.
func (c *Cluster) neverAllowed(cl *class) *Refusal {
	amount := cl.amount()
	for id := cl.leaf; id > role.Root; id = c.tree.Roles[id].Parent {
		q := cl.pool.ledger.Quota(id)
		for i, need := range amount {
			most := min(q.Limit.At(i), q.Guarantee.At(i).Add(q.Borrow.At(i)))
			if need <= most && (!cl.shape.Pinned || need <= q.Guarantee.At(i)) {
				continue
			}
			bounds := []struct {
				code, word string
				have       resource.Amount
			}{
				{"OverLimit", "limit", q.Limit.At(i)},
				{"OverBorrow", "guarantee and what it may borrow", q.Guarantee.At(i).Add(q.Borrow.At(i))},
			}
			if cl.shape.Pinned {
				bounds = append(bounds, struct {
					code, word string
					have       resource.Amount
				}{"OverGuarantee", "guarantee, which a task that is not preemptible must fit,", q.Guarantee.At(i)})
			}
			for _, b := range bounds {
				if need > b.have {
					name := resource.JoinName(cl.pool.name, c.kinds.Name(resource.Kind(i)))
					return refuse(b.code, "ask for less, or raise it in the plan", "role %s: %s needs %s=%s, its %s %s=%s", role.Display(c.tree.Roles[id].Path),
						what(cl), name, resource.FormatValue(name, need), b.word+" is", name, resource.FormatValue(name, b.have))
				}
			}
		}
	}
	return nil
}

func what(cl *class) string {
	if cl.gang {
		return fmt.Sprintf("a gang of %d", cl.count)
	}
	return "one task"
}

// commit claims the places a scheduler chose: each that still fits, or all or none.
func (c *Cluster) commit(e Commit) {
	for _, p := range c.pools {
		p.aheads = nil
	}
	out := Committed{Results: make([]CommitResult, len(e.Tasks))}
	for _, k := range e.GiveUp {
		c.giveUp(k)
	}
	held := make([]hold, 0, len(e.Tasks))
	failed := false
	for i := range e.Tasks {
		t := &e.Tasks[i]
		h, why := c.hold(t)
		if why == nil && twice(held, t.Ask.ID) {
			h.release()
			why = &Reason{Code: "AlreadyExists", Message: "ask " + t.Ask.ID + " is in the same commit twice"}
		}
		if why != nil {
			out.Results[i].Conflict = why
			failed = true
			continue
		}
		h.slot = i
		held = append(held, h)
		if t.Ask.Shape.Volume && !t.Ask.Shape.carved() {
			c.pledged = append(c.pledged, h.ask)
		}
	}
	c.pledged = nil
	if e.AllOrNothing && failed {
		for _, h := range held {
			h.release()
			out.Results[h.slot].Conflict = &Reason{Code: "Conflict", Message: "another task of the same commit conflicts"}
		}
		held = nil
	}
	for i := range held {
		h := &held[i]
		out.Results[h.slot].Task = h.launch()
	}
	for _, p := range c.pools {
		p.packages.unbookAll()
	}
	for i := range out.Results {
		if e.LeaveDemand && out.Results[i].Conflict != nil && c.submit(e.Tasks[i].Ask) == nil {
			out.Results[i].Ask = e.Tasks[i].Ask.ID
		}
	}
	c.emit(out)
}

// twice reports whether an ask is among those that hold a place already.
func twice(held []hold, id string) bool {
	for i := range held {
		if held[i].ask.ID == id {
			return true
		}
	}
	return false
}

// hold is a claimed task whose place is booked but which is not launched.
type hold struct {
	slot   int
	ask    *ask // not known before it is launched
	class  *class
	node   *node
	places // booked
	charge lending.Charge
}

// hold checks one claimed task against the rules and its node, and books it.
func (c *Cluster) hold(t *Claim) (hold, *Reason) {
	if c.recovering {
		return hold{}, &Reason{Code: "Recovering", Message: "the leader is still learning what runs", UnblockedBy: "try again in a moment"}
	}
	if _, dup := c.asks[t.Ask.ID]; dup {
		return hold{}, &Reason{Code: "AlreadyExists", Message: "ask " + t.Ask.ID + " exists already"}
	}
	a := &ask{AskSpec: t.Ask}
	a.Count, a.Gang = 1, false
	if r := c.admit(a); r != nil {
		return hold{}, &r.Reason
	}
	n := c.nodes[t.Node]
	if n == nil || n.pool.name != t.Ask.Shape.Pool {
		a.class.release()
		return hold{}, &Reason{Code: "Conflict", Message: fmt.Sprintf("pool %q has no node %q", t.Ask.Shape.Pool, t.Node)}
	}
	h := hold{ask: a, class: a.class, node: n}
	if v := h.book(); v != nil {
		a.class.release()
		return hold{}, &Reason{Code: "Conflict", Message: v.message, UnblockedBy: v.next}
	}
	return h, nil
}

// book charges and occupies the place as if the task ran, so that the next one in the commit sees it.
func (h *hold) book() *verdict {
	cl, p := h.class, h.class.pool
	if cl.shape.carved() {
		return h.bookCarved()
	}
	if r := p.ledger.Room(cl.leaf, cl.need); r != nil {
		return p.c.refused(p, cl, r)
	}
	if ok, why := p.index.Fits(cl.compiled, h.node.id); !ok {
		return &verdict{code: string(why), message: fmt.Sprintf("node %s does not take it now: %s", h.node.Name, why), next: "choose another node from a fresh snapshot"}
	}
	charge, r := p.ledger.Fund(lending.Charge{Leaf: cl.leaf, Amount: cl.need, Hold: cl.hold(), Count: 1}, cl.shape.Pinned)
	if r != nil {
		return p.c.refused(p, cl, r)
	}
	for !p.packages.book(charge, cl.need, h.node.id, nil) { // until the commit is over
		p.ledger.Remove(charge)
		if cl.shape.Pinned || !p.payHigher(&charge) {
			return p.inTheWay(cl.leaf)
		}
	}
	if v := p.heldBackAt(cl, charge, h.node.id); v != nil {
		p.ledger.Remove(charge)
		return v
	}
	ports, ok := p.take(cl, h.node.id)
	if !ok {
		p.ledger.Remove(charge)
		return &verdict{code: string(placement.ReasonPorts), message: "node " + h.node.Name + " does not have its ports free", next: "choose another node from a fresh snapshot"}
	}
	h.add(h.node.id, ports)
	h.charge, h.amounts = charge, true
	p.begun(cl)
	p.ledger.Occupy(cl.leaf, cl.need)
	h.node.used.Inc(cl.need)
	h.node.refresh()
	return nil
}

func (h *hold) release() {
	if h.class.shape.carved() {
		h.class.pool.uncarve(h.class, h.charge, h.places)
		h.class.release()
		return
	}
	h.class.pool.ledger.Vacate(h.class.leaf, h.class.need)
	h.node.used.Dec(h.class.need)
	h.node.refresh()
	h.class.pool.give(h.class, h.places)
	h.class.pool.ledger.Remove(h.charge)
	h.class.release()
}

// launch turns the booking into a running task and returns its ID.
func (h *hold) launch() string {
	p := h.class.pool
	p.c.know(h.ask)
	u := p.launch(h.class, h.ask, h.charge, h.places)
	h.class.release()
	return u.tasks[0].id
}

// refused turns a ledger's refusal into words.
func (c *Cluster) refused(p *pool, cl *class, r *lending.Refusal) *verdict {
	name := resource.JoinName(p.name, c.kinds.Name(r.Kind))
	need, have := resource.FormatValue(name, r.Need), resource.FormatValue(name, r.Have)
	at := role.Display(c.tree.Roles[r.Role].Path)
	v := &verdict{code: string(r.Rule)}
	switch r.Rule {
	case lending.RuleLimit:
		if limit := p.ledger.Quota(r.Role).Limit.At(int(r.Kind)); r.Need <= limit.Sub(p.ledger.Used(r.Role).At(int(r.Kind))) {
			above := resource.FormatValue(name, limit.Sub(p.ledger.Quota(r.Role).Guarantee.At(int(r.Kind))))
			v.message = fmt.Sprintf("role %s may hold at most %s=%s above its guarantee, which is what its limit leaves: needs %s=%s, may still borrow %s", at, name,
				above, name, need, have)
			v.next = "a borrowing task of " + at + " ends, or its limit is raised"
			break
		}
		v.message = fmt.Sprintf("role %s is at its limit: needs %s=%s, %s is left under %s", at, name, need, have, limitText(c, p, r))
		v.next = "a task of " + at + " ends, or its limit is raised"
	case lending.RuleBorrow:
		v.message = fmt.Sprintf("role %s may not borrow more: needs %s=%s, may still borrow %s", at, name, need, have)
		v.next = "a borrowing task of " + at + " ends, or its borrow bound is raised"
	case lending.RuleGuarantee:
		v.message = fmt.Sprintf("role %s has no guarantee left: needs %s=%s, %s of it is free, and a task that is not preemptible may not borrow", at, name, need, have)
		v.next = "a task paid by the guarantee of " + at + " ends, or the guarantee is raised"
	default:
		v.unlent = p.unlent(r)
		if at == "" {
			at = "the cluster"
		}
		v.message = fmt.Sprintf("nothing left to borrow in %s for a task that may stay %s after it is asked to leave: needs %s=%s, has %s",
			at, r.Hold, name, need, have)
		v.next = "capacity comes free, or the task accepts a shorter notice"
	}
	return v
}

func limitText(c *Cluster, p *pool, r *lending.Refusal) string {
	name := resource.JoinName(p.name, c.kinds.Name(r.Kind))
	return name + "=" + resource.FormatValue(name, p.ledger.Quota(r.Role).Limit.At(int(r.Kind)))
}

// nowhere stands for the verdict that no node takes a class. To find the words takes a look at every node, and most are never read:
// they are found when somebody does, see [class.verdict].
var nowhere = &verdict{}

// noPlace says why no node takes a class now.
func (p *pool) noPlace(cl *class) *verdict {
	if p.packages == nil && !p.fenced(cl) {
		return nowhere
	}
	v, fits := p.countNodes(cl)
	switch {
	case fits && p.fenced(cl):
		return p.tooLate(cl, p.fences(cl)[0])
	case fits && p.packages != nil:
		return p.inTheWay(cl.leaf)
	}
	return v
}

// verdict is why the class cannot start at the moment. It is nil before it is looked at, and when a node has room for it since.
func (cl *class) verdict() *verdict {
	if cl.refusal != nowhere || cl.compiled == nil {
		return cl.refusal
	}
	v, fits := cl.pool.countNodes(cl)
	if fits && cl.count == 1 {
		return nil
	}
	return v
}

// countNodes says what keeps a class off the nodes, in words, and whether enough nodes would take a member of it.
func (p *pool) countNodes(cl *class) (*verdict, bool) {
	e := p.index.Explain(cl.compiled)
	v := &verdict{code: string(e.Reason), message: e.String(), next: "a task ends or a node that fits joins"}
	if e.Fit > 0 {
		v.code, v.message = "Gang", fmt.Sprintf("only part of the gang of %d fits now: %s", cl.count, e.String())
	}
	return v, e.Fit >= cl.count
}

// unclaimable says why a claim inside a guarantee is not served by asking anybody back.
func (p *pool) unclaimable(cl *class, o reclaim.Outcome) *verdict {
	p.freshen()
	switch o {
	case reclaim.Fragmented:
		return &verdict{code: string(o), message: "its guarantee covers it and there is enough in all, but not on one node: " + p.index.Explain(cl.compiled).String(),
			next: "a larger piece comes free on one node, or the task gets smaller"}
	case reclaim.NoVictim:
		return &verdict{code: string(o), message: "its guarantee covers it, but nodes are missing and nobody can be asked back in time",
			next: "the missing nodes come back, or a task ends"}
	}
	return p.noPlace(cl)
}
