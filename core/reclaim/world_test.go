package reclaim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// world is a small pool: a tree, a few machines, and what runs on them, in plain lists. It is the Book of a round.
type world struct {
	rt       *rapid.T
	tree     *role.Tree
	ledger   *lending.Ledger
	capacity []resource.Vector // by node
	units    []*Unit           // charged, in order of arrival
	pinned   map[*Unit]bool
	leaving  map[*Unit]bool
	earmark  map[placement.NodeID]resource.Vector
	closed   map[placement.NodeID]bool // takes no new tasks
	nextID   int64
}

const kinds = 4 // cpu and memory are used

var graces = []time.Duration{0, 10 * time.Second, 30 * time.Second, time.Minute}

func drawVector(rt *rapid.T, least, most int, label string) resource.Vector {
	v := make(resource.Vector, kinds)
	for i := range 2 {
		v[i] = resource.Amount(rapid.IntRange(least, most).Draw(rt, label))
	}
	return v
}

// drawWorld makes machines, a tree over them with unequal graces and private parts on every level, and units that run there
// by the rules.
func drawWorld(rt *rapid.T, units int) *world {
	w := &world{rt: rt, pinned: map[*Unit]bool{}, leaving: map[*Unit]bool{}, earmark: map[placement.NodeID]resource.Vector{}, closed: map[placement.NodeID]bool{}}
	total := make(resource.Vector, kinds)
	for range rapid.IntRange(1, 3).Draw(rt, "nodes") {
		w.capacity = append(w.capacity, drawVector(rt, 3, 8, "node"))
		total.Inc(w.capacity[len(w.capacity)-1])
	}
	w.tree = drawTree(rt, total)
	w.ledger = lending.NewLedger(w.tree, "", kinds, total)
	for range rapid.IntRange(units/2, units).Draw(rt, "units") {
		w.admit(w.drawUnit())
	}
	for _, u := range w.units {
		if rapid.IntRange(0, 9).Draw(rt, "leaves") == 9 {
			w.leave(u)
		}
	}
	for n := range w.capacity {
		w.closed[placement.NodeID(n)] = rapid.IntRange(0, 7).Draw(rt, "closed") == 7
	}
	return w
}

func drawTree(rt *rapid.T, total resource.Vector) *role.Tree {
	p := &role.Plan{Roles: map[string]role.RoleSpec{}}
	var grow func(prefix string, depth int, have resource.Vector)
	grow = func(prefix string, depth int, have resource.Vector) {
		have = have.Clone(0)
		for i := range rapid.IntRange(1, 3).Draw(rt, "children") {
			path := fmt.Sprintf("%sr%d", prefix, i)
			g := make(resource.Vector, kinds)
			for k := range 2 {
				g[k] = resource.Amount(rapid.IntRange(int(have[k])/4, int(have[k])).Draw(rt, "guarantee"))
			}
			have.Dec(g)
			p.Roles[path] = drawSpec(rt, g)
			if depth > 0 && rapid.Bool().Draw(rt, "inner") {
				grow(path+"/", depth-1, g)
			}
		}
	}
	grow("", 4, total)
	return role.Effective(p, time.Unix(0, 0), resource.NewKinds())
}

func drawSpec(rt *rapid.T, g resource.Vector) role.RoleSpec {
	amounts := func(v resource.Vector) resource.Resources {
		return resource.Resources{"cpu": v[0], "memory": v[1]}
	}
	lend, prio := role.Duration(rapid.SampledFrom(graces[1:]).Draw(rt, "lendGrace")), rapid.IntRange(0, 2).Draw(rt, "priority")
	s := role.RoleSpec{Guarantee: amounts(g), LendGrace: &lend, Priority: &prio}
	if rapid.IntRange(0, 2).Draw(rt, "limited") == 2 {
		s.Limit = amounts(g.Plus(drawVector(rt, 0, 6, "limit")))
	}
	if rapid.IntRange(0, 2).Draw(rt, "borrows") == 2 {
		s.Borrow = &role.Share{Amounts: amounts(drawVector(rt, 0, 6, "borrow"))}
	}
	if rapid.IntRange(0, 2).Draw(rt, "lends") == 2 {
		s.Lend = &role.Share{Amounts: amounts(drawVector(rt, 0, 6, "lend"))}
	}
	return s
}

func (w *world) leaves() (out []role.ID) {
	for id := range w.tree.Roles[1:] {
		if len(w.tree.Roles[id+1].Children) == 0 {
			out = append(out, role.ID(id+1))
		}
	}
	return out
}

// drawUnit draws a task, or a gang of two, somewhere on the machines, with or without room there.
func (w *world) drawUnit() *Unit {
	w.nextID++
	n := 1 + rapid.IntRange(0, 5).Draw(w.rt, "gang")/5
	leaf := rapid.SampledFrom(w.leaves()).Draw(w.rt, "leaf")
	each := drawVector(w.rt, 0, 2, "need")
	if each.IsZero() {
		each[0] = 1
	}
	u := &Unit{
		ID: w.nextID, RolePriority: w.tree.Roles[leaf].Priority, TaskPriority: rapid.IntRange(0, 1).Draw(w.rt, "task priority"),
		Over: float64(rapid.IntRange(0, 2).Draw(w.rt, "over")), Work: int64(rapid.IntRange(0, 3).Draw(w.rt, "work")), Started: w.nextID,
		Guard: rapid.IntRange(0, 1).Draw(w.rt, "guard"), Cost: rapid.Int64Range(0, 1).Draw(w.rt, "cost"),
	}
	u.Charge = lending.Charge{Leaf: leaf, Count: n, Hold: rapid.SampledFrom(graces).Draw(w.rt, "hold"), Amount: make(resource.Vector, kinds)}
	for range n {
		node := placement.NodeID(rapid.IntRange(0, len(w.capacity)-1).Draw(w.rt, "on"))
		u.Parts = append(u.Parts, Part{node, each})
		u.Charge.Amount.Inc(each)
	}
	w.pinned[u] = rapid.IntRange(0, 9).Draw(w.rt, "pinned") == 9
	return u
}

// admit starts a unit where it was drawn if the rules and the machines allow it.
func (w *world) admit(u *Unit) bool {
	for n := range w.capacity {
		if on := u.On(placement.NodeID(n)); on != nil && !on.Fits(w.free(placement.NodeID(n)).Minus(w.earmarked(placement.NodeID(n)))) {
			return false
		}
	}
	c, why := w.ledger.Fund(u.Charge, w.pinned[u])
	if why != nil {
		return false
	}
	u.Charge = c
	w.units = append(w.units, u)
	return true
}

func (w *world) leave(u *Unit) {
	w.ledger.Leave(u.Charge)
	w.leaving[u] = true
}

func (w *world) free(n placement.NodeID) resource.Vector {
	free := w.capacity[n].Clone(0)
	for _, u := range w.units {
		free.Dec(u.On(n).Clone(kinds))
	}
	return free
}

func (w *world) earmarked(n placement.NodeID) resource.Vector { return w.earmark[n].Clone(kinds) }

// mayLeave reports whether a unit may be asked back.
func (w *world) mayLeave(u *Unit) bool { return !w.pinned[u] && !w.leaving[u] }

// Cheapest implements Book.
func (w *world) Cheapest(f role.ID) func() *Unit {
	var us []*Unit
	for _, u := range w.units {
		if u.Charge.At == f && w.mayLeave(u) {
			us = append(us, u)
		}
	}
	slices.SortFunc(us, Cheaper)
	return func() *Unit {
		if len(us) == 0 {
			return nil
		}
		u := us[0]
		us = us[1:]
		return u
	}
}

// On implements Book. The order is not promised to be of any use.
func (w *world) On(n placement.NodeID) (out []*Unit) {
	for _, u := range slices.Backward(w.units) {
		if u.On(n) != nil && w.mayLeave(u) {
			out = append(out, u)
		}
	}
	return out
}

// Leaving implements Book.
func (w *world) Leaving() (out []*Unit) {
	for _, u := range w.units {
		if w.leaving[u] {
			out = append(out, u)
		}
	}
	return out
}

// Spare implements Book.
func (w *world) Spare(n placement.NodeID, _ time.Duration) resource.Vector {
	spare := w.free(n).Minus(w.earmarked(n))
	for u := range w.leaving {
		spare.Inc(u.On(n).Clone(kinds))
	}
	return spare
}

// Feasible implements Book.
func (w *world) Feasible(c Claim, visit func(placement.NodeID) bool) {
	for n := range w.capacity {
		if !w.closed[placement.NodeID(n)] && !visit(placement.NodeID(n)) {
			return
		}
	}
}

// state is everything a ledger holds, in words.
func state(l *lending.Ledger) string {
	s := fmt.Sprintf("%v", *l)
	return s[:strings.LastIndexByte(s, ' ')] // without its version, which comes last
}

// rebuilt is a new ledger with the world's charges, these units leaving too, and perhaps a claim.
func (w *world) rebuilt(more map[*Unit]bool, claim *lending.Charge) *lending.Ledger {
	l := lending.NewLedger(w.tree, "", kinds, w.ledger.Capacity())
	for _, u := range w.units {
		l.Add(u.Charge)
		if w.leaving[u] || more[u] {
			l.Leave(u.Charge)
		}
	}
	if claim != nil {
		l.Add(*claim)
	}
	return l
}

// drawClaim draws claims until one is inside a guarantee, a few times.
func (w *world) drawClaim() (c Claim, v role.ID) {
	for range 12 {
		if c, v = w.drawAnyClaim(); w.trialOf(c, v).inside() {
			break
		}
	}
	return c, v
}

func (w *world) drawAnyClaim() (Claim, role.ID) {
	u := w.drawUnit()
	v := u.Charge.Leaf
	for w.tree.Roles[v].Parent != role.Root && rapid.IntRange(0, 2).Draw(w.rt, "higher") == 0 {
		v = w.tree.Roles[v].Parent
	}
	need := drawVector(w.rt, 0, 6, "claim")
	need[0] = max(need[0], 1)
	return Claim{Charge: lending.Charge{Leaf: u.Charge.Leaf, Amount: need, Hold: u.Charge.Hold, Count: 1}}, v
}

func (w *world) String() string {
	out := ""
	for id, r := range w.tree.Roles {
		q := w.ledger.Quota(role.ID(id))
		out += fmt.Sprintf("%2d %-10q up=%d g=%v limit=%v lend=%v borrow=%v lendGrace=%s idle=%v\n", id, r.Path, r.Parent, q.Guarantee, q.Limit, q.Lend, q.Borrow,
			r.LendGrace, w.ledger.Idle(role.ID(id)))
	}
	for n, c := range w.capacity {
		out += fmt.Sprintf("node %d %v spare %v closed %v\n", n, c, w.Spare(placement.NodeID(n), 0), w.closed[placement.NodeID(n)])
	}
	for _, u := range w.units {
		out += fmt.Sprintf("unit %d leaf=%d at=%d %v hold=%s on %v pinned=%v leaving=%v\n", u.ID, u.Charge.Leaf, u.Charge.At, u.Charge.Amount, u.Charge.Hold, u.Parts,
			w.pinned[u], w.leaving[u])
	}
	return out
}

func (w *world) fatalf(format string, args ...any) {
	w.rt.Helper()
	w.rt.Fatalf("%s\n%s", fmt.Sprintf(format, args...), w)
}
