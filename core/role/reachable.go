package role

import (
	"cmp"
	"math/bits"
	"slices"
	"time"
)

// Horizon is how far [Validate] follows recurring windows: a year with its clock changes, a leap February and an
// ordinary one.
const Horizon = 430 * 24 * time.Hour

// reference is where the horizon starts when no date does: two months before a leap day.
var reference = time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC)

// windowSet is a set of window indexes below [MaxWindows].
type windowSet [MaxWindows / 64]uint64

func (s *windowSet) add(i int)    { s[i/64] |= 1 << (i % 64) }
func (s *windowSet) remove(i int) { s[i/64] &^= 1 << (i % 64) }

// flags returns the set as one flag for each of n windows.
func (s windowSet) flags(n int) []bool {
	out := make([]bool, n)
	for i := range out {
		out[i] = s[i/64]>>(i%64)&1 == 1
	}
	return out
}

func (s windowSet) len() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

func (s windowSet) within(t windowSet) bool {
	for i := range s {
		if s[i]&^t[i] != 0 {
			return false
		}
	}
	return true
}

// coveredBy reports whether one of the sets lies within t.
func coveredBy(sets []windowSet, t windowSet) bool {
	return slices.ContainsFunc(sets, func(s windowSet) bool { return s.within(t) })
}

// compareSets orders small sets first, then by the windows in them.
func compareSets(a, b windowSet) int {
	return cmp.Or(cmp.Compare(a.len(), b.len()), slices.Compare(a[:], b[:]))
}

// reachable returns the sets of windows that are open together at some instant, the empty one included, small ones first.
// Windows that set neither guarantee, unit nor limit are left out of all sets.
func reachable(c calendar) []windowSet {
	w := watch{calendar: c, seen: map[windowSet]bool{{}: true}}
	var dates []time.Time
	for i := range min(len(c.schedules), MaxWindows) {
		switch s := c.schedules[i]; {
		case !setsAmounts(c.plan.Windows[i]):
		case s.period == once:
			w.dated = append(w.dated, i)
			dates = append(dates, s.only.start, s.only.end)
		case s.period != never:
			w.recurring = append(w.recurring, i)
		}
	}
	w.sweep(windowSet{}, reference, w.edges(reference, reference.Add(Horizon)))
	slices.SortFunc(dates, time.Time.Compare)
	for i := 1; i < len(dates); i++ {
		w.follow(dates[i-1], dates[i])
	}
	out := make([]windowSet, 0, len(w.seen))
	for s := range w.seen {
		out = append(out, s)
	}
	slices.SortFunc(out, compareSets)
	return out
}

// setsAmounts reports whether a window sets any guarantee, unit or limit.
func setsAmounts(w Window) bool {
	for _, s := range w.Set {
		if len(s.Guarantee) > 0 || len(s.Unit) > 0 || len(s.Limit) > 0 {
			return true
		}
	}
	return false
}

// watch notes which sets of windows occur.
type watch struct {
	calendar
	dated, recurring []int
	seen             map[windowSet]bool
}

// edge is a recurring window opening (by +1) or closing (by -1).
type edge struct {
	at     int64 // Unix seconds; recurring windows turn at full seconds
	window int
	by     int
}

// follow notes the sets from one instant up to another between which no dated window opens or closes, through one
// [Horizon] at most.
func (w *watch) follow(from, to time.Time) {
	var now windowSet
	for _, i := range w.dated {
		if w.schedules[i].only.holds(from) {
			now.add(i)
		}
	}
	if now == (windowSet{}) {
		return // as through the reference
	}
	if limit := from.Add(Horizon); to.After(limit) {
		to = limit
	}
	w.sweep(now, from, w.edges(from, to))
}

// edges returns the turns before to of recurring windows, from well before from on, in order.
func (w *watch) edges(from, to time.Time) []edge {
	var out []edge
	for _, i := range w.recurring {
		for n := -reach; ; n++ {
			o := w.schedules[i].occurrence(from, n)
			if !o.start.Before(to) {
				break
			}
			if o.end.After(o.start) {
				out = append(out, edge{o.start.Unix(), i, 1})
				if o.end.Before(to) {
					out = append(out, edge{o.end.Unix(), i, -1})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b edge) int { return cmp.Compare(a.at, b.at) })
	return out
}

// sweep applies the edges to a set and notes it at from and after every instant beyond. Openings of one window may
// overlap where clocks change, so they are counted.
func (w *watch) sweep(now windowSet, from time.Time, edges []edge) {
	var depth [MaxWindows]int
	start := from.Unix()
	for i, e := range edges {
		if e.at > start && (i == 0 || edges[i-1].at <= start) {
			w.seen[now] = true
		}
		if depth[e.window] += e.by; depth[e.window] > 0 {
			now.add(e.window)
		} else {
			now.remove(e.window)
		}
		if e.at > start && (i+1 == len(edges) || edges[i+1].at > e.at) {
			w.seen[now] = true
		}
	}
	if len(edges) == 0 || edges[len(edges)-1].at <= start {
		w.seen[now] = true
	}
}
