package offer

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// TakerID is the dense index of a taker in its book. It is used again after [Book.Leave].
type TakerID int32

// ID names an offer, in the order they were made.
type ID int64

// Offer is idle capacity of one machine that one taker's role could claim.
type Offer struct {
	ID     ID
	Taker  TakerID
	Node   placement.NodeID
	Amount resource.Vector
	Paid   []Part // who would pay, the deepest role first; their sum is Amount
}

// Part is what one role would pay of an offer. What role.Root pays is borrowed.
type Part struct {
	At     role.ID
	Amount resource.Vector
}

// Options tune a [Book].
type Options struct {
	// Least is what makes an offer worth making: as much of one of its kinds. The zero value takes any amount of anything.
	Least resource.Vector
	// Optimistic shows the same idle capacity to every taker.
	Optimistic bool
}

// Book is the offers of one pool. See the package comment for the promise it makes.
type Book struct {
	ledger  *lending.Ledger
	options Options

	machines []machine // by node id
	free     bitset    // machines with something left to offer
	lowest   int       // no machine below this one became free since the last cycle
	takers   []*taker  // by id; nil where it left
	gone     []TakerID // ids to use again
	offers   map[ID]*Offer
	last     ID

	order     []branch  // by role id
	leaves    []*branch // those with takers, in the order they got their first
	expiry    expiries  // of filters
	rescinded []ID
	version   uint64 // of the ledger, after the last cycle
	stirred   bool   // something changed in the book since

	amount, left, got, most resource.Vector // scratch
}

// machine is a node with what the book may show of it.
type machine struct {
	available resource.Vector // as the owner says
	open      resource.Vector // part of it in open exclusive offers
	offers    []*Offer        // oldest first
	filters   []filter
}

// taker wants offers for a role.
type taker struct {
	id         TakerID
	leaf       role.ID
	hold       time.Duration
	suppressed bool
	used       resource.Vector // as the owner says: what it runs
	open       resource.Vector // in open offers
	declined   bitset
	shown      bitset // machines of which it has an open offer; only kept when offers are optimistic
	from       int    // no machine below this one can be offered to it
	passed     bool   // except some of which its role could not have enough then
	share      float64
}

// NewBook returns a book without machines and takers.
func NewBook(l *lending.Ledger, o Options) *Book {
	b := &Book{options: o, offers: map[ID]*Offer{}}
	b.Rebase(l, nil)
	return b
}

// Rebase puts another ledger under the book, because the tree or the kinds have changed. Every open offer is rescinded and every
// filter lifted. Takers go where the given function says, or leave when it says false.
func (b *Book) Rebase(l *lending.Ledger, place func(TakerID) (leaf role.ID, hold time.Duration, ok bool)) {
	for _, o := range b.sorted() {
		b.rescind(o)
	}
	for _, t := range b.takers {
		if t != nil {
			b.Revive(t.id)
		}
	}
	b.ledger, b.stirred = l, true
	k := l.Kinds()
	for _, v := range []*resource.Vector{&b.amount, &b.left, &b.got, &b.most} {
		*v = make(resource.Vector, k)
	}
	b.options.Least = b.options.Least.Clone(k)
	for id := range b.machines {
		m := &b.machines[id]
		m.available, m.open = m.available.Clone(k), m.open.Clone(k)
	}
	b.plant()
	for _, t := range b.takers {
		if t == nil {
			continue
		}
		leaf, hold, ok := place(t.id)
		if !ok {
			b.takers[t.id] = nil
			b.gone = append(b.gone, t.id)
			continue
		}
		t.leaf, t.hold, t.used, t.open = leaf, hold, t.used.Clone(k), t.open.Clone(k)
		b.enter(t)
	}
}

// SetNode says what of a node anybody may take now. A node of which more came free is offered again to those who declined it,
// and offers of what is no longer idle are rescinded, the newest first.
func (b *Book) SetNode(id placement.NodeID, available resource.Vector) {
	m := b.machine(id)
	more := !available.Fits(m.available)
	if !more && available.Equal(m.available) {
		return
	}
	b.stirred = true
	clear(m.available)
	copy(m.available, available)
	if more {
		b.lift(id)
	}
	for i := len(m.offers) - 1; i >= 0; i-- {
		if o := m.offers[i]; !b.stands(m, o) {
			b.rescind(o)
		}
	}
	b.judge(id)
}

// stands reports whether an offer is still of idle capacity.
func (b *Book) stands(m *machine, o *Offer) bool {
	if b.options.Optimistic {
		return o.Amount.Fits(m.available)
	}
	return m.open.Fits(m.available)
}

// RemoveNode forgets a node; offers of it are rescinded.
func (b *Book) RemoveNode(id placement.NodeID) { b.SetNode(id, nil); b.lift(id) }

func (b *Book) machine(id placement.NodeID) *machine {
	for int(id) >= len(b.machines) {
		k := b.ledger.Kinds()
		b.machines = append(b.machines, machine{available: make(resource.Vector, k), open: make(resource.Vector, k)})
		b.free = b.free.reach(len(b.machines))
	}
	return &b.machines[id]
}

// judge enters a machine into free, or takes it out, by what is left of it.
func (b *Book) judge(id placement.NodeID) {
	m := &b.machines[id]
	for i, a := range m.available {
		b.amount[i] = a - m.open[i]
	}
	if !b.worthy(b.amount) {
		b.free.drop(int(id))
		return
	}
	b.free.add(int(id))
	b.lowest = min(b.lowest, int(id))
}

// worthy reports whether an amount is worth an offer.
func (b *Book) worthy(x resource.Vector) bool {
	for i, a := range x {
		if a > 0 && a >= b.options.Least[i] && (b.options.Least[i] > 0 || b.options.Least.IsZero()) {
			return true
		}
	}
	return false
}

// Join adds a taker for a role that holds work; hold is the longest its tasks stay after they are asked to leave.
func (b *Book) Join(leaf role.ID, hold time.Duration) TakerID {
	k := b.ledger.Kinds()
	t := &taker{id: TakerID(len(b.takers)), leaf: leaf, hold: hold, used: make(resource.Vector, k), open: make(resource.Vector, k)}
	if n := len(b.gone); n > 0 {
		t.id, b.gone = b.gone[n-1], b.gone[:n-1]
		b.takers[t.id] = t
	} else {
		b.takers = append(b.takers, t)
	}
	b.enter(t)
	return t.id
}

// enter puts a taker on its leaf's list.
func (b *Book) enter(t *taker) {
	at := &b.order[t.leaf]
	at.all = append(at.all, t)
	if len(at.all) == 1 {
		b.leaves = append(b.leaves, at)
	}
	b.stirred = true
}

// Leave takes a taker away with its offers and filters.
func (b *Book) Leave(id TakerID) {
	t := b.takers[id]
	for _, o := range b.OffersOf(id) {
		b.rescind(o)
	}
	b.Revive(id)
	at := &b.order[t.leaf].all
	if *at = slices.DeleteFunc(*at, func(x *taker) bool { return x == t }); len(*at) == 0 {
		b.leaves = slices.DeleteFunc(b.leaves, func(x *branch) bool { return x.id == t.leaf })
		b.order[t.leaf] = branch{id: t.leaf, slot: absent}
	}
	b.takers[id] = nil
	b.gone = append(b.gone, id)
}

// OffersOf lists the open offers of a taker, oldest first. They are the book's own.
func (b *Book) OffersOf(id TakerID) []*Offer {
	return slices.DeleteFunc(b.sorted(), func(o *Offer) bool { return o.Taker != id })
}

// sorted lists the open offers, oldest first.
func (b *Book) sorted() []*Offer {
	return slices.SortedFunc(maps.Values(b.offers), func(x, y *Offer) int { return cmp.Compare(x.ID, y.ID) })
}

// SetUsed says what a taker runs: among the takers of one role the one with the least is served first.
func (b *Book) SetUsed(id TakerID, used resource.Vector) {
	t := b.takers[id]
	clear(t.used)
	copy(t.used, used)
	b.stirred = true
}

// Suppress makes no more offers to a taker until [Book.Revive].
func (b *Book) Suppress(id TakerID) { b.takers[id].suppressed = true }

// Revive makes offers to a taker again, of machines it has declined too.
func (b *Book) Revive(id TakerID) {
	t := b.takers[id]
	t.suppressed, t.from, b.stirred = false, 0, true
	for block, w := range t.declined {
		for ; w != 0; w &= w - 1 {
			m := &b.machines[block*64+bits.TrailingZeros64(w)]
			m.filters = slices.DeleteFunc(m.filters, func(f filter) bool { return f.taker == t })
		}
	}
	clear(t.declined)
}

// Close ends an open offer: it was accepted, and what is idle of the machine is the owner's to say; or the taker gave it back
// and would take it again. It is false when there is no such offer any more.
func (b *Book) Close(id ID) bool {
	o := b.offers[id]
	if o == nil {
		return false
	}
	b.drop(o)
	return true
}

// rescind ends an offer that cannot be honoured.
func (b *Book) rescind(o *Offer) {
	b.rescinded = append(b.rescinded, o.ID)
	b.drop(o)
}

func (b *Book) drop(o *Offer) {
	delete(b.offers, o.ID)
	t, m := b.takers[o.Taker], &b.machines[o.Node]
	m.offers = slices.DeleteFunc(m.offers, func(x *Offer) bool { return x == o })
	t.open.Dec(o.Amount)
	b.stirred, t.from = true, 0
	if b.options.Optimistic {
		t.shown.drop(int(o.Node))
		return
	}
	m.open.Dec(o.Amount)
	b.order[t.leaf].pencil.note(o, t.hold, -1)
	b.judge(o.Node)
}
