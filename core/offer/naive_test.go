package offer

import (
	"cmp"
	"slices"
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// naive is a book that keeps plain lists and works everything out anew, with a ledger of its own for every cycle.
type naive struct {
	tree      *role.Tree
	capacity  resource.Vector
	options   Options
	charges   []lending.Charge // what runs
	nodes     map[placement.NodeID]resource.Vector
	takers    map[TakerID]*naiveTaker
	offers    []*Offer
	last      ID
	rescinded []ID
}

type naiveTaker struct {
	leaf       role.ID
	hold       time.Duration
	suppressed bool
	used       resource.Vector
	filters    map[placement.NodeID]time.Time
}

func (n *naive) ledger() *lending.Ledger {
	l := lending.NewLedger(n.tree, "", kinds, n.capacity)
	for _, c := range n.charges {
		l.Add(c)
		l.Occupy(c.Leaf, c.Amount)
	}
	return l
}

func (n *naive) setNode(id placement.NodeID, v resource.Vector) {
	before := n.nodes[id]
	n.nodes[id] = v
	if !v.Fits(before) {
		for _, t := range n.takers {
			delete(t.filters, id)
		}
	}
	for _, o := range slices.Backward(slices.Clone(n.offers)) {
		if o.Node != id {
			continue
		}
		if n.options.Optimistic && !o.Amount.Fits(v) || !n.options.Optimistic && !n.open(id).Fits(v) {
			n.rescinded = append(n.rescinded, o.ID)
			n.drop(o.ID)
		}
	}
}

func (n *naive) open(id placement.NodeID) resource.Vector {
	sum := make(resource.Vector, kinds)
	for _, o := range n.offers {
		if o.Node == id {
			sum.Inc(o.Amount)
		}
	}
	return sum
}

func (n *naive) drop(id ID) {
	n.offers = slices.DeleteFunc(n.offers, func(o *Offer) bool { return o.ID == id })
}

func (n *naive) decline(o *Offer, until time.Time) {
	n.drop(o.ID)
	n.takers[o.Taker].filters[o.Node] = until
}

func (n *naive) leave(id TakerID) {
	for _, o := range slices.Clone(n.offers) {
		if o.Taker == id {
			n.rescinded = append(n.rescinded, o.ID)
			n.drop(o.ID)
		}
	}
	delete(n.takers, id)
}

func (n *naive) cycle(now time.Time) (made []*Offer) {
	for _, t := range n.takers {
		for id, until := range t.filters {
			if !until.IsZero() && !until.After(now) {
				delete(t.filters, id)
			}
		}
	}
	l := n.ledger()
	if !n.options.Optimistic {
		for _, o := range n.offers {
			n.charge(l, o)
		}
	}
	for {
		o := n.next(l)
		if o == nil {
			return made
		}
		n.last++
		o.ID = n.last
		n.offers = append(n.offers, o)
		made = append(made, o)
		if !n.options.Optimistic {
			n.charge(l, o)
		}
	}
}

func (n *naive) charge(l *lending.Ledger, o *Offer) {
	t := n.takers[o.Taker]
	for _, p := range o.Paid {
		l.Add(lending.Charge{Leaf: t.leaf, At: p.At, Amount: p.Amount, Hold: t.hold, Count: 1})
		l.Occupy(t.leaf, p.Amount)
	}
}

// next is the first taker in the order that can be offered something, with the first machine it can be offered.
func (n *naive) next(l *lending.Ledger) *Offer {
	ids := make([]TakerID, 0, len(n.takers))
	for id, t := range n.takers {
		if !t.suppressed {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b TakerID) int { return n.before(l, a, b) })
	nodes := make([]placement.NodeID, 0, len(n.nodes))
	for id := range n.nodes {
		nodes = append(nodes, id)
	}
	slices.Sort(nodes)
	for _, id := range ids {
		for _, at := range nodes {
			if o := n.try(l, id, at); o != nil {
				return o
			}
		}
	}
	return nil
}

// before compares two takers at the first role where their paths part.
func (n *naive) before(l *lending.Ledger, a, b TakerID) int {
	x, y := n.takers[a], n.takers[b]
	if x.leaf == y.leaf {
		return cmp.Or(cmp.Compare(n.share(a), n.share(b)), cmp.Compare(a, b))
	}
	p, q := n.path(x.leaf), n.path(y.leaf)
	for i := range p {
		if p[i] != q[i] {
			return cmp.Or(n.need(l, p[i]).compare(n.need(l, q[i])), cmp.Compare(p[i], q[i]))
		}
	}
	panic("two leaves, one within the other")
}

func (n *naive) path(id role.ID) (out []role.ID) {
	for ; id != role.None; id = n.tree.Roles[id].Parent {
		out = append(out, id)
	}
	slices.Reverse(out)
	return out
}

func (n *naive) need(l *lending.Ledger, id role.ID) need {
	q, used := n.tree.Quota(id, "", kinds), l.Used(id)
	below, guaranteed, share := true, false, 0.0
	for i := range kinds {
		if g := q.Guarantee[i]; g > 0 {
			guaranteed = true
			below = below && used[i] < g
			share = max(share, float64(used[i])/float64(g))
		}
	}
	if guaranteed && below {
		return need{share: share}
	}
	surplus := 0.0
	for i := range kinds {
		if n.capacity[i] > 0 && used[i] > q.Guarantee[i] {
			surplus = max(surplus, float64(used[i]-q.Guarantee[i])/float64(n.capacity[i]))
		}
	}
	return need{true, n.tree.Roles[id].Priority, surplus / float64(n.tree.Roles[id].Weight)}
}

func (n *naive) share(id TakerID) float64 {
	sum := n.takers[id].used.Clone(kinds)
	for _, o := range n.offers {
		if o.Taker == id {
			sum.Inc(o.Amount)
		}
	}
	most := 0.0
	for i, a := range sum {
		if n.capacity[i] > 0 {
			most = max(most, float64(a)/float64(n.capacity[i]))
		}
	}
	return most
}

func (n *naive) worthy(v resource.Vector) bool {
	for i, a := range v {
		if n.options.Least.IsZero() && a > 0 || n.options.Least.At(i) > 0 && a >= n.options.Least.At(i) {
			return true
		}
	}
	return false
}

// try offers a taker what it may have of a machine, unit by unit, from the deepest role that can pay up.
func (n *naive) try(l *lending.Ledger, id TakerID, at placement.NodeID) *Offer {
	t := n.takers[id]
	if _, declined := t.filters[at]; declined {
		return nil
	}
	left := n.nodes[at].Clone(kinds)
	if !n.options.Optimistic {
		left.Dec(n.open(at))
	} else if slices.ContainsFunc(n.offers, func(o *Offer) bool { return o.Taker == id && o.Node == at }) {
		return nil
	}
	if !n.worthy(left) {
		return nil
	}
	o := &Offer{Taker: id, Node: at, Amount: make(resource.Vector, kinds)}
	var undo []lending.Charge
	for f := t.leaf; f != role.None; f = n.tree.Roles[f].Parent {
		part := Part{f, make(resource.Vector, kinds)}
		for i := range left {
			one := lending.Charge{Leaf: t.leaf, At: f, Amount: make(resource.Vector, kinds), Hold: t.hold, Count: 1}
			one.Amount[i] = 1
			for left[i] > 0 && l.Room(t.leaf, one.Amount) == nil && l.Try(one) == nil {
				l.Occupy(t.leaf, one.Amount)
				undo = append(undo, one)
				part.Amount[i]++
				left[i]--
			}
		}
		if !part.Amount.IsZero() {
			o.Paid = append(o.Paid, part)
			o.Amount.Inc(part.Amount)
		}
	}
	for _, c := range undo {
		l.Remove(c)
		l.Vacate(c.Leaf, c.Amount)
	}
	if !n.worthy(o.Amount) {
		return nil
	}
	return o
}
