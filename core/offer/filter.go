package offer

import (
	"container/heap"
	"slices"
	"time"

	"polder.dev/polder/core/placement"
)

// filter keeps a machine from a taker that declined it.
type filter struct {
	taker *taker
	until time.Time // zero: until the taker revives or more comes free
}

// Decline ends an open offer and does not offer the machine to its taker again before the given time, or, when that is zero,
// before it revives; unless more comes free there. It is false when there is no such offer any more.
func (b *Book) Decline(id ID, until time.Time) bool {
	o := b.offers[id]
	if o == nil {
		return false
	}
	b.drop(o)
	t, m := b.takers[o.Taker], &b.machines[o.Node]
	if t.declined.has(int(o.Node)) { // another offer of the same machine
		m.filters = slices.DeleteFunc(m.filters, func(f filter) bool { return f.taker == t })
	}
	m.filters = append(m.filters, filter{t, until})
	t.declined = t.declined.reach(len(b.machines))
	t.declined.add(int(o.Node))
	if !until.IsZero() {
		heap.Push(&b.expiry, expiry{until, o.Node})
	}
	return true
}

// lift ends every filter on a machine.
func (b *Book) lift(id placement.NodeID) { b.liftIf(id, func(filter) bool { return true }) }

func (b *Book) liftIf(id placement.NodeID, over func(filter) bool) {
	m := &b.machines[id]
	m.filters = slices.DeleteFunc(m.filters, func(f filter) bool {
		if !over(f) {
			return false
		}
		f.taker.declined.drop(int(id))
		f.taker.from = 0
		b.stirred = true
		return true
	})
}

// expire lifts the filters whose time is over.
func (b *Book) expire(now time.Time) {
	for len(b.expiry) > 0 && !b.expiry[0].at.After(now) {
		e := heap.Pop(&b.expiry).(expiry)
		b.liftIf(e.node, func(f filter) bool { return !f.until.IsZero() && !f.until.After(now) })
	}
}

// NextExpiry is when the next filter ends: a cycle is due then even if nothing else happens.
func (b *Book) NextExpiry() (time.Time, bool) {
	if len(b.expiry) == 0 {
		return time.Time{}, false
	}
	return b.expiry[0].at, true
}

// expiry says that a filter on a machine may end then. It stays behind when the filter was lifted earlier.
type expiry struct {
	at   time.Time
	node placement.NodeID
}

type expiries []expiry

func (h expiries) Len() int           { return len(h) }
func (h expiries) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h expiries) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *expiries) Push(x any) { *h = append(*h, x.(expiry)) }

// Pop implements heap.Interface.
func (h *expiries) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
