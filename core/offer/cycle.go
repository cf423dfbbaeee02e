package offer

import (
	"math"
	"math/bits"
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Cycle makes every offer that can be made now and returns them in the order they were made, with the offers rescinded since the
// last cycle. It costs O(1) when neither the ledger nor the book has changed since; otherwise O(roles + takers), and for
// each offer O(depth × log of a level's width), beside one look at each 64 machines a taker has declined.
func (b *Book) Cycle(now time.Time) (made []*Offer, rescinded []ID) {
	b.expire(now)
	if b.stirred || b.ledger.Version() != b.version {
		made = b.make()
	}
	rescinded, b.rescinded = b.rescinded, nil
	return made, rescinded
}

func (b *Book) make() []*Offer {
	var made []*Offer
	b.write()
	b.arrange()
	for t := b.neediest(); t != nil; t = b.neediest() {
		id, ok := b.next(t)
		if !ok {
			b.dismiss(t)
			continue
		}
		if o := b.offer(t, id); o != nil {
			made = append(made, o)
			b.served(t)
		} else if b.roomy(t) {
			t.from, t.passed = int(id)+1, true
		} else {
			t.passed = true
			b.dismiss(t)
		}
	}
	b.rub()
	b.version, b.stirred, b.lowest = b.ledger.Version(), false, math.MaxInt
	return made
}

// next is the machine with the lowest id that may be offered to a taker.
func (b *Book) next(t *taker) (placement.NodeID, bool) {
	mask := ^uint64(0) << (uint(t.from) % 64)
	for block := t.from / 64; block < len(b.free); block++ {
		w := b.free[block] & mask &^ t.declined.word(block) &^ t.shown.word(block)
		if w != 0 {
			t.from = block*64 + bits.TrailingZeros64(w)
			return placement.NodeID(t.from), true
		}
		mask = ^uint64(0)
	}
	t.from = len(b.free) * 64
	return 0, false
}

// offer makes an offer of a machine, nil when what the taker's role may have of it is not worth one.
func (b *Book) offer(t *taker, id placement.NodeID) *Offer {
	m := &b.machines[id]
	for i, a := range m.available {
		b.amount[i] = a
		if !b.options.Optimistic {
			b.amount[i] -= m.open[i]
		}
	}
	paid := b.pay(t, b.amount)
	if paid == nil {
		return nil
	}
	b.last++
	o := &Offer{ID: b.last, Taker: t.id, Node: id, Amount: make(resource.Vector, len(b.amount)), Paid: paid}
	for _, p := range paid {
		o.Amount.Inc(p.Amount)
	}
	b.open(t, m, o)
	return o
}

// open books an offer that is paid.
func (b *Book) open(t *taker, m *machine, o *Offer) {
	b.offers[o.ID] = o
	m.offers = append(m.offers, o)
	t.open.Inc(o.Amount)
	if b.options.Optimistic {
		b.unpay(t, o.Paid)
		t.shown = t.shown.reach(len(b.machines))
		t.shown.add(int(o.Node))
		return
	}
	m.open.Inc(o.Amount)
	b.order[t.leaf].pencil.note(o, t.hold, +1)
	b.judge(o.Node)
}

// roomy reports whether the taker's role may have anything worth an offer, whatever the machine.
func (b *Book) roomy(t *taker) bool {
	paid := b.pay(t, b.ledger.Capacity())
	b.unpay(t, paid)
	return paid != nil
}

// pay charges as much of x as the taker's role may have, each part at the deepest role that can pay it; nothing when that is not
// worth an offer.
func (b *Book) pay(t *taker, x resource.Vector) []Part {
	var paid []Part
	left, got := b.left, b.got
	b.ledger.Spare(t.leaf, x, left)
	clear(got)
	for at := t.leaf; at != role.None && !left.IsZero(); at = b.ledger.Tree().Roles[at].Parent {
		c := lending.Charge{Leaf: t.leaf, At: at, Amount: left, Hold: t.hold, Count: 1}
		b.ledger.Most(c, b.most)
		if b.most.IsZero() {
			continue
		}
		c.Amount = append(resource.Vector(nil), b.most...)
		b.ledger.Add(c)
		b.ledger.Occupy(t.leaf, c.Amount)
		left.Dec(c.Amount)
		got.Inc(c.Amount)
		paid = append(paid, Part{at, c.Amount})
	}
	if !b.worthy(got) {
		b.unpay(t, paid)
		return nil
	}
	return paid
}

// unpay undoes pay.
func (b *Book) unpay(t *taker, paid []Part) {
	for _, p := range paid {
		b.ledger.Remove(lending.Charge{Leaf: t.leaf, At: p.At, Amount: p.Amount, Hold: t.hold, Count: 1})
		b.ledger.Vacate(t.leaf, p.Amount)
	}
}
