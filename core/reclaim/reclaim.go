package reclaim

import (
	"cmp"
	"slices"
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Unit is what can only leave together: one task, or a whole gang. It belongs to one round.
type Unit struct {
	ID     int64          // the caller's, unique and stable; the last tie-breaker
	Owner  any            // the caller's, never looked at
	Charge lending.Charge // of the whole unit; At is the role it is funded at
	Parts  []Part         // where it runs

	// What it costs to lose it. Lower goes first, field by field in this order.
	RolePriority int
	Over         float64 // how far its role is above its entitlement; more goes first
	Guard        int     // 1 where its owner wants others of the role to go before it
	TaskPriority int
	Cost         int64 // what its owner says
	Work         int64 // work lost when it stops now, in the caller's unit
	Started      int64 // later goes first

	taken bool // by a plan of its round, or a trial
}

// Part is a unit's share of one node.
type Part struct {
	Node   placement.NodeID
	Amount resource.Vector
}

// On is what the unit holds on a node, nil when nothing.
func (u *Unit) On(n placement.NodeID) resource.Vector {
	var sum resource.Vector
	for _, p := range u.Parts {
		if p.Node != n {
			continue
		}
		if sum == nil {
			sum = p.Amount
		} else {
			sum = sum.Plus(p.Amount)
		}
	}
	return sum
}

// nodes lists where a unit runs, ascending, each once.
func (u *Unit) nodes() []placement.NodeID {
	out := make([]placement.NodeID, 0, len(u.Parts))
	for _, p := range u.Parts {
		out = append(out, p.Node)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// class orders units that differ in what the contract ranks first; units of one class are chosen by fit.
func class(a, b *Unit) int {
	return cmp.Or(cmp.Compare(a.RolePriority, b.RolePriority), cmp.Compare(b.Over, a.Over),
		cmp.Compare(a.Guard, b.Guard), cmp.Compare(a.TaskPriority, b.TaskPriority), cmp.Compare(a.Cost, b.Cost))
}

// Cheaper is the total order of victims, cheapest first.
func Cheaper(a, b *Unit) int {
	return cmp.Or(class(a, b), cmp.Compare(a.Work, b.Work), cmp.Compare(b.Started, a.Started), cmp.Compare(a.ID, b.ID))
}

// Book is what a round needs to know of tasks and nodes. It must answer for the state after the plans already taken over.
type Book interface {
	// Cheapest lists the units funded at a role that may be asked back (charged, preemptible, under no notice) in the order of
	// [Cheaper], one with each call of next, nil after the last. A round asks for as many as it looks at; what it plans must not
	// change the list.
	Cheapest(role.ID) (next func() *Unit)
	// On lists the units that may be asked back and hold something on a node, whoever funds them: the same pointers as Cheapest.
	On(placement.NodeID) []*Unit
	// Leaving lists the units under notice; only Charge is looked at.
	Leaving() []*Unit
	// Spare is what a claimant that may have to wait so long can still count on at a node: what is free or leaves within that
	// time, less what other claimants need of it by then or later.
	Spare(n placement.NodeID, within time.Duration) resource.Vector
	// Feasible visits, in a defined order, the nodes that satisfy everything a claim asks except available amounts,
	// until visit returns false.
	Feasible(c Claim, visit func(placement.NodeID) bool)
}

// Claim is one task that is inside a guarantee and found no place.
type Claim struct {
	Charge lending.Charge // Leaf, Amount, Hold and Count; At is for the round to find
	Task   any            // the caller's, for Book.Feasible
	Whole  bool           // it is promised on one node: as many may leave there as it takes
}

// Victim is a unit to ask back and the level of the tree whose rule asks for it.
type Victim struct {
	Unit  *Unit
	Level role.ID
}

// Plan is how to serve a claim: funded at a role, on a node, after the victims have left. Without victims the capacity is
// idle or leaving already.
type Plan struct {
	Charge  lending.Charge
	Node    placement.NodeID
	Victims []Victim
}

// Outcome says how a search for a plan ended. The values are stable codes.
type Outcome string

// Outcomes.
const (
	Planned       Outcome = "Planned"
	NotGuaranteed Outcome = "NotGuaranteed" // no role on the path has that much idle guarantee
	NoNode        Outcome = "NoNode"        // no node satisfies the claim's constraints
	Fragmented    Outcome = "Fragmented"    // there is enough in all, but not on one node within what may be asked back
	NoVictim      Outcome = "NoVictim"      // what stands in the way may not be asked back in time (capacity was lost)
)

// Round plans claims one after the other. A plan that is found stays charged in the ledger, its victims leaving; the
// caller either takes it over or calls [Round.Undo].
type Round struct {
	ledger *lending.Ledger
	book   Book
	lines  map[role.ID]*line
	sites  map[role.ID]map[placement.NodeID][]site
	taken  map[*Unit]bool

	fields  map[fieldKey]*field
	changed []change // nodes that plans have changed, in order

	levels []stage           // room for those of the sweep that goes on
	owed   []resource.Amount // room for theirs
}

// NewRound starts a round on a ledger.
func NewRound(l *lending.Ledger, b Book) *Round {
	return &Round{ledger: l, book: b, lines: map[role.ID]*line{}, sites: map[role.ID]map[placement.NodeID][]site{},
		fields: map[fieldKey]*field{}}
}

// Undo takes a plan back: the claimant is no longer charged, its victims are not leaving.
func (r *Round) Undo(p Plan) {
	r.ledger.Remove(p.Charge)
	for _, v := range p.Victims {
		r.ledger.Return(v.Unit.Charge)
		v.Unit.taken = false
	}
	r.change(p, true)
	for _, f := range r.fields {
		f.head = 0
	}
	for _, l := range r.lines {
		l.head = 0
	}
}

// Plan looks for the cheapest legal way to serve c funded at v, a role on its leaf's path below the root. The ledger is
// unchanged unless the outcome is Planned.
func (r *Round) Plan(c Claim, v role.ID) (Plan, Outcome) {
	s := newSweep(r, c, v)
	if !r.ledger.TryInside(s.claim.Charge) {
		return Plan{}, NotGuaranteed
	}
	best, outcome := s.search()
	if outcome != Planned {
		r.ledger.Remove(s.claim.Charge)
		return Plan{}, outcome
	}
	s.apply(best)
	p := Plan{Charge: s.claim.Charge, Node: best.node, Victims: best.victims}
	r.change(p, false)
	return p, Planned
}
