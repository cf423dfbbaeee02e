package cluster

import (
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/role"
	"polder.dev/polder/core/waste"
)

// What waits in vain is not tried again while all that its refusal came from is as it was: the accounts of its branch of the tree, which are
// stirred with whatever begins, ends, waits or is charged otherwise there; what the root lends for such a hold; and whether any node takes
// its shape. The last two are looked up when it would be tried, so that nothing has to tell of what changes there.

// lasting is a refusal with what it came from.
type lasting struct {
	stirs  int64        // of the branch, and one; zero is never
	rule   lending.Rule // that was broken; none where no node takes it
	unlent waste.Reason // of the hold rule
}

// branchOf is the role below the root on the way to a leaf; the root for its own.
func (c *Cluster) branchOf(leaf role.ID) role.ID {
	for c.tree.Roles[leaf].Depth > 1 {
		leaf = c.tree.Roles[leaf].Parent
	}
	return leaf
}

// stirs tells states of a class's branch apart.
func (p *pool) stirs(cl *class) int64 { return p.waiting[cl.branch].stirs + 1 }

// restless reports whether refusals depend on more than what is remembered of them: on what is on nodes, or on a time to come.
func (p *pool) restless() bool { return p.packages != nil || len(p.c.raises) > 0 }

// remember notes why a class was refused, if that is all there is to it: it is for one plain task, and no guarantee below the root has
// room for it, so that it could start as a borrower only.
func (p *pool) remember(cl *class, v *verdict) {
	cl.lasting = lasting{}
	if cl.count > 1 || cl.shape.Pinned || !cl.steady() || p.restless() || p.ledger.MayCover(cl.leaf, cl.need) {
		return
	}
	rule := lending.Rule(v.code)
	switch {
	case v == nowhere:
		rule = ""
	case rule != lending.RuleLimit && rule != lending.RuleBorrow && rule != lending.RuleHold:
		return
	}
	cl.lasting = lasting{p.stirs(cl), rule, v.unlent}
}

// stillRefused reports whether a class would be refused as it was.
func (p *pool) stillRefused(cl *class) bool {
	s := &cl.lasting
	if s.stirs != p.stirs(cl) || p.restless() {
		return false
	}
	if s.rule == lending.RuleLimit || s.rule == lending.RuleBorrow {
		return true
	}
	short, unlent := p.unlentNow(cl)
	if s.rule == "" {
		return !short && p.index.Full(cl.compiled)
	}
	return short && unlent == s.unlent
}

// rootLends is what the root lends to starts of one shape and hold, as long as the book stays as it is.
type rootLends struct {
	version uint64 // of the ledger
	known   []rootLent
}

type rootLent struct {
	shape  *placement.Compiled
	hold   time.Duration
	short  bool
	unlent waste.Reason
}

// mostKnown is up to how many shapes are remembered: to find one among more takes longer than to ask the ledger.
const mostKnown = 16

// unlentNow reports whether the root has not enough to lend for one start of a class, and why.
func (p *pool) unlentNow(cl *class) (short bool, unlent waste.Reason) {
	m := &p.rootLends
	if v := p.ledger.Version(); m.version != v {
		m.version, m.known = v, m.known[:0]
	}
	for i := range m.known {
		if k := &m.known[i]; k.shape == cl.compiled && k.hold == cl.hold() {
			return k.short, k.unlent
		}
	}
	x := rootLent{shape: cl.compiled, hold: cl.hold()}
	if kind, ok := p.ledger.Lends(x.hold, cl.need); !ok {
		x.short = true
		x.unlent = p.unlent(&lending.Refusal{Role: role.Root, Kind: kind, Need: cl.need[kind]})
	}
	if len(m.known) < mostKnown {
		m.known = append(m.known, x)
	}
	return x.short, x.unlent
}
