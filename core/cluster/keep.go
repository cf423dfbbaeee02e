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

// leftBy is what is free or has left by an instant, less what claims must have by then. It may be below zero.
func (n *node) leftBy(at time.Time, but *claim) resource.Vector {
	left := n.free()
	for _, t := range n.tasks {
		if t.leavesBy(at) {
			left.Inc(t.need)
		}
	}
	for _, k := range n.keeps {
		if !k.by.After(at) && (but == nil || k.claim != but) {
			left.Dec(k.need)
		}
	}
	return left
}

// leavesBy reports whether a task is to have left by an instant.
func (t *task) leavesBy(at time.Time) bool {
	return t.unit.planned || t.unit.leaving && t.notice != nil && !t.notice.by.After(at)
}

// spareBy is what somebody who needs it by an instant can still count on: at no time from then on is there less beside what
// claims wait for, the keeps of one claim not counted. What leaves later is no use to whoever must be served sooner.
func (n *node) spareBy(by time.Time, but *claim) resource.Vector {
	least := n.leftBy(by, but)
	for i, k := range n.keeps {
		if !k.by.After(by) || i > 0 && k.by.Equal(n.keeps[i-1].by) { // those of one decision follow each other
			continue
		}
		for j, a := range n.leftBy(k.by, but) {
			least[j] = min(least[j], a)
		}
	}
	return least
}

// available is what anybody may take now: what is free and not needed for claims beyond what leaves for them in time.
func (n *node) available() resource.Vector { return n.availableTo(nil) }

// writeAvailable is available in a vector of the caller's, for the hot path.
func (n *node) writeAvailable(out resource.Vector) resource.Vector {
	if len(n.keeps) > 0 {
		copy(out, n.available())
		return out
	}
	for i := range out {
		out[i] = n.total.At(i).Sub(n.used.At(i))
	}
	return out
}

func (n *node) availableTo(cl *claim) resource.Vector {
	if len(n.keeps) == 0 {
		return n.free()
	}
	return n.free().Min(n.spareBy(n.pool.c.now, cl)).Max(make(resource.Vector, len(n.total)))
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
	n.keeps = append(n.keeps, k)
	n.refresh()
}

// unmark takes one keep of a claim away, or one that is only planned.
func (p *pool) unmark(id placement.NodeID, cl *claim) {
	n := p.nodes[id]
	i := slices.IndexFunc(n.keeps, func(k keep) bool { return k.claim == cl })
	n.keeps = slices.Delete(n.keeps, i, i+1)
	n.refresh()
}
