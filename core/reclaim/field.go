package reclaim

import (
	"slices"
	"time"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Steady is a [Book] that can say of which claims [Book.Feasible] shows the same nodes throughout a round, whatever the round
// plans. For those a round remembers what it saw: the next claim of the same task costs what has changed, not a look at every
// node.
type Steady interface {
	Steady(c Claim) bool
	// Fits reports whether so much fits into what [Book.Spare] is, without making that: a look at every node asks it.
	Fits(x resource.Vector, n placement.NodeID, within time.Duration) bool
}

// fieldKey is what a field is good for.
type fieldKey struct {
	task any
	at   role.ID
}

// field is what a round knows of the nodes for claims of one task funded at one role. Nothing but the round's own plans changes
// them while it lasts; where else something does, [Round.Forget].
type field struct {
	feasible []bool             // by node, as far as there is one
	roomy    []placement.NodeID // feasible, with room already; ascending
	prey     []prey             // what may be asked back, cheapest first, as far as the round has looked
	looked   []int              // by level: how far it has looked along the line
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

// change is a node on which there is more or less room than before.
type change struct {
	node placement.NodeID
	more bool // there may be more
}

// change notes that a plan, taken over or undone, changes what nodes have.
func (r *Round) change(p Plan, undone bool) {
	for _, v := range p.Victims {
		for _, part := range v.Unit.Parts {
			if part.Node != p.Node {
				r.changed = append(r.changed, change{part.Node, true})
			}
		}
	}
	r.changed = append(r.changed, change{p.Node, undone || !p.covered()})
}

// covered reports whether a plan's node gives no more than the claim needs.
func (p *Plan) covered() bool {
	if len(p.Victims) == 0 {
		return true
	}
	on := p.Victims[0].Unit.On(p.Node)
	for _, v := range p.Victims[1:] {
		on = on.Plus(v.Unit.On(p.Node))
	}
	return on.Fits(p.Charge.Amount)
}

// field returns the field of a claim as of now, nil when its nodes are not steady.
func (s *sweep) field() *field {
	book, ok := s.book.(Steady)
	if !ok || !book.Steady(s.claim) {
		return nil
	}
	fits := func(n placement.NodeID) bool { return book.Fits(s.claim.Charge.Amount, n, s.within) }
	key := fieldKey{s.claim.Task, s.claim.Charge.At}
	f := s.fields[key]
	if f == nil {
		f = s.survey(fits)
		s.fields[key] = f
	}
	for _, c := range s.changed[f.seen:] {
		if _, in := slices.BinarySearch(f.roomy, c.node); in || c.more {
			f.judge(c.node, fits(c.node))
		}
	}
	f.seen = len(s.changed)
	return f
}

// survey looks at every node once.
func (s *sweep) survey(fits func(placement.NodeID) bool) *field {
	f := &field{looked: make([]int, len(s.levels)), seen: len(s.changed)}
	s.book.Feasible(s.claim, func(n placement.NodeID) bool {
		for len(f.feasible) <= int(n) {
			f.feasible = append(f.feasible, false)
		}
		f.feasible[n] = true
		if fits(n) {
			f.roomy = append(f.roomy, n)
		}
		return true
	})
	return f
}

func (f *field) takes(n placement.NodeID) bool { return int(n) < len(f.feasible) && f.feasible[n] }

// preyAt returns number i of the prey, nil beyond its end.
func (s *sweep) preyAt(f *field, i int) *prey {
	for len(f.prey) <= i {
		if !s.lookOn(f) {
			return nil
		}
	}
	return &f.prey[i]
}

// lookOn adds the next cheapest unit of all levels to the prey, on each of its nodes; false when there is none.
func (s *sweep) lookOn(f *field) bool {
	var next *Unit
	at := 0
	for i, st := range s.levels {
		l := s.line(st.role)
		for l.at(f.looked[i]) != nil && l.at(f.looked[i]).Charge.Hold > st.grace {
			f.looked[i]++
		}
		if u := l.at(f.looked[i]); u != nil && (next == nil || Cheaper(u, next) < 0) {
			next, at = u, i
		}
	}
	if next == nil {
		return false
	}
	f.looked[at]++
	if len(next.Parts) == 1 {
		f.prey = append(f.prey, prey{site{Victim{next, s.levels[at].role}, next.Parts[0].Amount}, next.Parts[0].Node})
		return true
	}
	for _, n := range next.nodes() {
		f.prey = append(f.prey, prey{site{Victim{next, s.levels[at].role}, next.On(n)}, n})
	}
	return true
}

// judge enters a node among the roomy ones or takes it out.
func (f *field) judge(n placement.NodeID, fits bool) {
	i, in := slices.BinarySearch(f.roomy, n)
	switch {
	case fits && !in && f.takes(n):
		f.roomy = slices.Insert(f.roomy, i, n)
	case !fits && in:
		f.roomy = slices.Delete(f.roomy, i, i+1)
	}
}

// easiest finds an option that no other can be cheaper than: a single victim of the cheapest class, no cheaper one of which would
// do. Where there is none, or it is not found soon, a full search decides.
func (s *sweep) easiest(f *field) (option, bool) {
	var first *Unit
	for i, failed := f.head, 0; failed < patience; i++ {
		x := s.preyAt(f, i)
		if x == nil {
			break
		}
		if x.Unit.taken {
			if i == f.head {
				f.head++
			}
			continue
		}
		if first == nil {
			first = x.Unit
		}
		if class(first, x.Unit) != 0 {
			break
		}
		if o, ok := s.alone(f, x); ok {
			return o, true
		}
		failed++
	}
	return option{}, false
}

// alone reports whether a trial on a unit's node would choose it and nobody else.
func (s *sweep) alone(f *field, x *prey) (option, bool) {
	if !f.takes(x.node) {
		return option{}, false
	}
	spare := s.book.Spare(x.node, s.within)
	if !fitsBeside(s.claim.Charge.Amount, spare, x.on) {
		return option{}, false
	}
	if s.exact(x) {
		return option{x.node, []Victim{x.Victim}}, true
	}
	o, outcome := s.try(x.node)
	return o, outcome == Planned && len(o.victims) == 1 && o.victims[0].Unit == x.Unit
}

// fitsBeside reports whether what is needed fits into two amounts together.
func fitsBeside(need, a, b resource.Vector) bool {
	for i, n := range need {
		if n > a.At(i).Add(b.At(i)) {
			return false
		}
	}
	return true
}

// exact reports whether the cheapest unit with which a node has room, where it has none without, covers exactly what the claim breaks,
// if it breaks anything: then a trial has no other choice, and need not be made.
func (s *sweep) exact(x *prey) bool {
	first := true
	for i := range s.levels {
		st := &s.levels[i]
		for k, owed := range st.owed {
			if s.ledger.Excess(st.role, k) <= owed {
				continue
			}
			hold, excess, _ := s.ledger.Breach(st.role, k)
			if !first || st.role != x.Level || x.Unit.Charge.Hold < hold || x.Unit.Charge.Amount.At(k) != excess {
				return false
			}
			first = false
			s.ledger.Leave(x.Unit.Charge)
			defer s.ledger.Return(x.Unit.Charge)
			if s.ledger.Excess(st.role, k) > owed {
				return false
			}
		}
	}
	return true
}
