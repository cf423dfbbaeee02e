package lending

import (
	"cmp"
	"slices"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// entitleChildren divides out[id], what id is entitled to, among the children of id: from the tree, their demand, what they lend and the
// capacity, never from usage. Each child first gets min(guarantee, demand), scaled by priority tier and then proportionally when nodes were
// lost; what is left, less idle guarantee its owner will not lend, is filled tier by tier so that the dominant share of the surplus grows
// in proportion to weight. What the children keep to themselves comes first out of the guarantee that id is not entitled to because it does
// not ask for it.
func (l *Ledger) entitleChildren(id role.ID, out, demand, lent []resource.Vector) {
	tiers := l.tiers[id]
	left := out[id].Clone(0)
	unasked := l.accts[id].quota.Guarantee.Minus(out[id]).Max(make(resource.Vector, l.kinds))
	for _, tier := range tiers {
		l.giveGuarantees(tier, left, out, demand)
	}
	for _, tier := range tiers {
		for _, c := range tier {
			l.holdBack(c, unasked, left, demand[c], lent[c])
		}
	}
	for _, tier := range tiers {
		l.fill(tier, left, out, demand)
	}
}

// tiersOf groups the children of a role by priority, highest first, each in path order.
func tiersOf(tree *role.Tree, id role.ID) [][]role.ID {
	kids := slices.Clone(tree.Roles[id].Children)
	prio := func(c role.ID) int { return tree.Roles[c].Priority }
	slices.SortStableFunc(kids, func(a, b role.ID) int { return cmp.Compare(prio(b), prio(a)) })
	var tiers [][]role.ID
	for i, c := range kids {
		if i == 0 || prio(kids[i-1]) != prio(c) {
			tiers = append(tiers, nil)
		}
		tiers[len(tiers)-1] = append(tiers[len(tiers)-1], c)
	}
	return tiers
}

// giveGuarantees gives each role of one tier min(guarantee, demand), or its proportional part of what is left.
func (l *Ledger) giveGuarantees(tier []role.ID, left resource.Vector, out, demand []resource.Vector) {
	total := make(resource.Vector, l.kinds)
	for _, c := range tier {
		for i, g := range l.accts[c].quota.Guarantee {
			out[c][i] = min(g, demand[c][i])
		}
		total.Inc(out[c])
	}
	for i := range left {
		if total[i] > left[i] {
			for _, c := range tier {
				out[c][i] = out[c][i].MulDiv(int64(max(0, left[i])), int64(total[i]))
			}
		}
	}
	for _, c := range tier {
		left.Dec(out[c])
	}
}

// holdBack takes from what nobody asked for, then from the surplus, what c neither uses of its guarantee nor lends.
func (l *Ledger) holdBack(c role.ID, unasked, left, demand, lent resource.Vector) {
	q := l.accts[c].quota
	for i := range left {
		kept := max(0, q.Guarantee[i]-demand[i]) - lent[i]
		free := min(kept, unasked[i])
		unasked[i] -= free
		left[i] = max(0, left[i]-(kept-free))
	}
}

// portion is one role's part in a water-filling.
type portion struct {
	id     role.ID
	want   resource.Vector // what it may still get
	rate   []float64       // per unit of level, by kind
	full   float64         // level at which it has all it wants
	frozen bool
}

// fill divides the surplus among one tier by weighted dominant share. Shares are floats because they are an order, not
// an account: amounts are rounded down, so what is given never exceeds what is there.
func (l *Ledger) fill(tier []role.ID, left resource.Vector, out, demand []resource.Vector) {
	ps := l.portions(tier, out, demand)
	rest := make([]float64, len(left))
	for i := range rest {
		rest[i] = float64(left[i])
	}
	slices.SortStableFunc(ps, func(a, b *portion) int { return cmp.Compare(a.full, b.full) })
	level, next, rates := 0.0, 0, make([]float64, len(rest))
	for next < len(ps) {
		if ps[next].frozen {
			next++
			continue
		}
		sumRates(rates, ps[next:])
		step, kind := ps[next].full-level, -1
		for i, r := range rates {
			if r > 0 && rest[i]/r < step {
				step, kind = rest[i]/r, i
			}
		}
		level += step
		for i, r := range rates {
			rest[i] = max(0, rest[i]-float64(r*step))
		}
		if kind < 0 {
			l.give(ps[next], level, left, out)
			next++
			continue
		}
		for _, p := range ps[next:] {
			if !p.frozen && p.rate[kind] > 0 {
				l.give(p, level, left, out)
			}
		}
	}
}

// portions lists the roles of a tier that may get surplus.
func (l *Ledger) portions(tier []role.ID, out, demand []resource.Vector) []*portion {
	total, k := l.Capacity(), l.kinds
	room, want, rate := make([]portion, len(tier)), make(resource.Vector, k*len(tier)), make([]float64, k*len(tier))
	ps := make([]*portion, 0, len(tier))
	for n, c := range tier {
		q := &l.accts[c].quota
		p := &room[n]
		*p = portion{id: c, want: want[n*k:][:k:k], rate: rate[n*k:][:k:k]}
		dominant := 0.0
		for i := range p.want {
			most := min(demand[c][i], q.Limit.At(i), q.Guarantee[i].Add(q.Borrow.At(i)))
			p.want[i] = max(0, most-out[c][i])
			if total.At(i) > 0 {
				dominant = max(dominant, float64(p.want[i])/float64(total[i]))
			}
		}
		if dominant == 0 {
			continue
		}
		p.full = dominant / float64(l.tree.Roles[c].Weight)
		for i, w := range p.want {
			p.rate[i] = float64(w) / p.full
		}
		ps = append(ps, p)
	}
	return ps
}

// sumRates writes to sum what all portions that are not frozen take per unit of level, by kind.
func sumRates(sum []float64, ps []*portion) {
	clear(sum)
	for _, p := range ps {
		if !p.frozen {
			for i, r := range p.rate {
				sum[i] += r
			}
		}
	}
}

// give settles a portion at a level.
func (l *Ledger) give(p *portion, level float64, left resource.Vector, out []resource.Vector) {
	p.frozen = true
	for i, w := range p.want {
		got := min(w, resource.Amount(float64(p.rate[i]*level)), max(0, left[i]))
		if level >= p.full {
			got = min(w, max(0, left[i]))
		}
		out[p.id][i] = out[p.id][i].Add(got)
		left[i] -= got
	}
}
