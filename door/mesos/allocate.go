package mesos

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"polder.dev/polder/core/resource"
)

// leastOffer is the smallest offer worth making: so much of either.
var leastOffer = amounts{"cpu": resource.Milli / 100, "memory": 32 * mebi}

// quota is what a role of the pool may have now.
type quota struct {
	known                   bool
	guarantee, limit, usage amounts
	idle                    amounts // of its guarantee, not used
	room                    amounts // what it may still take in all; a kind that is missing is not bounded
	weight                  float64
	priority                int
	below                   bool // its guarantee is not all used
}

// contender is a subscription that wants offers, with what its role may still be offered: one for all that are in the role.
type contender struct {
	*subscription
	*quota
}

// grant is an offer to be made.
type grant struct {
	to                 *subscription
	node               *node
	regular, revocable amounts
	ports              resource.PortSet
	demand             *demand // of places kept for this; nil for what is idle
	kept               int
}

// allocate says who is to be offered what. Each node goes to one contender, or in optimistic mode to each. First come those below
// their guarantee, then whoever has waited longest since it was last offered something. So nobody starves by what
// others decline: of n contenders each is offered whatever fits it after at most n-1 others.
func allocate(nodes []*node, contenders []*contender, optimistic bool, turns *uint64, now time.Time) []grant {
	var out []grant
	order := func(a, b *contender) int {
		if a.below != b.below {
			return map[bool]int{true: -1, false: 1}[a.below]
		}
		return cmp.Or(cmp.Compare(a.turn, b.turn), cmp.Compare(a.fw.id, b.fw.id), cmp.Compare(a.role, b.role))
	}
	slices.SortFunc(contenders, order)
	for _, n := range nodes {
		free, ports := n.unoffered(optimistic)
		if !worthwhile(free) {
			continue
		}
		for i := 0; i < len(contenders); i++ {
			c := contenders[i]
			g, ok := c.share(n, free, ports, now)
			if !ok {
				continue
			}
			out = append(out, g)
			*turns++
			c.turn = *turns
			if optimistic {
				continue
			}
			c.use(g.regular)
			c.use(g.revocable)
			contenders = slices.Delete(contenders, i, i+1)
			at, _ := slices.BinarySearchFunc(contenders, c, order)
			contenders = slices.Insert(contenders, at, c)
			break
		}
	}
	return out
}

// worthwhile reports whether an offer of so much is worth making.
func worthwhile(r amounts) bool {
	for kind, least := range leastOffer {
		if r[kind] >= least {
			return true
		}
	}
	return false
}

// unoffered is what of a node may be offered: what is free and, unless offers are optimistic, in no other offer.
func (n *node) unoffered(optimistic bool) (amounts, resource.PortSet) {
	if !n.offerable() {
		return nil, resource.PortSet{}
	}
	free, ports := n.free, n.freePorts
	if optimistic || len(n.offers) == 0 {
		return free, ports
	}
	free = maps.Clone(free)
	for _, o := range n.offers {
		if o.demand == nil {
			less(free, o.regular)
			less(free, o.revocable)
		}
		if o.ports.Len() > 0 {
			ports = resource.PortSet{} // an offer has all of them
		}
	}
	return free, ports
}

// share is what of a node a contender is offered.
func (c *contender) share(n *node, free amounts, ports resource.PortSet, now time.Time) (grant, bool) {
	g := grant{to: c.subscription, node: n, ports: ports}
	if c.suppressed || !c.constraint.accepts(n) || optimisticallyHas(c.subscription, n) {
		return g, false
	}
	if free["gpu"] > 0 && !c.fw.gpus() {
		free = minus(free, amounts{"gpu": free["gpu"]})
	}
	all := amounts{}
	for kind, a := range free {
		if most, bounded := c.room[kind]; bounded {
			a = min(a, most)
		}
		if a > 0 {
			all[kind] = a
		}
	}
	if !worthwhile(all) {
		return g, false
	}
	if f, ok := c.filters[n.name]; ok && now.Before(f.until) && fits(all, f.refused) {
		return g, false
	}
	if g.regular = all; c.fw.borrows() {
		g.regular = least(all, c.idle)
		g.revocable = minus(all, g.regular)
	}
	return g, true
}

// optimisticallyHas reports whether the subscription has an offer of the node already.
func optimisticallyHas(s *subscription, n *node) bool {
	for _, o := range n.offers {
		if o.to == s && o.demand == nil {
			return true
		}
	}
	return false
}

// use takes what is offered off what the role may still be offered.
func (q *quota) use(all amounts) {
	q.idle, q.room = minus(q.idle, all), minus(q.room, all)
	q.below = q.below && worthwhile(q.idle)
}
