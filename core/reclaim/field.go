package reclaim

import (
	"cmp"
	"slices"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/role"
)

// Steady is a [Book] that can say of which claims [Book.Feasible] shows the same nodes throughout a round, whatever the round
// plans. For those a round remembers what it saw: the next claim of the same task costs what has changed, not a look at every
// node.
type Steady interface {
	Steady(c Claim) bool
}

// fieldKey is what a field is good for.
type fieldKey struct {
	task any
	at   role.ID
}

// field is what a round knows of the nodes for claims of one task funded at one role. Nothing but the round's own plans changes
// them while it lasts; where else something does, [Round.Forget].
type field struct {
	feasible map[placement.NodeID]bool
	roomy    []placement.NodeID // feasible, with room already; ascending
	prey     []prey             // what may be asked back, cheapest first
	head     int                // all prey before it is taken
	seen     int                // how many of the round's changes it knows
}

// prey is one unit on one node.
type prey struct {
	site
	node placement.NodeID
}

// Forget drops what the round remembers of nodes: their room has changed by something else than its plans.
func (r *Round) Forget() { r.fields, r.changed = map[fieldKey]*field{}, nil }

// change notes that a plan, taken over or undone, changes what nodes have.
func (r *Round) change(p Plan) {
	r.changed = append(r.changed, p.Node)
	for _, v := range p.Victims {
		for _, part := range v.Unit.Parts {
			r.changed = append(r.changed, part.Node)
		}
	}
}

// field returns the field of a claim as of now, nil when its nodes are not steady.
func (s *sweep) field() *field {
	if book, ok := s.book.(Steady); !ok || !book.Steady(s.claim) {
		return nil
	}
	key := fieldKey{s.claim.Task, s.claim.Charge.At}
	f := s.fields[key]
	if f == nil {
		f = s.survey()
		s.fields[key] = f
	}
	for _, n := range s.changed[f.seen:] {
		f.judge(n, s.fits(n))
	}
	f.seen = len(s.changed)
	return f
}

// survey looks at every node once.
func (s *sweep) survey() *field {
	f := &field{feasible: map[placement.NodeID]bool{}, seen: len(s.changed)}
	s.book.Feasible(s.claim, func(n placement.NodeID) bool {
		f.feasible[n] = true
		if s.fits(n) {
			f.roomy = append(f.roomy, n)
		}
		return true
	})
	s.eachSite(func(x site, n placement.NodeID) { f.prey = append(f.prey, prey{x, n}) }) // in order but for where levels meet
	slices.SortFunc(f.prey, func(a, b prey) int { return cmp.Or(cheaper(a.Unit, b.Unit), cmp.Compare(a.node, b.node)) })
	return f
}

// fits reports whether a node has room for the claim already.
func (s *sweep) fits(n placement.NodeID) bool {
	return s.claim.Charge.Amount.Fits(s.book.Spare(n, s.within))
}

// judge enters a node among the roomy ones or takes it out.
func (f *field) judge(n placement.NodeID, fits bool) {
	i, in := slices.BinarySearch(f.roomy, n)
	switch {
	case fits && !in && f.feasible[n]:
		f.roomy = slices.Insert(f.roomy, i, n)
	case !fits && in:
		f.roomy = slices.Delete(f.roomy, i, i+1)
	}
}

// easiest finds an option that no other can be cheaper than: a single victim of the cheapest class, no cheaper one of which would
// do. Where there is none, or it is not found soon, a full search decides.
func (s *sweep) easiest(f *field) (option, bool) {
	var first *Unit
	for i, failed := f.head, 0; i < len(f.prey) && failed < patience; i++ {
		x := &f.prey[i]
		if s.taken[x.Unit] {
			if i == f.head {
				f.head++
			}
			continue
		}
		if first == nil {
			first = x.Unit
		}
		if class(first, x.Unit) != 0 {
			return option{}, false
		}
		if f.feasible[x.node] && s.claim.Charge.Amount.Fits(s.book.Spare(x.node, s.within).Plus(x.on)) {
			if o, outcome := s.try(x.node); outcome == Planned && len(o.victims) == 1 && o.victims[0].Unit == x.Unit {
				return o, true
			}
		}
		failed++
	}
	return option{}, false
}
