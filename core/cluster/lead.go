package cluster

import (
	"cmp"
	"slices"
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/reclaim"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// scene is a pool as it would be under another tree: the same units and nodes, a ledger of its own. It is where the notices
// for a window that opens soon, or for a plan that is only looked at, are worked out.
type scene struct {
	*pool
	tree   *role.Tree
	book   *lending.Ledger
	funded map[role.ID][]*unit
	charge map[*unit]lending.Charge
	known  map[*unit]*reclaim.Unit
	gone   map[*unit]bool                       // leaving, or under notice for this scene
	more   map[placement.NodeID]resource.Vector // spare on a node, beside what the pool has
	at     time.Time

	planned map[*class][]reclaim.Plan // for what waits, inside its guarantee
	staying []*unit                   // counted as if they had no notice for a window
}

// newScene books everything of a pool under a tree that holds at an instant: what has notice for a window that opens by then is
// gone, but for some.
func newScene(p *pool, tree *role.Tree, at time.Time, staying ...*unit) *scene {
	s := &scene{
		pool: p, tree: tree, funded: map[role.ID][]*unit{}, charge: map[*unit]lending.Charge{}, known: map[*unit]*reclaim.Unit{}, gone: map[*unit]bool{},
		book: lending.NewLedger(tree, p.name, p.c.kinds.Len(), p.total),
		more: map[placement.NodeID]resource.Vector{}, at: at, planned: map[*class][]reclaim.Plan{}, staying: staying,
	}
	var demoted []*unit
	for _, u := range byStanding(p.units, p.ledger.Tree()) {
		if !s.bookUnit(u, p.ledger.Tree().Roles[u.charge.At].Depth) {
			demoted = append(demoted, u)
		}
	}
	for _, u := range demoted {
		s.bookUnit(u, 0)
	}
	for _, cl := range p.claims {
		c := cl.charge
		c.Leaf = leafIn(tree, cl.ask.Role)
		if _, why := s.book.Fund(c, cl.class.shape.Pinned); why != nil {
			c.At = role.Root
			s.book.Add(c)
		}
	}
	for _, n := range p.nodes {
		if n != nil {
			s.more[n.id] = make(resource.Vector, len(n.total))
		}
	}
	for _, u := range p.units {
		if s.gone[u] && !u.leaving {
			s.free(u)
		}
	}
	return s
}

// leafIn is the role that holds work of a path in a tree: the path's work role, that of its nearest ancestor when the tree does
// not have it, the root when it has none of them.
func leafIn(tree *role.Tree, path string) role.ID {
	for p := path; p != ""; p = parentPath(p) {
		if id, ok := tree.WorkRole(p); ok {
			return id
		}
	}
	return role.Root
}

// bookUnit charges a unit in the scene, as deep as its rules allow; false when that is less deep than it must be.
func (s *scene) bookUnit(u *unit, depth int) bool {
	c := u.charge
	c.Leaf = leafIn(s.tree, u.tasks[0].role)
	if u.leaving || s.told(u) {
		c.At = role.Root
		s.book.Add(c)
		s.book.Leave(c)
		s.gone[u] = true
	} else if funded, ok := rebooked(s.book, c, u, depth); ok {
		c = funded
		s.funded[c.At] = append(s.funded[c.At], u)
	} else {
		return false
	}
	s.charge[u] = c
	return true
}

// told reports whether a unit has notice for a window that opens by then.
func (s *scene) told(u *unit) bool {
	return !slices.Contains(s.staying, u) && slices.ContainsFunc(u.tasks, func(t *task) bool {
		return t.notice != nil && t.notice.Kind == ForWindow && !t.notice.Opens.After(s.at)
	})
}

// free counts what a unit holds as coming free.
func (s *scene) free(u *unit) {
	for _, t := range u.tasks {
		s.more[t.node.id] = s.more[t.node.id].Plus(t.need)
	}
}

// Cheapest implements [reclaim.Book].
func (s *scene) Cheapest(f role.ID) func() *reclaim.Unit {
	var out []*reclaim.Unit
	for _, u := range s.funded[f] {
		if s.mayAsk(u) {
			out = append(out, s.describe(u))
		}
	}
	slices.SortFunc(out, reclaim.Cheaper)
	return func() (u *reclaim.Unit) {
		if len(out) > 0 {
			u, out = out[0], out[1:]
		}
		return u
	}
}

// On implements [reclaim.Book].
func (s *scene) On(n placement.NodeID) []*reclaim.Unit {
	var out []*reclaim.Unit
	for _, t := range s.nodes[n].tasks {
		if u := t.unit; s.mayAsk(u) && !slices.Contains(out, s.describe(u)) {
			out = append(out, s.describe(u))
		}
	}
	return out
}

// mayAsk reports whether a unit may be asked back in the scene.
func (s *scene) mayAsk(u *unit) bool { return !s.gone[u] && u.reclaimable() && u.reachable() }

func (s *scene) describe(u *unit) *reclaim.Unit {
	v := s.known[u]
	if v == nil {
		v = s.pool.unit(u)
		v.Charge = s.charge[u]
		if s.late(u) {
			v.RolePriority += afterThePunctual
		}
		s.known[u] = v
	}
	return v
}

// afterThePunctual is above all priorities of roles.
const afterThePunctual = 1 << 30

// late reports whether a unit that is told now is still there at the scene's instant: who can be gone by then is asked first.
func (s *scene) late(u *unit) bool {
	return s.at.After(s.c.now) && slices.ContainsFunc(u.tasks, func(t *task) bool { return t.earliestEnd(s.c.now).After(s.at) })
}

// Leaving implements [reclaim.Book].
func (s *scene) Leaving() []*reclaim.Unit {
	var out []*reclaim.Unit
	for _, u := range s.units {
		if s.gone[u] {
			out = append(out, &reclaim.Unit{Charge: s.charge[u]})
		}
	}
	return out
}

// Spare implements [reclaim.Book].
func (s *scene) Spare(n placement.NodeID, within time.Duration) resource.Vector {
	return s.nodes[n].spareBy(later(s.at, s.c.now.Add(within)), nil).Plus(s.more[n])
}

// Feasible implements [reclaim.Book].
func (s *scene) Feasible(c reclaim.Claim, visit func(placement.NodeID) bool) {
	s.index.EachFeasible(c.Task.(*class).compiled, visit)
}

// leaver is a unit that a scene wants gone, and for whom.
type leaver struct {
	unit     *unit
	claimant string
}

// plan works out who has to leave in the scene: for what waits inside its guarantee there, and for rules that break there.
func (s *scene) plan(repairFor string) []leaver {
	var out []leaver
	round := reclaim.NewRound(s.book, s)
	for _, v := range round.Repair() {
		out = append(out, s.leave(v.Unit.Owner.(*unit), repairFor))
	}
	waits, deepest := s.byNeed(), 0
	for i := range s.tree.Roles {
		deepest = max(deepest, s.tree.Roles[i].Depth)
	}
	planned := map[*ask]int{}
	for depth := deepest; depth > 0; depth-- { // what a deep guarantee covers goes before what one above it does
		for _, cl := range waits {
			leaf := leafIn(s.tree, cl.path)
			v := above(s.tree, leaf, depth)
			if v == role.None || v != leaf && cl.shape.Pinned {
				continue
			}
			for _, a := range cl.asks {
				if !s.planAsk(round, a, leaf, v, planned, &out) {
					break
				}
			}
		}
	}
	return out
}

func (s *scene) leave(u *unit, claimant string) leaver {
	s.gone[u] = true
	s.free(u)
	return leaver{u, claimant}
}

// planAsk plans what of an ask is inside a role's guarantee in the scene, and has not been planned; false when the next of it is not.
func (s *scene) planAsk(round *reclaim.Round, a *ask, leaf, v role.ID, planned map[*ask]int, out *[]leaver) bool {
	cl := a.class
	waiting := a.readyCount(s.c.now) - a.claims*cl.count - planned[a]
	claimant := a.Role + " (" + a.ID + ")"
	c := cl.claim()
	c.Charge.Leaf = leaf
	c.Whole = wholeIn(s.tree, s.name, c.Charge, v)
	for range waiting {
		p, o := round.Plan(c, v)
		if o != reclaim.Planned {
			return false
		}
		planned[a]++
		s.more[p.Node] = s.more[p.Node].Minus(cl.need)
		s.planned[cl] = append(s.planned[cl], p)
		for _, v := range p.Victims {
			*out = append(*out, s.leave(v.Unit.Owner.(*unit), claimant))
		}
	}
	return true
}

// lead gives the notices for the next rise of a guarantee whose lead has begun, and takes those back that nobody needs. A
// task under such a notice keeps its funding until the window opens: its deadline is never before.
func (c *Cluster) lead() {
	current := slices.DeleteFunc(slices.Clone(c.raises), func(r role.Raise) bool { return !r.At.After(c.now) })
	for _, p := range c.pools {
		p.dropLeads(current)
		p.leadUp(current)
	}
}

// dropLeads takes back the notices for windows that will not open then any more.
func (p *pool) dropLeads(current []role.Raise) {
	if len(current) == p.leads && !p.strained && p.dropped == p.c.calendars {
		return
	}
	p.leads, p.dropped = len(current), p.c.calendars
	for _, u := range p.units {
		for _, t := range u.tasks {
			if t.notice != nil && t.notice.Kind == ForWindow && t.notice.Opens.After(p.c.now) &&
				!slices.ContainsFunc(current, func(r role.Raise) bool { return r.At.Equal(t.notice.Opens) }) {
				p.c.takeBackOne(t, "%s may stay: the window does not open then any more")
			}
		}
	}
}

// readCalendar looks up which leads run now and when the next begins. It walks the whole plan: call it when that may have
// changed, not on every step.
func (c *Cluster) readCalendar() {
	c.calendars++
	c.raises = role.Upcoming(c.plan, c.now)
	c.leadAt, _ = role.NextLead(c.plan, c.now)
}

// leadUp works out the notices for the raises whose lead runs, in the order of their openings, if anything has changed since
// it last did.
func (p *pool) leadUp(raises []role.Raise) {
	if len(raises) == 0 || p.led == (leadState{p.c.calendars, p.epoch, p.c.seq}) {
		return
	}
	for _, r := range raises {
		p.leadFor(r)
	}
	p.led = leadState{p.c.calendars, p.epoch, p.c.seq}
}

func (p *pool) leadFor(r role.Raise) {
	s := newScene(p, role.Effective(p.c.plan, r.At, p.c.kinds), r.At)
	var noticed []*unit
	for _, u := range p.units {
		if s.gone[u] && slices.ContainsFunc(u.tasks, func(t *task) bool {
			return t.notice != nil && t.notice.Kind == ForWindow && t.notice.Opens.Equal(r.At)
		}) {
			noticed = append(noticed, u)
		}
	}
	for _, l := range s.plan("window " + r.Windows[0]) {
		p.c.notify(l.unit, ForWindow, l.claimant, r.At)
	}
	noticed = slices.DeleteFunc(noticed, func(u *unit) bool { return !s.mayStay(u) })
	for _, u := range p.unneeded(r, noticed) {
		p.c.takeBack(u, "nobody will need it when the window opens")
	}
}

// lookAgain bounds how often one decision looks ahead again for whom it could take back.
const lookAgain = 4

// unneeded narrows units that were told to leave when a window opens, and seem to be needed by nobody, to those without whose notices nobody would be
// told now: at the opening they would be paid by whom they are paid now, and one of them might be asked back then, too late.
func (p *pool) unneeded(r role.Raise, us []*unit) []*unit {
	for range lookAgain {
		if len(us) == 0 {
			return nil
		}
		again := newScene(p, role.Effective(p.c.plan, r.At, p.c.kinds), r.At, us...).plan(r.Windows[0])
		if len(again) == 0 {
			return us
		}
		needed := map[*unit]bool{}
		for _, l := range again {
			needed[l.unit] = true
		}
		us = slices.DeleteFunc(us, func(u *unit) bool { return needed[u] })
	}
	return nil
}

// leadState is what the last working out of lead notices was based on.
type leadState struct {
	calendar int64 // reading of the calendar
	epoch    int64
	seq      int64
}

// mayStay takes a unit that was to leave for the scene back if all that waits is served without it.
func (s *scene) mayStay(u *unit) bool {
	for _, t := range u.tasks {
		if !t.need.Fits(s.Spare(t.node.id, 0)) {
			return false
		}
	}
	c := s.charge[u]
	s.book.Gone(c)
	if _, why := s.book.Fund(c, u.pinned); why != nil {
		s.book.Add(c)
		s.book.Leave(c)
		return false
	}
	for _, t := range u.tasks {
		s.more[t.node.id] = s.more[t.node.id].Minus(t.need)
	}
	return true
}

// PreviewPlan returns the notices that a plan would send, in the order of their tasks: if it were put in force now, or what is due for an
// instant to come if what runs and what waits is the same then. Nothing changes.
// The plan is a valid one that names no new pool.
func (c *Cluster) PreviewPlan(plan *role.Plan, at, now time.Time) []Notice {
	var out []Notice
	kinds := c.kinds
	tree, claimant := role.Effective(plan, at, kinds), "the new plan"
	if at.After(now) {
		claimant = "the plan at " + at.UTC().Format(time.RFC3339)
	}
	for _, p := range c.pools {
		if p.shares == nil {
			p.weigh()
		}
		for _, l := range newScene(p, tree, at).plan(claimant) {
			for _, t := range l.unit.tasks {
				out = append(out, Notice{
					Task: t.id, Role: t.role, Node: t.node.Name, Claimant: l.claimant, Amount: t.need.Resources(kinds, p.name),
					Issued: now, Deadline: later(t.earliestEnd(now), at), Funding: c.fundingName(l.unit.charge.At),
				})
			}
		}
	}
	slices.SortFunc(out, func(a, b Notice) int { return cmp.Compare(a.Task, b.Task) })
	return out
}
