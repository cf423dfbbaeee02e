package cluster

import (
	"slices"
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// oracle judges a pool by the contract's words alone: lists of what is charged, from which every sum is taken anew. It shares no
// arithmetic with core/lending.
type oracle struct {
	*pool
	tree  *role.Tree
	books []entry
}

// entry is one charge: of a unit, or of a claim that waits.
type entry struct {
	lending.Charge
	leaving bool // its funding is given away, its inflow still counts
}

func oracleOf(p *pool) *oracle {
	o := &oracle{pool: p, tree: p.c.tree}
	for _, u := range p.units {
		o.books = append(o.books, entry{u.charge, u.leaving})
	}
	for _, k := range p.claims {
		o.books = append(o.books, entry{k.charge, false})
	}
	return o
}

func (o *oracle) quota(v role.ID) role.Quota { return o.tree.Quota(v, o.name, o.c.kinds.Len()) }

// guarantee of the root is what its nodes have.
func (o *oracle) guarantee(v role.ID, i int) (sum resource.Amount) {
	if v != role.Root {
		return o.quota(v).Guarantee[i]
	}
	for _, n := range o.nodes {
		if n != nil {
			sum += n.total[i]
		}
	}
	return sum
}

// funded is G(v).
func (o *oracle) funded(v role.ID, i int) (sum resource.Amount) {
	for _, e := range o.books {
		if !e.leaving && o.c.within(e.At, v) {
			sum += e.Amount.At(i)
		}
	}
	return sum
}

func (o *oracle) idle(v role.ID, i int) resource.Amount { return o.guarantee(v, i) - o.funded(v, i) }

// inflow is what runs in the subtree of v, or waits there as a claim, and is paid for above it.
func (o *oracle) inflow(v role.ID, i int) (sum resource.Amount) {
	for _, e := range o.books {
		if o.c.within(e.Leaf, v) && !o.c.within(e.At, v) {
			sum += e.Amount.At(i)
		}
	}
	return sum
}

// used is what runs in the subtree of v and is not to have left by an instant.
func (o *oracle) used(v role.ID, i int, by time.Time) (sum resource.Amount) {
	for _, u := range o.units {
		for _, t := range u.tasks {
			leaves := u.leaving && t.node.reachable && t.notice != nil && !t.notice.by.After(by)
			if o.c.within(u.charge.Leaf, v) && !leaves {
				sum += t.need.At(i)
			}
		}
	}
	return sum
}

// lends is what v offers its parent: within its lend, idle, not kept warm, nor kept or borrowed below.
func (o *oracle) lends(v role.ID, i int) resource.Amount {
	q := o.quota(v)
	own := o.private(v, i)
	for _, kid := range o.tree.Roles[v].Children {
		own += o.lends(kid, i)
	}
	for _, e := range o.books {
		if e.At == v && !e.leaving {
			own -= e.Amount.At(i)
		}
	}
	return max(0, min(q.Lend.At(i), o.idle(v, i)-q.Warm.At(i), own))
}

func (o *oracle) private(f role.ID, i int) resource.Amount {
	sum := o.guarantee(f, i)
	for _, c := range o.tree.Roles[f].Children {
		sum -= o.quota(c).Guarantee[i]
	}
	return sum
}

// excess is the hold rule: the most by which what is funded at f with some hold or more is above what is offered for that long.
// With nodes lost what is offered may be below zero; it counts as nothing then.
func (o *oracle) excess(f role.ID, i int) (worst resource.Amount) {
	for _, at := range o.books {
		if at.At != f || at.leaving || at.Amount.At(i) == 0 {
			continue
		}
		used, offered := resource.Amount(0), o.private(f, i)
		for _, e := range o.books {
			if e.At == f && !e.leaving && e.Hold >= at.Hold {
				used += e.Amount.At(i)
			}
		}
		for _, c := range o.tree.Roles[f].Children {
			if o.tree.Roles[c].LendGrace >= at.Hold {
				offered += o.lends(c, i)
			}
		}
		worst = max(worst, used-max(0, offered))
	}
	return worst
}

// mayBorrow is the inflow rule for a charge at every role below its payer.
func (o *oracle) mayBorrow(c lending.Charge) bool {
	for v := c.Leaf; v != c.At; v = o.tree.Roles[v].Parent {
		q := o.quota(v)
		for i, x := range c.Amount {
			if x > 0 && o.inflow(v, i)+x > min(q.Borrow.At(i), q.Limit.At(i).Sub(q.Guarantee.At(i))) {
				return false
			}
		}
	}
	return true
}

// inside reports whether a charge is covered by the guarantee of its payer, whatever roles above have lent of it.
func (o *oracle) inside(c lending.Charge) bool {
	return o.mayBorrow(c) && o.with(c).holdsAt(c, c.At)
}

// legal reports whether a charge may be made now: both rules, on all of its path.
func (o *oracle) legal(c lending.Charge) bool {
	after := o.with(c)
	if !o.mayBorrow(c) {
		return false
	}
	for f := c.At; f != role.None; f = o.tree.Roles[f].Parent {
		if !after.holdsAt(c, f) {
			return false
		}
	}
	return true
}

func (o *oracle) holdsAt(c lending.Charge, f role.ID) bool {
	for i, x := range c.Amount {
		if x > 0 && o.excess(f, i) > 0 {
			return false
		}
	}
	return true
}

func (o *oracle) with(c lending.Charge) *oracle {
	return &oracle{o.pool, o.tree, append(o.books[:len(o.books):len(o.books)], entry{c, false})}
}

// room reports whether x more may run in leaf under every limit, once those are gone who leave by an instant.
func (o *oracle) room(leaf role.ID, x resource.Vector, by time.Time) bool {
	for v := leaf; v != role.Root; v = o.tree.Roles[v].Parent {
		for i, a := range x {
			if a > 0 && o.used(v, i, by)+a > o.quota(v).Limit.At(i) {
				return false
			}
		}
	}
	return true
}

// payers lists the roles that may pay for a class, deepest first.
func (o *oracle) payers(cl *class) []role.ID {
	out := []role.ID{cl.leaf}
	for v := o.tree.Roles[cl.leaf].Parent; v != role.None && !cl.shape.Pinned; v = o.tree.Roles[v].Parent {
		out = append(out, v)
	}
	return out
}

func (o *oracle) chargeOf(cl *class, at role.ID) lending.Charge {
	return lending.Charge{Leaf: cl.leaf, At: at, Amount: cl.amount(), Hold: cl.hold(), Count: cl.count}
}

// takes reports whether a node satisfies everything a class asks for beside amounts, and is open.
func (o *oracle) takes(cl *class, n *node) bool {
	if n == nil || !n.schedulable() {
		return false
	}
	ok, why := o.index.Fits(cl.compiled, n.id)
	return ok || why == placement.ReasonResources
}

// free is what no task on the node holds.
func free(n *node) resource.Vector {
	left := n.total.Clone(0)
	for _, t := range n.tasks {
		left.Dec(t.need)
	}
	return left
}

// kept is what claims must have of a node by an instant.
func (o *oracle) kept(n *node, by time.Time) resource.Vector {
	sum := make(resource.Vector, len(n.total))
	for _, k := range o.claims {
		for _, id := range k.nodes {
			if id == n.id && !k.due.After(by) {
				sum.Inc(k.class.need)
			}
		}
	}
	return sum
}

// spare is what somebody who needs it by an instant may count on at a node, so that every claim there, in the order of when it is
// due, still has what it needs. One unit is not counted as leaving.
func (o *oracle) spare(n *node, by time.Time, but *unit) resource.Vector {
	least := slices.Repeat(resource.Vector{resource.Unlimited}, len(n.total))
	for _, at := range append(o.dues(), by) {
		if !at.Before(by) {
			least = least.Min(free(n).Plus(coming(n, at, but)).Minus(o.kept(n, at)))
		}
	}
	return least
}

// idleNow is what may be taken of a node now: free, and not needed by a claim by when it is due beyond what has left by then. Who should have
// left by now and is still there has not.
func (o *oracle) idleNow(n *node) resource.Vector {
	least := free(n).Minus(o.kept(n, o.c.now))
	for _, at := range o.dues() {
		if at.After(o.c.now) {
			least = least.Min(free(n).Plus(coming(n, at, nil)).Minus(o.kept(n, at)))
		}
	}
	return least.Min(free(n))
}

func (o *oracle) dues() (out []time.Time) {
	for _, k := range o.claims {
		out = append(out, k.due)
	}
	return out
}

// coming is what leaves a node by an instant.
func coming(n *node, by time.Time, but *unit) resource.Vector {
	sum := make(resource.Vector, len(n.total))
	for _, t := range n.tasks {
		if t.unit != but && t.unit.leaving && t.notice != nil && !t.notice.by.After(by) {
			sum.Inc(t.need)
		}
	}
	return sum
}
