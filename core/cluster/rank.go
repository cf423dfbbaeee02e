package cluster

import "cmp"

// rank is what decides which of the units that one role pays for in one leaf is cheaper to lose, among units with as many tasks
// started: the order of [reclaim.Cheaper], which these do not change as time goes on.
type rank struct {
	stays    bool // not all of it was told to stop
	priority int  // of its tasks
	started  int  // tasks that have started
	sum      int64
	last     int64 // sum and greatest of when they did
}

// ranked is the rank of a unit as it is now.
func (u *unit) ranked() rank {
	r := rank{stays: !u.stopping()}
	if len(u.tasks) > 0 {
		r.priority = u.tasks[0].shape.Priority
	}
	for _, t := range u.tasks {
		if !t.started.IsZero() {
			at := t.started.UnixNano()
			r.started, r.sum, r.last = r.started+1, r.sum+at, max(r.last, at)
		}
	}
	return r
}

// cheaperThan reports whether a unit goes before another of the same list: who stops anyhow, then lower priority, then whose tasks
// started later, then who came first.
func (u *unit) cheaperThan(v *unit) bool {
	a, b := &u.rank, &v.rank
	if a.stays != b.stays {
		return b.stays
	}
	return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(b.sum, a.sum), cmp.Compare(b.last, a.last), cmp.Compare(u.seq, v.seq)) < 0
}

// ranks is a heap of units, the cheapest to lose on top; each knows its slot.
type ranks []*unit

func (h *ranks) push(u *unit) {
	u.slot = len(*h)
	*h = append(*h, u)
	h.up(u.slot)
}

// take takes a unit out.
func (h *ranks) take(u *unit) {
	i, last := u.slot, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	if *h = (*h)[:last]; i < last {
		h.down(i)
		h.up(i)
	}
}

func (h *ranks) swap(i, j int) {
	s := *h
	s[i], s[j] = s[j], s[i]
	s[i].slot, s[j].slot = i, j
}

func (h *ranks) up(i int) {
	for parent := (i - 1) / 2; i > 0 && (*h)[i].cheaperThan((*h)[parent]); i, parent = parent, (parent-1)/2 {
		h.swap(i, parent)
	}
}

func (h *ranks) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(*h); child++ {
			if (*h)[child].cheaperThan((*h)[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

// inOrder visits a heap's units from the cheapest on, one with each call, nil after the last, and costs nothing for those it is not
// asked for. The heap must not change meanwhile.
func (h ranks) inOrder() (next func() *unit) {
	front := pile[int]{less: func(i, j int) bool { return h[i].cheaperThan(h[j]) }} // every other one is below one of these
	if len(h) > 0 {
		front.push(0)
	}
	return func() *unit {
		if len(front.items) == 0 {
			return nil
		}
		i := front.pop()
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			front.push(child)
		}
		return h[i]
	}
}

// pile is a heap of anything, the least on top.
type pile[T any] struct {
	items []T
	less  func(a, b T) bool
}

func (p *pile[T]) push(x T) {
	s := append(p.items, x)
	for i := len(s) - 1; i > 0 && p.less(s[i], s[(i-1)/2]); i = (i - 1) / 2 {
		s[i], s[(i-1)/2] = s[(i-1)/2], s[i]
	}
	p.items = s
}

// pop takes the least; there must be one.
func (p *pile[T]) pop() T {
	s := p.items
	least, last := s[0], len(s)-1
	s[0] = s[last]
	s = s[:last]
	for i := 0; ; {
		min := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(s); child++ {
			if p.less(s[child], s[min]) {
				min = child
			}
		}
		if min == i {
			break
		}
		s[i], s[min] = s[min], s[i]
		i = min
	}
	p.items = s
	return least
}
