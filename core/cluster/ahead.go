package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// During the lead of a window, what would borrow and could not be gone when the window opens starts only where it may stay then: where
// the tree of that time lends it as much and no claim of that time needs the room. Who could be told in time starts as ever. What a
// guarantee pays for is not held back: the guarantee is promised until the window opens.
//
// ahead is a scene in which everything is planned that will be inside a guarantee when the window opens. It is kept up through one pass of
// a decision only; the next looks at everything anew.
type ahead struct {
	*scene
	window string
}

// fences are the scenes of the coming openings at which something of a class that starts now could still be there, though asked.
func (p *pool) fences(cl *class) []*ahead {
	var out []*ahead
	for _, r := range p.c.raises {
		if p.c.outstays(cl, r) {
			out = append(out, p.lookAhead(r))
		}
	}
	return out
}

// outstays reports whether something of a class that starts now could still be there at an opening to come.
func (c *Cluster) outstays(cl *class, r role.Raise) bool {
	return r.At.After(c.now) && c.now.Add(cl.hold()).After(r.At)
}

// fenced reports whether there are fences, without putting them up.
func (p *pool) fenced(cl *class) bool {
	return slices.ContainsFunc(p.c.raises, func(r role.Raise) bool { return p.c.outstays(cl, r) })
}

// lookAhead finds or makes the scene of an opening.
func (p *pool) lookAhead(r role.Raise) *ahead {
	for _, a := range p.aheads {
		if a.at.Equal(r.At) {
			return a
		}
	}
	a := &ahead{newScene(p, role.Effective(p.c.plan, r.At, p.c.kinds), r.At), strings.Join(r.Windows, ", ")}
	a.plan(a.window)
	p.aheads = append(p.aheads, a)
	return a
}

// expects reports whether one start of a class is among what is planned for the opening: what the window is for.
func (a *ahead) expects(cl *class) bool { return len(a.planned[cl]) >= cl.count }

// pays reports whether the tree of the opening has something to pay for one start of a class.
func (a *ahead) pays(cl *class) bool {
	c, why := a.book.Fund(a.chargeOf(cl), cl.shape.Pinned)
	if why != nil {
		return false
	}
	a.book.Remove(c)
	return true
}

func (a *ahead) chargeOf(cl *class) lending.Charge {
	return lending.Charge{Leaf: leafIn(a.tree, cl.path), Amount: cl.amount(), Hold: cl.hold(), Count: cl.count}
}

// takes reports whether nothing that is planned of others for the opening needs so much of a node. What is told too late to have left by then
// makes no room for anybody.
func (a *ahead) takes(cl *class, id placement.NodeID, need resource.Vector) bool {
	room := a.Spare(id, 0)
	for _, t := range a.nodes[id].tasks {
		late := t.notice != nil && t.notice.by.After(a.at) || t.notice == nil && a.late(t.unit)
		if late && a.gone[t.unit] && !t.unit.leaving {
			room = room.Minus(t.need)
		}
	}
	for _, plan := range a.planned[cl] {
		if plan.Node == id {
			room = room.Plus(cl.need)
		}
	}
	return need.Fits(room)
}

// started books one start of a class. The room its plan had is free again.
func (a *ahead) started(cl *class) {
	if a.expects(cl) {
		for range cl.count {
			last := len(a.planned[cl]) - 1
			plan := a.planned[cl][last]
			a.planned[cl] = a.planned[cl][:last]
			a.book.Remove(plan.Charge)
			a.more[plan.Node] = a.more[plan.Node].Plus(cl.need)
		}
	}
	fundOrBorrow(a.book, a.chargeOf(cl), cl.shape.Pinned)
}

// heldBack says why a class may not start as a borrower now; nil when it may.
func (p *pool) heldBack(cl *class) *verdict {
	for _, a := range p.fences(cl) {
		if !a.expects(cl) && !a.pays(cl) {
			return p.tooLate(cl, a)
		}
	}
	return nil
}

func (p *pool) tooLate(cl *class, a *ahead) *verdict {
	return &verdict{code: "Lead", message: fmt.Sprintf("what is idle is needed at %s for the guarantees that %s raises then, and a task that starts now may stay %s after it is asked to leave",
		a.at.UTC().Format(time.RFC3339), a.window, cl.hold()), next: "capacity comes free that is not needed then, or the task accepts a shorter notice"}
}

// mayBorrowAt reports whether one more task of a class may borrow on a node beside so much that the same start has there already.
func (p *pool) mayBorrowAt(cl *class, id placement.NodeID, beside resource.Vector) bool {
	return !slices.ContainsFunc(p.fences(cl), func(a *ahead) bool {
		return !a.takes(cl, id, cl.need.Plus(beside))
	})
}

// mayBorrowAll is mayBorrowAt for all places of one start.
func (p *pool) mayBorrowAll(cl *class, at places) bool {
	on := map[placement.NodeID]resource.Vector{}
	for _, id := range at.nodes {
		if !p.mayBorrowAt(cl, id, on[id]) {
			return false
		}
		on[id] = on[id].Plus(cl.need)
	}
	return true
}

// begun tells the scenes of openings of a start.
func (p *pool) begun(cl *class) {
	for _, a := range p.aheads {
		a.started(cl)
	}
}

// heldBackAt is heldBack for a place that a scheduler chose.
func (p *pool) heldBackAt(cl *class, c lending.Charge, id placement.NodeID) *verdict {
	if c.At != role.Root || !p.fenced(cl) {
		return nil
	}
	if v := p.heldBack(cl); v != nil || p.mayBorrowAt(cl, id, nil) {
		return v
	}
	return p.tooLate(cl, p.fences(cl)[0])
}
