package cluster

import (
	"time"

	"polder.dev/polder/core/offer"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Offers shows one pool's idle capacity to schedulers that are offered machines. It follows the cluster: nodes, plan and what
// runs. It belongs to whoever owns the cluster, like the cluster itself, and is not durable: takers join again after a failover.
//
// Asks and claims come first: what is offered is not taken from anybody. Accepting an offer is [Offers.Close], then a [Commit] of
// tasks on its node; the other way round the offer counts as rescinded when its node fills up.
type Offers struct {
	*offer.Book
	pool  *pool
	roles map[offer.TakerID]string // as written
}

// Offers opens the offers of a pool; an earlier one for the same pool ends. Least is what makes an offer worth making, by kind;
// see [offer.Options].
func (c *Cluster) Offers(pool string, least resource.Resources, optimistic bool) (*Offers, error) {
	p := c.pool(pool)
	if p == nil {
		return nil, refuse("NotFound", "see the plan's pools", "the plan has no pool %q", pool)
	}
	o := &Offers{pool: p, roles: map[offer.TakerID]string{}}
	o.Book = offer.NewBook(p.ledger, offer.Options{Least: least.Vector(c.kinds, ""), Optimistic: optimistic})
	p.offers = o
	for _, n := range p.nodes {
		if n != nil {
			p.show(n)
		}
	}
	return o, nil
}

// Join adds a taker for a role.
func (o *Offers) Join(path string) (offer.TakerID, error) {
	leaf, hold, ok := o.place(path)
	if !ok {
		return 0, refuse("NotFound", "see the roles there are, or add it to the plan", "the plan has no role %q", path)
	}
	id := o.Book.Join(leaf, hold)
	o.roles[id] = path
	return id, nil
}

// Leave takes a taker away with its offers and filters.
func (o *Offers) Leave(id offer.TakerID) {
	o.Book.Leave(id)
	delete(o.roles, id)
}

// NodeName is the machine of an offer.
func (o *Offers) NodeName(of *offer.Offer) string { return o.pool.nodes[of.Node].Name }

// Amount is what an offer holds, and how much of it is borrowed.
func (o *Offers) Amount(of *offer.Offer) (all, borrowed resource.Resources) {
	k, pool := o.pool.c.kinds, o.pool.name
	for _, part := range of.Paid {
		if part.At == role.Root {
			borrowed = part.Amount.Resources(k, pool)
		}
	}
	return of.Amount.Resources(k, pool), borrowed
}

// place finds the leaf that holds a role's work, and how long its tasks stay when asked to leave.
func (o *Offers) place(path string) (role.ID, time.Duration, bool) {
	tree := o.pool.c.tree
	leaf, ok := tree.WorkRole(path)
	if !ok {
		return role.None, 0, false
	}
	return leaf, tree.Roles[leaf].ReclaimGrace + tree.Roles[leaf].MinRuntime, true
}

// show tells the pool's offers, if any, what may be taken of a node.
func (p *pool) show(n *node) {
	switch {
	case p.offers == nil:
	case n.schedulable():
		p.offers.SetNode(n.id, n.available())
	default:
		p.offers.SetNode(n.id, nil)
	}
}

// rebase follows a new ledger. A role that is gone from the plan takes its takers with it.
func (o *Offers) rebase() {
	o.Rebase(o.pool.ledger, func(id offer.TakerID) (role.ID, time.Duration, bool) {
		leaf, hold, ok := o.place(o.roles[id])
		if !ok {
			delete(o.roles, id)
		}
		return leaf, hold, ok
	})
}
