package cluster

// rank is what decides which of the units that one role pays for in one leaf is cheaper to lose, among units with as many tasks
// started: the order of [reclaim.Cheaper], which these do not change as time goes on.
type rank struct {
	stays    bool // not all of it was told to stop
	cost     Cost
	priority int // of its tasks
	started  int // tasks that have started
	sum      int64
	last     int64 // sum and greatest of when they did
	seq      int64
}

// ranked is the rank of a unit as it is now.
func (u *unit) ranked() rank {
	r := rank{stays: !u.stopping(), seq: u.seq}
	if len(u.tasks) > 0 {
		r.priority, r.cost = u.tasks[0].shape.Priority, u.cost()
	}
	for _, t := range u.tasks {
		if !t.started.IsZero() {
			at := t.started.UnixNano()
			r.started, r.sum, r.last = r.started+1, r.sum+at, max(r.last, at)
		}
	}
	return r
}

// before reports whether a unit goes before another of the same list: who stops anyhow, then who is not guarded, then lower
// priority, then lower cost, then whose tasks started later, then who came first.
func (r *rank) before(s *rank) bool {
	switch {
	case r.stays != s.stays:
		return s.stays
	case r.cost.Guarded != s.cost.Guarded:
		return s.cost.Guarded
	case r.priority != s.priority:
		return r.priority < s.priority
	case r.cost.Amount != s.cost.Amount:
		return r.cost.Amount < s.cost.Amount
	case r.sum != s.sum:
		return r.sum > s.sum
	case r.last != s.last:
		return r.last > s.last
	}
	return r.seq < s.seq
}

// ranks is a heap of units, the cheapest to lose on top; each knows its slot. Ranks lie side by side: comparing two must not fetch two
// units from memory.
type ranks []seat

type seat struct {
	rank
	unit *unit
}

func (h *ranks) push(r rank, u *unit) {
	*h = append(*h, seat{})
	h.up(len(*h)-1, seat{r, u})
}

// take takes a unit out.
func (h *ranks) take(u *unit) {
	i, last := u.slot, len(*h)-1
	x := (*h)[last]
	(*h)[last] = seat{}
	*h = (*h)[:last]
	switch {
	case i == last:
	case i > 0 && x.before(&(*h)[(i-1)/2].rank):
		h.up(i, x)
	default:
		h.down(i, x)
	}
}

func (h ranks) put(i int, x seat) {
	h[i] = x
	x.unit.slot = i
}

// up finds the slot for x from i towards the top.
func (h ranks) up(i int, x seat) {
	for i > 0 && x.before(&h[(i-1)/2].rank) {
		h.put(i, h[(i-1)/2])
		i = (i - 1) / 2
	}
	h.put(i, x)
}

// down finds the slot for x from i away from the top.
func (h ranks) down(i int, x seat) {
	for {
		child := 2*i + 1
		if child+1 < len(h) && h[child+1].before(&h[child].rank) {
			child++
		}
		if child >= len(h) || !h[child].before(&x.rank) {
			break
		}
		h.put(i, h[child])
		i = child
	}
	h.put(i, x)
}

// inOrder visits a heap's units from the cheapest on, one with each call, nil after the last, and costs nothing for those it is not
// asked for. The heap must not change meanwhile.
func (h ranks) inOrder() (next func() *unit) {
	front := pile[int]{less: func(i, j int) bool { return h[i].before(&h[j].rank) }} // every other one is below one of these
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
		return h[i].unit
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
