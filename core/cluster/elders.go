package cluster

import (
	"cmp"
	"slices"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// elders lists, by role, the units that are charged and not leaving by who pays for them and, below that, by what makes them the same to
// deepening: where one of such kin cannot be paid for deeper, none can as long as the book stays as it is. So deepening looks at the
// first of each kin and at nobody else.
type elders [][]filed

// filed is a kin with its leaf beside it and its sum, by which those of a leaf are in order: a search must not fetch every kin on its way
// from memory.
type filed struct {
	leaf role.ID
	sum  uint64
	kin  *kin
}

// kin is units that one role pays for in one leaf, of one priority and with equal charges: a heap, who came first on top. Each knows
// its place there.
type kin struct {
	leaf     role.ID
	priority int
	hold     time.Duration
	count    int
	amount   resource.Vector
	units    []elder
}

// elder is a unit with when it came: comparing two must not fetch two units from memory.
type elder struct {
	seq  int64
	unit *unit
}

func (u *unit) priority() int { return u.tasks[0].shape.Priority }

// kinOf is the kin that a unit belongs to by its charge, without anybody in it.
func kinOf(u *unit) kin {
	c := &u.charge
	return kin{leaf: c.Leaf, priority: u.priority(), hold: c.Hold, count: c.Count, amount: c.Amount}
}

// compare orders kin.
func (k *kin) compare(o *kin) int {
	return cmp.Or(cmp.Compare(k.leaf, o.leaf), cmp.Compare(k.priority, o.priority), cmp.Compare(k.hold, o.hold), cmp.Compare(k.count, o.count),
		slices.Compare(k.amount, o.amount))
}

// sum tells kin of one leaf apart, but for the odd two that have the same.
func (k *kin) sum() uint64 {
	const prime = 1<<40 + 435 // of the hash by Fowler, Noll and Vo
	h := uint64(k.priority)
	for _, x := range [...]uint64{uint64(k.hold), uint64(k.count)} {
		h = (h ^ h>>32 ^ x) * prime
	}
	for _, x := range k.amount {
		h = (h ^ h>>32 ^ uint64(x)) * prime
	}
	return h
}

// add enters a unit by its charge.
func (e elders) add(u *unit) {
	at, want := u.charge.At, kinOf(u)
	sum := want.sum()
	i, ok := e.find(at, &want, sum)
	if !ok {
		k := want // only what is kept is put in memory of its own
		e[at] = slices.Insert(e[at], i, filed{k.leaf, sum, &k})
	}
	k := e[at][i].kin
	u.kin = k
	k.units = append(k.units, elder{})
	k.up(len(k.units)-1, elder{u.seq, u})
}

// find returns where a kin with a sum is, or is to be, among those that at pays for.
func (e elders) find(at role.ID, want *kin, sum uint64) (int, bool) {
	return slices.BinarySearchFunc(e[at], want, func(f filed, want *kin) int {
		switch {
		case f.leaf != want.leaf:
			return cmp.Compare(f.leaf, want.leaf)
		case f.sum != sum:
			return cmp.Compare(f.sum, sum)
		}
		return f.kin.compare(want) // seldom another
	})
}

// span is from where to where the kin are that at pays for in the leaves from first to last.
func (e elders) span(at, first, last role.ID) (from, to int) {
	byLeaf := func(f filed, leaf role.ID) int { return cmp.Compare(f.leaf, leaf) }
	from, _ = slices.BinarySearchFunc(e[at], first, byLeaf)
	to, _ = slices.BinarySearchFunc(e[at][from:], last+1, byLeaf)
	return from, from + to
}

// remove takes a unit out that at pays for, whatever else its charge is by now.
func (e elders) remove(u *unit, at role.ID) {
	k := u.kin
	k.take(u.place)
	u.kin = nil
	if len(k.units) == 0 {
		i, _ := e.find(at, k, k.sum())
		e[at] = slices.Delete(e[at], i, i+1)
	}
}

// in lists the kin that at pays for in the leaves from first to last.
func (e elders) in(at, first, last role.ID) []filed {
	from, to := e.span(at, first, last)
	return e[at][from:to]
}

// take takes the unit at a place out of the heap.
func (k *kin) take(i int) {
	last := len(k.units) - 1
	x := k.units[last]
	k.units[last] = elder{}
	k.units = k.units[:last]
	switch {
	case i == last:
	case i > 0 && x.seq < k.units[(i-1)/2].seq:
		k.up(i, x)
	default:
		k.down(i, x)
	}
}

func (k *kin) put(i int, x elder) {
	k.units[i] = x
	x.unit.place = i
}

// up finds the place for x from i towards the top.
func (k *kin) up(i int, x elder) {
	for i > 0 && x.seq < k.units[(i-1)/2].seq {
		k.put(i, k.units[(i-1)/2])
		i = (i - 1) / 2
	}
	k.put(i, x)
}

// down finds the place for x from i away from the top.
func (k *kin) down(i int, x elder) {
	for {
		child := 2*i + 1
		if child+1 < len(k.units) && k.units[child+1].seq < k.units[child].seq {
			child++
		}
		if child >= len(k.units) || x.seq <= k.units[child].seq {
			break
		}
		k.put(i, k.units[child])
		i = child
	}
	k.put(i, x)
}

// queue is what deepening has not looked at of a kin: all of it, or the rest in order once somebody was passed over.
type queue struct {
	*kin
	passed bool
	rest   []*unit
}

// first is who is looked at next, nil when nobody is left.
func (q *queue) first() *unit {
	switch {
	case !q.passed && len(q.units) > 0:
		return q.units[0].unit
	case len(q.rest) > 0:
		return q.rest[0]
	}
	return nil
}

// before reports whether the first of a queue comes before that of another: more important first, then older.
func (q *queue) before(o *queue) bool {
	if q.priority != o.priority {
		return q.priority > o.priority
	}
	return q.first().seq < o.first().seq
}

// gone goes on after the first, who moved.
func (q *queue) gone() {
	if q.passed {
		q.rest = q.rest[1:]
	}
}

// pass goes on after the first, who stays.
func (q *queue) pass() {
	if q.passed {
		q.rest = q.rest[1:]
	} else {
		q.passTo(q.priority, q.first().seq)
	}
}

// passTo passes over everybody who does not come after one of such a priority and age.
func (q *queue) passTo(priority int, seq int64) {
	q.passed, q.rest = true, nil
	for _, x := range q.units {
		if q.priority < priority || q.priority == priority && x.seq > seq {
			q.rest = append(q.rest, x.unit)
		}
	}
	slices.SortFunc(q.rest, func(a, b *unit) int { return cmp.Compare(a.seq, b.seq) })
}
