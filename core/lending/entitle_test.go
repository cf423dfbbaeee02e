package lending

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// grain is how many units one drawn unit stands for, so that rounding is small beside it; slack is what rounding may cost.
const (
	grain = 1000
	slack = 40
)

// scene is a tree with a capacity and what its leaves want.
type scene struct {
	tree     *role.Tree
	capacity resource.Vector
	leaf     []resource.Vector
}

// drawScene draws a tree in grains; with one resource, memory is taken out of it.
func drawScene(rt *rapid.T, single bool) *scene {
	tree, capacity := drawTree(rt)
	s := &scene{tree: tree, capacity: capacity, leaf: make([]resource.Vector, len(tree.Roles))}
	for id := range tree.Roles {
		if len(tree.Roles[id].Children) == 0 {
			s.leaf[id] = drawVector(rt, 20, "demand")
		}
	}
	s.scale()
	if single {
		s.forget(resource.Memory)
	}
	return s
}

func (s *scene) vectors() []resource.Vector {
	out := append(slices.Clone(s.leaf), s.capacity)
	for id := range s.tree.Roles {
		if q, ok := s.tree.Roles[id].Quotas[""]; ok {
			out = append(out, q.Guarantee, q.Limit, q.Lend, q.Borrow, q.Warm)
		}
	}
	return out
}

func (s *scene) scale() {
	for _, v := range s.vectors() {
		for i, a := range v {
			if a != resource.Unlimited {
				v[i] = a * grain
			}
		}
	}
}

func (s *scene) forget(k resource.Kind) {
	for _, v := range s.vectors() {
		if v != nil && v[k] != resource.Unlimited {
			v[k] = 0
		}
	}
}

func (s *scene) entitle() (demand, out []resource.Vector) {
	l := NewLedger(s.tree, "", kinds, s.capacity)
	demand = l.demandOf(s.leaf)
	return demand, l.entitle(demand)
}

func (s *scene) quota(id role.ID) role.Quota { return s.tree.Quota(id, "", kinds) }

// most is the bound of what role id may be entitled to.
func (s *scene) most(id role.ID, d resource.Vector, i int) resource.Amount {
	q := s.quota(id)
	return min(d[i], q.Limit[i], q.Guarantee[i].Add(q.Borrow[i]))
}

// TestDemand checks d(v) = min(limit(v), Σ d(children)).
func TestDemand(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScene(rt, false)
		before := make([]resource.Vector, len(s.leaf))
		for i, v := range s.leaf {
			before[i] = slices.Clone(v)
		}
		got, _ := s.entitle()
		var want func(id role.ID, i int) resource.Amount
		want = func(id role.ID, i int) resource.Amount {
			sum := s.leaf[id].At(i)
			for _, c := range s.tree.Roles[id].Children {
				sum += want(c, i)
			}
			if id == role.Root {
				return sum
			}
			return min(sum, s.quota(id).Limit[i])
		}
		for id := range s.tree.Roles {
			for i := range kinds {
				if w := want(role.ID(id), i); got[id][i] != w {
					rt.Fatalf("demand of %q kind %d is %v, want %v\n%s", s.tree.Roles[id].Path, i, got[id][i], w, describe(s.tree))
				}
			}
		}
		for i := range before {
			if !before[i].Equal(s.leaf[i]) {
				rt.Fatal("the input was changed")
			}
		}
	})
}

// poured is the exact entitlement of one resource, in floats: guarantees first, scaled by tier and then in proportion, then
// every tier's surplus up to a common level per weight, which is found by halving.
func (s *scene) poured(d []resource.Vector) []float64 {
	out := make([]float64, len(s.tree.Roles))
	out[role.Root] = float64(s.capacity[0])
	for id := range s.tree.Roles {
		s.pourInto(role.ID(id), d, out)
	}
	return out
}

// lends is what role c could offer outside were all it asks for running: its idle guarantee, within its lend and without what it keeps
// warm; and no more than its private part and what its children offer, less what they have beyond their guarantees.
func (s *scene) lends(c role.ID, d []resource.Vector, i int) resource.Amount {
	q := s.quota(c)
	own, beyond := q.Guarantee[i], d[c][i]
	for _, kid := range s.tree.Roles[c].Children {
		g := s.quota(kid).Guarantee[i]
		own += s.lends(kid, d, i) - g
		beyond -= min(g, d[kid][i])
	}
	return max(0, min(q.Lend[i], q.Guarantee[i]-d[c][i]-q.Warm[i], own-beyond))
}

func (s *scene) pourInto(id role.ID, d []resource.Vector, out []float64) {
	kids := s.tree.Roles[id].Children
	left, guarantee := out[id], out[id]
	if id != role.Root {
		guarantee = max(guarantee, float64(s.quota(id).Guarantee[0]))
	}
	promised := func(c role.ID) float64 { return float64(min(s.quota(c).Guarantee[0], d[c][0])) }
	for p := 2; p >= 0; p-- {
		sum := 0.0
		for _, c := range kids {
			if s.tree.Roles[c].Priority == p {
				sum += promised(c)
			}
		}
		part := 1.0
		if sum > left {
			part = left / sum
		}
		for _, c := range kids {
			if s.tree.Roles[c].Priority == p {
				out[c] = promised(c) * part
				left = max(0, left-out[c])
				guarantee -= out[c]
			}
		}
	}
	for _, c := range kids {
		guarantee -= float64(max(0, s.quota(c).Guarantee[0]-d[c][0]) - s.lends(c, d, 0))
	}
	left = max(0, min(left, guarantee))
	for p := 2; p >= 0; p-- {
		level := s.level(kids, p, d, out, left)
		for _, c := range kids {
			if s.tree.Roles[c].Priority == p {
				more := s.more(c, d, out, level)
				out[c] += more
				left -= more
			}
		}
	}
}

// more is what c gets of the surplus at a level.
func (s *scene) more(c role.ID, d []resource.Vector, out []float64, level float64) float64 {
	return max(0, min(float64(s.most(c, d[c], 0))-out[c], level*float64(s.tree.Roles[c].Weight)))
}

// level finds how high the surplus stands in one tier.
func (s *scene) level(kids []role.ID, p int, d []resource.Vector, out []float64, left float64) float64 {
	low, high := 0.0, 1e6
	for range 100 {
		mid, sum := (low+high)/2, 0.0
		for _, c := range kids {
			if s.tree.Roles[c].Priority == p {
				sum += s.more(c, d, out, mid)
			}
		}
		if sum <= left {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// TestEntitlementIsPoured compares the entitlements of one resource with the exact filling.
func TestEntitlementIsPoured(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScene(rt, true)
		d, got := s.entitle()
		for id, want := range s.poured(d) {
			if diff := float64(got[id][0]) - want; diff < -slack || diff > slack {
				rt.Fatalf("%q is entitled to %v, exactly %.1f\ncapacity %v, demands %v, entitled %v\n%s", s.tree.Roles[id].Path, got[id][0], want,
					s.capacity[0], d, got, describe(s.tree))
			}
		}
	})
}

// TestEntitlementBounds checks, for several resources, what holds whatever the filling: nobody above its bounds, guarantees
// given when there is enough, no more given than there is, and nothing left while somebody could take it.
func TestEntitlementBounds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScene(rt, false)
		d, out := s.entitle()
		for id := range s.tree.Roles {
			if why := s.unfair(role.ID(id), d, out); why != "" {
				rt.Fatalf("in %q: %s\ncapacity %v, demands %v, entitled %v\n%s", s.tree.Roles[id].Path, why, s.capacity, d, out, describe(s.tree))
			}
		}
	})
}

func (s *scene) unfair(id role.ID, d, out []resource.Vector) string {
	kids := s.tree.Roles[id].Children
	left := s.surplus(id, d, out)
	for i := range kinds {
		given, promised := resource.Amount(0), resource.Amount(0)
		for _, c := range kids {
			given += out[c][i]
			promised += min(s.quota(c).Guarantee[i], d[c][i])
		}
		if given > out[id][i] && len(kids) > 0 {
			return "more is given than there is"
		}
		for _, c := range kids {
			first := min(s.quota(c).Guarantee[i], d[c][i])
			switch {
			case out[c][i] > max(first, s.most(c, d[c], i)) || out[c][i] < 0:
				return s.tree.Roles[c].Path + " is entitled to more than its bounds"
			case promised <= out[id][i] && out[c][i] < first:
				return s.tree.Roles[c].Path + " does not get its guarantee though there is enough"
			case left[i] > slack && out[c][i]+slack < s.most(c, d[c], i) && !s.blocked(c, left, d[c], out[c]):
				return s.tree.Roles[c].Path + " could take what is left"
			}
		}
	}
	return ""
}

// surplus is what role id has left after its children, less what their owners keep for themselves.
func (s *scene) surplus(id role.ID, d, out []resource.Vector) resource.Vector {
	left := make(resource.Vector, kinds)
	for i := range left {
		own := out[id][i]
		if id != role.Root {
			own = max(own, s.quota(id).Guarantee[i])
		}
		given := resource.Amount(0)
		for _, c := range s.tree.Roles[id].Children {
			own -= max(0, s.quota(c).Guarantee[i]-d[c][i]) - s.lends(c, d, i)
			given += out[c][i]
		}
		left[i] = min(out[id][i], own) - given
	}
	return left
}

// blocked reports whether a role lacks some resource that is used up: without it the others are of no use to it.
func (s *scene) blocked(c role.ID, left, d, got resource.Vector) bool {
	for i := range kinds {
		if left[i] <= slack && got[i] < s.most(c, d, i) {
			return true
		}
	}
	return false
}

// TestEntitlementMonotone is I14 for one resource: more guarantee, weight or capacity never means a lower entitlement.
func TestEntitlementMonotone(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScene(rt, true)
		_, before := s.entitle()
		v := role.ID(rapid.IntRange(1, len(s.tree.Roles)-1).Draw(rt, "role"))
		shown := describe(s.tree)
		what := rapid.SampledFrom([]string{"guarantee", "weight", "capacity"}).Draw(rt, "what")
		switch what {
		case "guarantee":
			s.quota(v).Guarantee[0] += s.raisable(rt, v)
		case "weight":
			s.tree.Roles[v].Weight *= 2
		case "capacity":
			s.capacity[0] += 5 * grain
		}
		d, after := s.entitle()
		for id := range s.tree.Roles {
			if (role.ID(id) == v || what == "capacity") && after[id][0]+slack < before[id][0] {
				rt.Fatalf("raising the %s of %q took the entitlement of %q from %v to %v\ncapacity %v, demands %v\nbefore\n%safter\n%s", what,
					s.tree.Roles[v].Path, s.tree.Roles[id].Path, before[id][0], after[id][0], s.capacity[0], d, shown, describe(s.tree))
			}
		}
	})
}

// raisable draws by how much v's guarantee can rise in a valid plan.
func (s *scene) raisable(rt *rapid.T, v role.ID) resource.Amount {
	up := s.tree.Roles[v].Parent
	room := s.capacity[0]
	if up != role.Root {
		room = s.quota(up).Guarantee[0]
	}
	for _, c := range s.tree.Roles[up].Children {
		room -= s.quota(c).Guarantee[0]
	}
	room = min(room, s.quota(v).Limit[0]-s.quota(v).Guarantee[0])
	return resource.Amount(rapid.IntRange(0, max(0, int(room))).Draw(rt, "raise"))
}

// TestEntitlementEncapsulated is I15: what goes on inside a subtree, its own demand and fields and what it lends being the same, changes
// nothing outside it.
func TestEntitlementEncapsulated(t *testing.T) {
	same := 0
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScene(rt, false)
		n := &naive{tree: s.tree}
		l := NewLedger(s.tree, "", kinds, s.capacity)
		demand := l.demandOf(s.leaf)
		before := l.entitle(demand)
		v := role.ID(rapid.IntRange(1, len(s.tree.Roles)-1).Draw(rt, "role"))
		lent := [2]resource.Amount{s.lends(v, demand, 0), s.lends(v, demand, 1)}
		for id := range s.tree.Roles {
			if r := role.ID(id); r != v && n.within(r, v) {
				demand[id] = drawVector(rt, 20, "other demand")
				s.tree.Roles[id].Weight = rapid.Int64Range(1, 5000).Draw(rt, "other weight")
				s.tree.Roles[id].Priority = rapid.IntRange(0, 2).Draw(rt, "other priority")
				s.tree.Roles[id].LendGrace = time.Hour
			}
		}
		if lent != [2]resource.Amount{s.lends(v, demand, 0), s.lends(v, demand, 1)} {
			return // what its roles keep to themselves, nobody outside may borrow
		}
		if len(s.tree.Roles[v].Children) > 0 {
			same++
		}
		after := NewLedger(s.tree, "", kinds, s.capacity).entitle(demand)
		for id := range s.tree.Roles {
			if r := role.ID(id); (r == v || !n.within(r, v)) && !before[id].Equal(after[id]) {
				rt.Fatalf("a change inside %q took the entitlement of %q from %v to %v", s.tree.Roles[v].Path, s.tree.Roles[id].Path, before[id], after[id])
			}
		}
	})
	if same == 0 {
		t.Error("no change inside an inner role left what it lends as it was")
	}
}
