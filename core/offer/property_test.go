package offer

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

const kinds = 4

// world is a book and its naive twin, to which the same happens.
type world struct {
	rt     *rapid.T
	now    time.Time
	ledger *lending.Ledger
	book   *Book
	twin   *naive
	leaves []role.ID
}

func drawVector(rt *rapid.T, most int, label string) resource.Vector {
	v := make(resource.Vector, kinds)
	for i := range 2 {
		v[i] = resource.Amount(rapid.IntRange(0, most).Draw(rt, label))
	}
	return v
}

func newWorld(rt *rapid.T) *world {
	plan := &role.Plan{Roles: map[string]role.RoleSpec{}}
	capacity := resource.Vector{60, 60, 0, 0}
	var grow func(prefix string, depth int, have resource.Vector)
	grow = func(prefix string, depth int, have resource.Vector) {
		have = have.Clone(kinds)
		for i := range rapid.IntRange(1, 3).Draw(rt, "children") {
			path := fmt.Sprintf("%sr%d", prefix, i)
			g := drawVector(rt, 12, "guarantee").Min(have)
			have.Dec(g)
			plan.Roles[path] = drawSpec(rt, g)
			if depth > 0 && rapid.Bool().Draw(rt, "inner") {
				grow(path+"/", depth-1, g)
			}
		}
	}
	grow("", 2, capacity)
	w := &world{rt: rt, now: time.Unix(0, 0)}
	tree := role.Effective(plan, w.now, resource.NewKinds())
	for id, r := range tree.Roles {
		if id > 0 && len(r.Children) == 0 {
			w.leaves = append(w.leaves, role.ID(id))
		}
	}
	options := Options{Optimistic: rapid.Bool().Draw(rt, "optimistic"), Least: drawVector(rt, 2, "least")}
	w.ledger = lending.NewLedger(tree, "", kinds, capacity)
	w.book = NewBook(w.ledger, options)
	w.twin = &naive{tree: tree, capacity: capacity, options: options, nodes: map[placement.NodeID]resource.Vector{}, takers: map[TakerID]*naiveTaker{}}
	return w
}

func drawSpec(rt *rapid.T, g resource.Vector) role.RoleSpec {
	amounts := func(v resource.Vector) resource.Resources {
		return resource.Resources{"cpu": v[0], "memory": v[1]}
	}
	lend := role.Duration(rapid.SampledFrom([]int{0, 10, 30}).Draw(rt, "lendGrace")) * role.Duration(time.Second)
	prio, weight := rapid.IntRange(0, 1).Draw(rt, "priority"), role.Weight(rapid.SampledFrom([]int64{500, 1000}).Draw(rt, "weight"))
	s := role.RoleSpec{Guarantee: amounts(g), LendGrace: &lend, Priority: &prio, Weight: &weight}
	if rapid.Bool().Draw(rt, "limited") {
		s.Limit = amounts(g.Plus(drawVector(rt, 12, "limit")))
	}
	if rapid.Bool().Draw(rt, "borrows") {
		s.Borrow = &role.Share{Amounts: amounts(drawVector(rt, 12, "borrow"))}
	}
	return s
}

// TestBookAgainstNaive does random things to a book and its twin: every cycle makes the same offers in the same order, and
// rescinds the same.
func TestBookAgainstNaive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		for range rapid.IntRange(1, 40).Draw(rt, "acts") {
			w.act()
		}
		w.cycle()
	})
}

func (w *world) act() {
	rt := w.rt
	switch rapid.IntRange(0, 12).Draw(rt, "act") {
	case 0, 1, 2:
		id, v := placement.NodeID(rapid.IntRange(0, 130).Draw(rt, "node")), drawVector(rt, 8, "available")
		w.book.SetNode(id, v)
		w.twin.setNode(id, v)
	case 3, 4:
		w.join()
	case 5:
		w.eachTaker(func(id TakerID) {
			used := drawVector(rt, 8, "used")
			w.book.SetUsed(id, used)
			w.twin.takers[id].used = used
		})
	case 6:
		w.eachTaker(func(id TakerID) {
			w.book.Suppress(id)
			w.twin.takers[id].suppressed = true
		})
	case 7:
		w.eachTaker(func(id TakerID) {
			w.book.Revive(id)
			w.twin.takers[id].suppressed = false
			clear(w.twin.takers[id].filters)
		})
	case 8:
		w.eachTaker(func(id TakerID) {
			w.book.Leave(id)
			w.twin.leave(id)
		})
	case 9:
		w.answer()
	case 10:
		w.run()
	case 11:
		w.now = w.now.Add(time.Duration(rapid.IntRange(0, 5).Draw(rt, "seconds")) * time.Second)
		w.cycle()
	case 12:
		w.rebase()
	}
}

// rebase moves takers about on a fresh ledger, as a new plan may; some leave.
func (w *world) rebase() {
	for _, o := range w.twin.offers {
		w.twin.rescinded = append(w.twin.rescinded, o.ID)
	}
	w.twin.offers = nil
	w.ledger = w.twin.ledger()
	w.book.Rebase(w.ledger, func(id TakerID) (role.ID, time.Duration, bool) {
		t := w.twin.takers[id]
		t.suppressed = false
		clear(t.filters)
		if t.leaf = rapid.SampledFrom(w.leaves).Draw(w.rt, "leaf"); rapid.IntRange(0, 3).Draw(w.rt, "stays") == 0 {
			delete(w.twin.takers, id)
		}
		return t.leaf, t.hold, w.twin.takers[id] != nil
	})
}

func (w *world) join() {
	leaf := rapid.SampledFrom(w.leaves).Draw(w.rt, "leaf")
	hold := time.Duration(rapid.SampledFrom([]int{0, 10, 30}).Draw(w.rt, "hold")) * time.Second
	id := w.book.Join(leaf, hold)
	w.twin.takers[id] = &naiveTaker{leaf: leaf, hold: hold, filters: map[placement.NodeID]time.Time{}}
}

func (w *world) eachTaker(f func(TakerID)) {
	var ids []TakerID
	for id := range w.twin.takers {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	if len(ids) > 0 {
		f(rapid.SampledFrom(ids).Draw(w.rt, "taker"))
	}
}

// answer declines or closes some open offers.
func (w *world) answer() {
	for _, o := range slices.Clone(w.twin.offers) {
		switch rapid.IntRange(0, 3).Draw(w.rt, "answer") {
		case 0:
			w.book.Close(o.ID)
			w.twin.drop(o.ID)
		case 1, 2:
			var until time.Time
			if s := rapid.IntRange(0, 6).Draw(w.rt, "refuse"); s > 0 {
				until = w.now.Add(time.Duration(s) * time.Second)
			}
			w.book.Decline(o.ID, until)
			w.twin.decline(o, until)
		}
	}
}

// run charges something in the ledger, or takes it away.
func (w *world) run() {
	if n := len(w.twin.charges); n > 0 && rapid.Bool().Draw(w.rt, "ends") {
		c := w.twin.charges[n-1]
		w.twin.charges = w.twin.charges[:n-1]
		w.ledger.Remove(c)
		w.ledger.Vacate(c.Leaf, c.Amount)
		return
	}
	c := lending.Charge{Leaf: rapid.SampledFrom(w.leaves).Draw(w.rt, "leaf"), Amount: drawVector(w.rt, 5, "amount"), Count: 1}
	if c, why := w.ledger.Fund(c, false); why == nil {
		w.ledger.Occupy(c.Leaf, c.Amount)
		w.twin.charges = append(w.twin.charges, c)
	}
}

func (w *world) cycle() {
	made, rescinded := w.book.Cycle(w.now)
	want := w.twin.cycle(w.now)
	if got, want := text(made), text(want); got != want {
		w.rt.Fatalf("offers\n%s\nthe twin makes\n%s", got, want)
	}
	slices.Sort(rescinded)
	slices.Sort(w.twin.rescinded)
	if !slices.Equal(rescinded, w.twin.rescinded) {
		w.rt.Fatalf("rescinded %v, the twin rescinds %v", rescinded, w.twin.rescinded)
	}
	w.twin.rescinded = nil
	clean := w.twin.ledger()
	for id := range w.twin.tree.Roles {
		for i := range kinds {
			if got, want := w.ledger.Used(role.ID(id))[i], clean.Used(role.ID(id))[i]; got != want {
				w.rt.Fatalf("the cycle left role %d using %d, not %d", id, got, want)
			}
			if got, want := w.ledger.Idle(role.ID(id)).At(i), clean.Idle(role.ID(id)).At(i); got != want {
				w.rt.Fatalf("the cycle left role %d with %d idle, not %d", id, got, want)
			}
		}
	}
}

func text(offers []*Offer) string {
	out := ""
	for _, o := range offers {
		out += fmt.Sprintf("%d: taker %d node %d %v %v\n", o.ID, o.Taker, o.Node, o.Amount, o.Paid)
	}
	return out
}
