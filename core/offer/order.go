package offer

import (
	"cmp"
	"container/heap"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// branch is a role in the order of the tree. During a cycle its heaps hold those below it that may still get an offer, the
// neediest on top.
type branch struct {
	id     role.ID
	need   need
	slot   int       // in its parent's heap, or absent
	kids   []*branch // heap
	takers hungry    // heap; of a leaf
	all    []*taker  // of a leaf, hungry or not
	pencil pencil    // of a leaf
}

// absent is the slot of what is in no heap.
const absent = -1

// need says how much a role needs an offer: roles below their guarantee before others.
type need struct {
	served   bool    // it has its guarantee
	priority int     // once served
	share    float64 // of its guarantee, or of the pool beyond it by weight
}

func (n need) compare(m need) int {
	if n.served != m.served {
		if m.served {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(m.priority, n.priority), cmp.Compare(n.share, m.share))
}

// needOf works out the need of a role, open offers included while they are pencilled in.
func (b *Book) needOf(id role.ID) need {
	q, used := b.ledger.Quota(id), b.ledger.Used(id)
	have, guaranteed := 0.0, false
	for i, g := range q.Guarantee {
		if g > 0 {
			have, guaranteed = max(have, float64(used[i])/float64(g)), true
		}
	}
	if guaranteed && have < 1 {
		return need{share: have}
	}
	r, total := &b.ledger.Tree().Roles[id], b.ledger.Capacity()
	surplus := dominant(total, func(i int) resource.Amount { return used[i] - q.Guarantee.At(i) })
	return need{true, r.Priority, surplus / float64(r.Weight)}
}

// dominant is the greatest share of a whole over all kinds.
func dominant(whole resource.Vector, amount func(i int) resource.Amount) float64 {
	most := 0.0
	for i, w := range whole {
		if a := amount(i); a > 0 && w > 0 {
			most = max(most, float64(a)/float64(w))
		}
	}
	return most
}

// plant makes the branches for the ledger's tree.
func (b *Book) plant() {
	roles := b.ledger.Tree().Roles
	b.order, b.leaves = make([]branch, len(roles)), nil
	for id := range b.order {
		b.order[id] = branch{id: role.ID(id), slot: absent}
	}
}

// arrange fills the heaps with every taker that wants offers.
func (b *Book) arrange() {
	for _, leaf := range b.leaves {
		leaf.takers = leaf.takers[:0]
		for _, t := range leaf.all {
			if t.suppressed {
				continue
			}
			if t.from = min(t.from, b.lowest); t.passed {
				t.from, t.passed = 0, false
			}
			b.weigh(t)
			leaf.takers = append(leaf.takers, t)
		}
		heap.Init(&leaf.takers)
	}
	for id := len(b.order) - 1; id > 0; id-- { // children before parents
		at := &b.order[id]
		heap.Init(at)
		if len(at.kids) == 0 && len(at.takers) == 0 {
			continue
		}
		at.need = b.needOf(at.id)
		up := b.parent(at)
		at.slot = len(up.kids)
		up.kids = append(up.kids, at)
	}
	heap.Init(&b.order[role.Root])
}

func (b *Book) parent(at *branch) *branch { return &b.order[b.ledger.Tree().Roles[at.id].Parent] }

// weigh works out what share of the pool a taker has.
func (b *Book) weigh(t *taker) {
	t.share = dominant(b.ledger.Capacity(), func(i int) resource.Amount { return t.used.At(i) + t.open[i] })
}

// neediest is the taker whose turn it is; nil when nobody is left.
func (b *Book) neediest() *taker {
	at := &b.order[role.Root]
	for len(at.kids) > 0 {
		at = at.kids[0]
	}
	if len(at.takers) == 0 {
		return nil
	}
	return at.takers[0]
}

// served moves a taker that got an offer, and the roles above it, to their new places.
func (b *Book) served(t *taker) {
	at := &b.order[t.leaf]
	b.weigh(t)
	heap.Fix(&at.takers, 0)
	for ; at.id != role.Root; at = b.parent(at) {
		at.need = b.needOf(at.id)
		heap.Fix(b.parent(at), at.slot)
	}
}

// dismiss takes the first taker of a leaf out of the cycle, and every role above that has nobody left.
func (b *Book) dismiss(t *taker) {
	at := &b.order[t.leaf]
	heap.Pop(&at.takers)
	for at.id != role.Root && len(at.takers) == 0 && len(at.kids) == 0 {
		up := b.parent(at)
		heap.Remove(up, at.slot)
		at = up
	}
}

func (at *branch) Len() int { return len(at.kids) }
func (at *branch) Less(i, j int) bool {
	x, y := at.kids[i], at.kids[j]
	return cmp.Or(x.need.compare(y.need), cmp.Compare(x.id, y.id)) < 0
}

func (at *branch) Swap(i, j int) {
	at.kids[i], at.kids[j] = at.kids[j], at.kids[i]
	at.kids[i].slot, at.kids[j].slot = i, j
}

// Push implements heap.Interface.
func (at *branch) Push(x any) {
	kid := x.(*branch)
	kid.slot = len(at.kids)
	at.kids = append(at.kids, kid)
}

// Pop implements heap.Interface.
func (at *branch) Pop() any {
	kid := at.kids[len(at.kids)-1]
	at.kids, kid.slot = at.kids[:len(at.kids)-1], absent
	return kid
}

// hungry is takers by how little they have.
type hungry []*taker

func (h hungry) Len() int { return len(h) }
func (h hungry) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].share, h[j].share), cmp.Compare(h[i].id, h[j].id)) < 0
}
func (h hungry) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *hungry) Push(x any) { *h = append(*h, x.(*taker)) }

// Pop implements heap.Interface.
func (h *hungry) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
