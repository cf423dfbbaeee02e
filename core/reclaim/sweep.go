package reclaim

import (
	"slices"
	"time"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// A search takes the cheapest of the first so many options, and gives up a pass over the target nodes after so many that it
// tried in vain.
const (
	enough   = 64
	patience = 64
)

// sweep is the search for one claim at one funding role.
type sweep struct {
	*Round
	claim  Claim
	levels []stage       // ancestors of the funding role, nearest first
	within time.Duration // the longest the claim may have to wait
}

// site is what a unit that may be asked back for claims of one funding role holds on a node.
type site struct {
	Victim
	on resource.Vector
}

// stage is one ancestor on the way up: what is funded there and leaves within grace may be asked back for the claim.
type stage struct {
	role  role.ID
	grace time.Duration     // lend grace of the child on the path
	owed  []resource.Amount // excess before the claim, by kind: lost capacity, not the claim's doing
}

// option is one way to serve the claim.
type option struct {
	node    placement.NodeID
	victims []Victim
}

func newSweep(r *Round, c Claim, v role.ID) *sweep {
	s := &sweep{Round: r, claim: c, levels: r.levels[:0]}
	s.claim.Charge.At = v
	tree := r.ledger.Tree()
	s.within = tree.ReclaimBound(v, 0)
	kinds, depth := r.ledger.Kinds(), tree.Roles[v].Depth
	if need := depth * kinds; len(r.owed) < need {
		r.owed = make([]resource.Amount, need)
	}
	owed := r.owed
	for child, f := v, tree.Roles[v].Parent; f != role.None; child, f = f, tree.Roles[f].Parent {
		st := stage{role: f, grace: tree.Roles[child].LendGrace, owed: owed[:kinds:kinds]}
		owed = owed[kinds:]
		for i := range st.owed {
			st.owed[i] = r.ledger.Excess(f, i)
		}
		s.levels = append(s.levels, st)
	}
	r.levels = s.levels
	return s
}

// search compares target nodes: first those with room already, then those where asking back makes room.
func (s *sweep) search() (option, Outcome) {
	if f := s.field(); f != nil {
		if len(f.roomy) > 0 {
			return s.try(f.roomy[0])
		}
		if o, ok := s.easiest(f); ok {
			return o, Planned
		}
	}
	return s.searchAll()
}

// searchAll looks at every node.
func (s *sweep) searchAll() (option, Outcome) {
	var roomy, tight []placement.NodeID
	s.book.Feasible(s.claim, func(n placement.NodeID) bool {
		if s.claim.Charge.Amount.Fits(s.book.Spare(n, s.within)) {
			roomy = append(roomy, n)
			return false
		}
		tight = append(tight, n)
		return true
	})
	if len(roomy) > 0 {
		o, outcome := s.try(roomy[0])
		return o, outcome
	}
	if len(tight) == 0 {
		return option{}, NoNode
	}
	return s.compare(tight)
}

// compare tries nodes, those first where one unit's leaving makes room, and takes the cheapest option.
func (s *sweep) compare(tight []placement.NodeID) (best option, outcome Outcome) {
	found, outcome := 0, Fragmented
	for _, ns := range s.byHope(tight) {
		for failed := 0; len(ns) > 0 && found < enough && failed < patience; ns = ns[1:] {
			o, oc := s.try(ns[0])
			if oc != Planned {
				outcome = oc
				failed++
				continue
			}
			if found == 0 || compareOptions(o, best) < 0 {
				best = o
			}
			found++
		}
	}
	if found == 0 {
		return option{}, outcome
	}
	return best, Planned
}

// byHope divides nodes into those where the claim fits when one unit leaves, and those where it fits when all leave that may.
func (s *sweep) byHope(ns []placement.NodeID) (out [2][]placement.NodeID) {
	need := s.claim.Charge.Amount
	for _, n := range ns {
		spare := s.book.Spare(n, s.within).Clone(s.ledger.Kinds())
		all, alone := spare.Clone(0), false
		for _, x := range s.sitesOn(n) {
			if !x.Unit.taken {
				alone = alone || need.Fits(spare.Plus(x.on))
				all.Inc(x.on)
			}
		}
		if alone {
			out[0] = append(out[0], n)
		} else if need.Fits(all) {
			out[1] = append(out[1], n)
		}
	}
	return out
}

// sitesOn lists what may legally be asked back for the claim on a node: level by level, cheapest first. It is worked out once a round:
// a claim looks past what others have taken meanwhile.
func (s *sweep) sitesOn(n placement.NodeID) []site {
	v := s.claim.Charge.At
	if s.sites[v] == nil {
		s.sites[v] = map[placement.NodeID][]site{}
	}
	known, ok := s.sites[v][n]
	if ok {
		return known
	}
	us := s.book.On(n)
	slices.SortFunc(us, Cheaper)
	var out []site
	for _, st := range s.levels {
		for _, u := range us {
			if u.Charge.At == st.role && u.Charge.Hold <= st.grace {
				out = append(out, site{Victim{u, st.role}, u.On(n)})
			}
		}
	}
	s.sites[v][n] = out
	return out
}

// try finds victims for one target node and leaves the ledger as it was. The cheapest may be too many for the bound where fewer,
// dearer ones are not.
func (s *sweep) try(n placement.NodeID) (option, Outcome) {
	spare := s.book.Spare(n, s.within)
	o, outcome := s.tryWith(&trial{sweep: s, node: n, spare: spare})
	if outcome == Fragmented {
		o, outcome = s.tryWith(&trial{sweep: s, node: n, spare: spare, fewest: true})
	}
	return o, outcome
}

func (s *sweep) tryWith(t *trial) (option, Outcome) {
	ok, outcome := t.run()
	for _, v := range t.victims {
		s.ledger.Return(v.Unit.Charge)
		v.Unit.taken = false
	}
	if !ok {
		return option{}, outcome
	}
	return option{t.node, t.victims}, Planned
}

// apply makes the chosen victims leave on the ledger.
func (s *sweep) apply(o option) {
	for _, v := range o.victims {
		s.ledger.Leave(v.Unit.Charge)
		v.Unit.taken = true
	}
	s.advance()
}

// compareOptions prefers the option whose most expensive victims are cheaper, then the one that takes less.
func compareOptions(a, b option) int {
	x, y := costliestFirst(a.victims), costliestFirst(b.victims)
	for i := range min(len(x), len(y)) {
		if c := class(x[i].Unit, y[i].Unit); c != 0 {
			return c
		}
	}
	if len(x) != len(y) {
		return len(x) - len(y)
	}
	for i := range x {
		if c := Cheaper(x[i].Unit, y[i].Unit); c != 0 {
			return c
		}
	}
	return int(a.node) - int(b.node)
}

func costliestFirst(vs []Victim) []Victim {
	out := slices.Clone(vs)
	slices.SortFunc(out, func(a, b Victim) int { return Cheaper(b.Unit, a.Unit) })
	return out
}
