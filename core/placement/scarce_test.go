package placement

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
)

// TestNoRaiseIsMissed keeps a dense pool nearly full and looks seldom, so that what shapes and classes remember of a block
// grows old between looks: one node that can hold the task must still be found.
func TestNoRaiseIsMissed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := fullWorld(t)
		look := func(t *rapid.T) {
			c := rapid.SampledFrom(w.shapes).Draw(t, "look")
			s := c.Shape()
			fitting := w.oracle.fitting(&s)
			if got, ok := w.ix.Place(c); ok != (len(fitting) > 0) || ok && !slices.Contains(fitting, got) {
				t.Fatalf("Place(%+v) = %d %v, these fit: %v", s, got, ok, fitting)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"look": look, "look again": look, "set": w.setScarce, "set again": w.setScarce, "set many": w.setMany,
			"cordon": w.cordon, "remove": w.removeNode,
			"add": w.addTask, "drop": w.removeTask, "take": w.takePorts, "give": w.releaseTaken,
			"gang": func(t *rapid.T) {
				_, _ = w.ix.PlaceGang(rapid.SliceOfN(rapid.SampledFrom(w.shapes), 1, 3).Draw(t, "members"))
			},
		})
	})
}

// fullWorld is up to two blocks of nodes with nothing available, one port and at most one task each.
func fullWorld(t *rapid.T) *world {
	w := &world{kinds: resource.NewKinds(), oracle: &oracle{nodes: map[NodeID]*oracleNode{}}}
	w.ix = NewIndex(w.kinds, Options{Sample: rapid.IntRange(1, 2).Draw(t, "sample")})
	crowded := rapid.Bool().Draw(t, "crowded")
	for id := range NodeID(rapid.SampledFrom([]int{1, 3, 20, 90}).Draw(t, "nodes")) {
		n := Node{Name: fmt.Sprint("n", id), Attributes: resource.Attributes{"zone": zones[id%3]}, Capacity: resource.Vector{8, 8}, Schedulable: true}
		n.Ports.Add(8)
		w.ix.Set(id, n)
		w.oracle.nodes[id] = &oracleNode{Node: n, available: n.Capacity, taken: map[uint16]bool{8: true}, tasks: map[string]int{}}
		w.ix.HoldPorts(id, []uint16{8})
		if crowded {
			w.ix.AddTask(id, "web")
			w.oracle.nodes[id].tasks["web"]++
		}
		w.setAmounts(id, resource.Vector{rapid.SampledFrom([]resource.Amount{0, 0, 0, 4}).Draw(t, "cpu"), 0})
	}
	zoneA := []Constraint{{"zone", Equals, []string{"a"}, ""}}
	for _, s := range []Shape{
		{Need: resource.Vector{2, 2}},
		{Need: resource.Vector{1, 1}},
		{Need: resource.Vector{2}, Constraints: zoneA},
		{Need: resource.Vector{3, 1}, Constraints: zoneA},
		{DynamicPorts: 1},
		{HostPorts: []uint16{8}},
		{AntiAffinity: []string{"web"}},
		{Group: "web", Spread: []Spread{{"zone", 1, true}}},
		{Group: "web", Spread: []Spread{{"node", 1, true}}, Need: resource.Vector{1}},
	} {
		c, err := w.ix.Compile(s)
		if err != nil {
			t.Fatal(err)
		}
		w.shapes = append(w.shapes, c)
	}
	return w
}

func (w *world) setAmounts(id NodeID, v resource.Vector) {
	w.ix.SetAvailable(id, v)
	if n := w.oracle.nodes[id]; n != nil {
		n.available = v
	}
}

func (w *world) setScarce(t *rapid.T) {
	amount := rapid.SampledFrom([]resource.Amount{0, 0, 1, 2, 3})
	w.setAmounts(w.drawKnown(t), resource.Vector{amount.Draw(t, "cpu"), amount.Draw(t, "memory")})
}

func (w *world) setMany(t *rapid.T) {
	v := resource.Vector{resource.Amount(rapid.IntRange(0, 2).Draw(t, "cpu")), 0}
	for _, id := range w.oracle.ids() {
		w.setAmounts(id, v)
	}
}

func (w *world) releaseTaken(t *rapid.T) {
	id := w.drawKnown(t)
	w.ix.ReleasePorts(id, []uint16{8})
	if n := w.oracle.nodes[id]; n != nil {
		delete(n.taken, 8)
	}
}

// TestFailureIsForgotten fails once, changes one thing, and must then succeed.
func TestFailureIsForgotten(t *testing.T) {
	empty := resource.Vector{}
	spread := Shape{Need: cpus(1), Group: "web", Spread: []Spread{{"zone", 1, true}}}
	lopsided := func(ix *Index) { // zone b has no task and no room
		ix.Set(1, plainNode(1))
		ix.SetAvailable(1, nil)
		ix.AddTask(0, "web")
	}
	for name, tc := range map[string]struct {
		shape          Shape
		before, change func(ix *Index)
	}{
		"available": {Shape{Need: cpus(1)}, func(ix *Index) { ix.SetAvailable(0, empty) }, func(ix *Index) { ix.SetAvailable(0, cpus(1)) }},
		"cordon":    {Shape{}, func(ix *Index) { ix.SetSchedulable(0, false) }, func(ix *Index) { ix.SetSchedulable(0, true) }},
		"node":      {Shape{}, func(ix *Index) { ix.Remove(0) }, func(ix *Index) { ix.Set(0, plainNode(0)) }},
		"port": {Shape{HostPorts: []uint16{80}}, func(ix *Index) { ix.HoldPorts(0, []uint16{80}) },
			func(ix *Index) { ix.ReleasePorts(0, []uint16{80}) }},
		"anti-affinity": {Shape{AntiAffinity: []string{"web"}}, func(ix *Index) { ix.AddTask(0, "web") },
			func(ix *Index) { ix.RemoveTask(0, "web") }},
		"spread, one task less": {spread, lopsided,
			func(ix *Index) { ix.RemoveTask(0, "web") }},
		"spread, least risen": {spread, lopsided,
			func(ix *Index) { ix.AddTask(1, "web") }},
		"spread, least value gone": {spread, lopsided,
			func(ix *Index) { ix.SetSchedulable(1, false) }},
	} {
		ix := pool(1, Options{})
		c := must(t, ix, tc.shape)
		tc.before(ix)
		if id, ok := ix.Place(c); ok {
			t.Errorf("%s: placed on %d already", name, id)
		}
		tc.change(ix)
		if _, ok := ix.Place(c); !ok {
			t.Errorf("%s: not placed: %s", name, ix.Explain(c))
		}
	}
}

func TestFailedGangIsForgotten(t *testing.T) {
	ix := pool(1, Options{})
	c := must(t, ix, Shape{Need: cpus(5)})
	if got, ok := ix.PlaceGang([]*Compiled{c, c}); ok {
		t.Fatalf("placed on %v", got)
	}
	if _, ok := ix.Place(c); !ok {
		t.Error("what the gang tried is still taken")
	}
}

func TestFullPreferredNodesHideNoOthers(t *testing.T) {
	ix := pool(3*manyNodes, Options{})
	for id := range NodeID(3 * manyNodes) {
		if id%3 == 0 {
			ix.SetAvailable(id, nil)
		}
	}
	for need := range 3 { // the first shape makes the maxima exact, the others trust them
		c := must(t, ix, Shape{Need: cpus(need + 1), Preferences: []Preference{{constraint(t, "zone==a"), 100}}})
		if id, ok := ix.Place(c); !ok || id%3 == 0 {
			t.Errorf("placed on %d, %v", id, ok)
		}
	}
}
