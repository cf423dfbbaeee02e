package cluster

import (
	"slices"
	"time"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
)

// keep is room on a node that comes free for a claim.
type keep struct {
	claim *claim    // nil while it is only planned
	by    time.Time // the latest that the claim may have to wait for it
	need  resource.Vector
}

// sort enters a task among those that go from the node, or takes it out: its unit has given its funding away, or is to.
func (n *node) sort(t *task) {
	i := slices.Index(n.going, t)
	switch goes := t.unit.leaving || t.unit.planned; {
	case goes && i < 0:
		n.going = append(n.going, t)
	case !goes && i >= 0:
		n.going = slices.Delete(n.going, i, i+1)
	}
}

// gone is by when a task that goes has left; never is a time that nobody waits for.
func (t *task) gone() time.Time {
	switch {
	case t.unit.planned:
		return time.Time{}
	case t.notice != nil:
		return t.notice.by
	}
	return never
}

// never is later than any deadline.
var never = time.Unix(1<<40, 0)

// leftBy is what is free or has left by an instant, less what claims must have by then. It may be below zero.
func (n *node) leftBy(at time.Time, but *claim) resource.Vector {
	w := n.watch(make(resource.Vector, len(n.total)), but)
	w.until(at)
	return w.left
}

// watch is what a node has left as time goes on.
type watch struct {
	left  resource.Vector
	going []*task // those still there, who leaves first in front
	keeps []keep  // those still to come, the earliest in front
	but   *claim  // whose keeps are not counted
}

// watch begins with what is free now, written to left.
func (n *node) watch(left resource.Vector, but *claim) watch {
	for i := range left {
		left[i] = n.total.At(i).Sub(n.used.At(i))
	}
	if len(n.going) > 1 { // in order but for a deadline that has moved
		slices.SortFunc(n.going, func(a, b *task) int { return a.gone().Compare(b.gone()) })
	}
	return watch{left: left, going: n.going, keeps: n.keeps, but: but}
}

// until goes on to an instant: what has left by then is there, what claims must have by then is not.
func (w *watch) until(at time.Time) {
	for ; len(w.going) > 0 && !w.going[0].gone().After(at); w.going = w.going[1:] {
		w.left.Inc(w.going[0].need)
	}
	w.keepUntil(at)
}

// keepUntil goes on to an instant at which nobody has left yet.
func (w *watch) keepUntil(at time.Time) {
	for ; len(w.keeps) > 0 && !w.keeps[0].by.After(at); w.keeps = w.keeps[1:] {
		if k := w.keeps[0]; w.but == nil || k.claim != w.but {
			w.left.Dec(k.need)
		}
	}
}

// spareBy is what somebody who needs it by an instant can still count on: at no time from then on is there less beside what
// claims wait for, the keeps of one claim not counted. What leaves later is no use to whoever must be served sooner.
func (n *node) spareBy(by time.Time, but *claim) resource.Vector {
	return n.writeSpare(make(resource.Vector, len(n.total)), by, but)
}

// writeSpare is spareBy in a vector of the caller's, for the hot path.
func (n *node) writeSpare(least resource.Vector, by time.Time, but *claim) resource.Vector {
	if len(n.going)+len(n.keeps) == 0 {
		return n.writeFree(least)
	}
	var scratch [resource.MaxKinds]resource.Amount
	w := n.watch(scratch[:len(least)], but)
	w.until(by)
	copy(least, w.left)
	w.least(least)
	return least
}

// least lowers what there is at an instant to the least of what is left then and at any time after.
func (w *watch) least(least resource.Vector) {
	for len(w.keeps) > 0 {
		w.until(w.keeps[0].by)
		for i, a := range w.left {
			least[i] = min(least[i], a)
		}
	}
}

// available is what anybody may take now: what is free and not needed for claims beyond what leaves for them in time. Who should have left by
// now and is still there makes no room yet, so that time alone makes nothing available: it comes with a change of the node.
func (n *node) available() resource.Vector {
	return n.writeAvailable(make(resource.Vector, len(n.total)))
}

// writeAvailable is available in a vector of the caller's, for the hot path.
func (n *node) writeAvailable(out resource.Vector) resource.Vector {
	if len(n.keeps) > 0 {
		var scratch [resource.MaxKinds]resource.Amount
		w := n.watch(scratch[:len(out)], nil)
		copy(out, w.left) // no more than is free
		w.keepUntil(n.pool.c.now)
		for i, a := range w.left {
			out[i] = min(out[i], a)
		}
		w.least(out)
		for i := range out {
			out[i] = max(0, out[i])
		}
		return out
	}
	return n.writeFree(out)
}

// writeFree is free in a vector of the caller's.
func (n *node) writeFree(out resource.Vector) resource.Vector {
	for i := range out {
		out[i] = n.total.At(i).Sub(n.used.At(i))
	}
	return out
}

// availableTo is what a claim may take now. Those who are to have left by now are for it as much as for the other claims that are due: the first
// of them takes what comes free. What is kept already stays kept.
func (n *node) availableTo(cl *claim) resource.Vector {
	out := n.free()
	if len(n.keeps) == 0 {
		return out
	}
	for _, k := range n.keeps {
		if k.claim != nil && k.claim != cl && k.claim.kept {
			out.Dec(k.need)
		}
	}
	return out.Min(n.spareBy(n.pool.c.now, cl)).Max(make(resource.Vector, len(n.total)))
}

// earmarked is what a node keeps for claims in all.
func (n *node) earmarked() resource.Vector {
	sum := make(resource.Vector, len(n.total))
	for _, k := range n.keeps {
		sum.Inc(k.need)
	}
	return sum
}

// fitsWithout reports whether every claim still has what it needs in time when a task that was to leave stays; it does not count
// as leaving any more.
func (n *node) fitsWithout(t *task, deadline time.Time) bool {
	return !slices.ContainsFunc(n.keeps, func(k keep) bool {
		return !deadline.After(k.by) && n.leftBy(k.by, nil).Negative() >= 0
	})
}

func (p *pool) earmark(id placement.NodeID, k keep) {
	n := p.nodes[id]
	i, _ := slices.BinarySearchFunc(n.keeps, k.by, func(x keep, by time.Time) int {
		if x.by.After(by) {
			return 1
		}
		return -1 // after those of the same instant
	})
	n.keeps = slices.Insert(n.keeps, i, k)
	n.refresh()
}

// unmark takes one keep of a claim away, or one that is only planned.
func (p *pool) unmark(id placement.NodeID, cl *claim) {
	n := p.nodes[id]
	i := slices.IndexFunc(n.keeps, func(k keep) bool { return k.claim == cl })
	n.keeps = slices.Delete(n.keeps, i, i+1)
	n.refresh()
}
