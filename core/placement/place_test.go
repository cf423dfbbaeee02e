package placement

import (
	"fmt"
	"strings"
	"testing"

	"polder.dev/polder/core/resource"
)

// pool is an index of n nodes with 8 cpu and 32 GiB each, in zones a, b, c by turns.
func pool(n int, o Options) *Index {
	ix := NewIndex(resource.NewKinds(), o)
	for i := range n {
		ix.Set(NodeID(i), plainNode(i))
	}
	return ix
}

func plainNode(i int) Node {
	n := Node{
		Name: fmt.Sprintf("node-%d", i), Attributes: resource.Attributes{"zone": zones[i%3]},
		Capacity: resource.Vector{8 * resource.Milli, 32 << 30}, Schedulable: true,
	}
	n.Ports.AddRange(resource.PortRange{First: 80, Last: 89})
	n.Ports.AddRange(resource.PortRange{First: 30000, Last: 30009})
	return n
}

func cpus(n int) resource.Vector { return resource.Vector{resource.Amount(n) * resource.Milli} }

func must(t testing.TB, ix *Index, s Shape) *Compiled {
	t.Helper()
	c, err := ix.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func constraint(t testing.TB, s string) Constraint {
	t.Helper()
	c, err := ParseConstraint(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestExplainSentence(t *testing.T) {
	ix := pool(10, Options{})
	for i := range 10 {
		ix.SetAvailable(NodeID(i), cpus(2))
	}
	ix.SetAvailable(6, cpus(3))
	ix.SetSchedulable(9, false)
	c := must(t, ix, Shape{Need: cpus(4), Constraints: []Constraint{constraint(t, "zone!=b")}})
	e := ix.Explain(c)
	want := "0 of 10 nodes fit: 6 lack cpu (asked 4, most free 3 on node-6), 3 are not zone!=b, 1 is cordoned or away"
	if e.String() != want || e.Reason != ReasonResources {
		t.Errorf("%s (%s)\nwant %s", e, e.Reason, want)
	}
}

func TestExplainEveryReason(t *testing.T) {
	for _, tc := range []struct {
		name  string
		shape Shape
		do    func(*Index)
		want  string
	}{
		{"none", Shape{}, func(ix *Index) { ix.Remove(0) }, "no node has joined the pool"},
		{"fits", Shape{}, func(*Index) {}, "1 of 1 node fits"},
		{"port", Shape{HostPorts: []uint16{80}}, func(ix *Index) { ix.HoldPorts(0, []uint16{80}) }, "1 has no free port 80"},
		{"dynamic", Shape{DynamicPorts: 30}, func(*Index) {}, "1 has fewer than 30 ports free"},
		{"spread", Shape{Group: "web", Spread: []Spread{{"rack", 1, true}}}, func(*Index) {}, "1 would break the spread over rack (at most 1 apart)"},
		{"anti", Shape{AntiAffinity: []string{"web"}}, func(ix *Index) { ix.AddTask(0, "web") }, "1 already runs group web"},
		{"memory", Shape{Need: resource.Vector{0, 64 << 30}}, func(*Index) {}, "1 lacks memory (asked 64Gi, most free 32Gi on node-0)"},
	} {
		ix := pool(1, Options{})
		tc.do(ix)
		if got := ix.Explain(must(t, ix, tc.shape)).String(); !strings.HasSuffix(got, tc.want) {
			t.Errorf("%s: %s; want %s", tc.name, got, tc.want)
		}
	}
}

func TestImpossible(t *testing.T) {
	ix := pool(3, Options{})
	ix.SetAvailable(0, nil)
	ix.SetSchedulable(0, false)
	for _, tc := range []struct {
		shape Shape
		want  string
	}{
		{Shape{Need: cpus(8)}, ""},
		{Shape{Need: cpus(9)}, "no node could hold it even when empty; of 3 nodes 3 lack cpu (asked 9, largest 8 on node-0)"},
		{Shape{HostPorts: []uint16{79}}, "no node could hold it even when empty; of 3 nodes 3 have no free port 79"},
		{Shape{Constraints: []Constraint{constraint(t, "zone==d")}}, "no node could hold it even when empty; of 3 nodes 3 are not zone==d"},
	} {
		why, no := ix.Impossible(must(t, ix, tc.shape))
		if why != tc.want || no != (tc.want != "") {
			t.Errorf("%q %v; want %q", why, no, tc.want)
		}
	}
	empty := NewIndex(resource.NewKinds(), Options{})
	if why, no := empty.Impossible(must(t, empty, Shape{Need: cpus(1)})); no {
		t.Errorf("impossible without nodes: %q", why)
	}
}

func TestPackFillsAndEvenSpreads(t *testing.T) {
	for _, tc := range []struct {
		strategy Strategy
		used     int
	}{{Pack, 3}, {Even, 12}} {
		ix := pool(12, Options{Strategy: tc.strategy, Sample: 4})
		c, used := must(t, ix, Shape{Need: cpus(2)}), map[NodeID]int{}
		for range 12 {
			id, ok := ix.Place(c)
			if !ok {
				t.Fatal("no place")
			}
			used[id]++
			ix.SetAvailable(id, resource.Vector{cpus(8 - 2*used[id])[0], 32 << 30})
		}
		if len(used) != tc.used {
			t.Errorf("%s used %d nodes, want %d: %v", tc.strategy, len(used), tc.used, used)
		}
	}
}

func TestCPUWorkStaysOffGPUNodes(t *testing.T) {
	for _, s := range []Strategy{Pack, Even} {
		ix := pool(4, Options{Strategy: s})
		ix.Remove(0)
		ix.Set(0, Node{Name: "gpu", Capacity: resource.Vector{8 * resource.Milli, 32 << 30, 0, 4 * resource.Milli}, Schedulable: true})
		if id, _ := ix.Place(must(t, ix, Shape{Need: cpus(1)})); id == 0 {
			t.Errorf("%s: a cpu task went to the gpu node", s)
		}
	}
}

func TestPreferenceFindsTheRareNode(t *testing.T) {
	ix := pool(500, Options{})
	c := must(t, ix, Shape{Need: cpus(1), Preferences: []Preference{{constraint(t, "node==node-444"), 100}}})
	if id, _ := ix.Place(c); id != 444 {
		t.Errorf("placed on %d", id)
	}
	ix.SetAvailable(444, nil)
	if id, ok := ix.Place(c); !ok || id == 444 {
		t.Errorf("with the preferred node full: %d %v", id, ok)
	}
}

// TestPassing: what may be over by itself refuses a node, in its own words, and makes nothing impossible.
func TestPassing(t *testing.T) {
	ix := NewIndex(resource.NewKinds(), Options{})
	ix.Set(0, Node{Name: "n0", Attributes: map[string]string{"engine": "away"}, Capacity: cpus(4), Schedulable: true})
	ix.SetAvailable(0, cpus(4))
	c := must(t, ix, Shape{Need: cpus(1), Constraints: []Constraint{{"engine", NotEquals, []string{"away"}, "the engine does not answer"}}})
	if id, ok := ix.Place(c); ok {
		t.Errorf("placed on %d", id)
	}
	if e := ix.Explain(c); e.Reason != ReasonConstraint || !strings.Contains(e.String(), "on 1 the engine does not answer") {
		t.Errorf("explained as %q", e)
	}
	if why, bad := ix.Impossible(c); bad {
		t.Errorf("impossible: %s", why)
	}
	lasting := must(t, ix, Shape{Need: cpus(1), Constraints: []Constraint{{"engine", NotEquals, []string{"away"}, "the engine does not answer"}, {"zone", Exists, nil, ""}}})
	if why, bad := ix.Impossible(lasting); !bad || !strings.Contains(why, "lacks zone") {
		t.Errorf("no zone: %v, %q", bad, why)
	}
}

func TestSpread(t *testing.T) {
	for _, hard := range []bool{true, false} {
		ix := pool(9, Options{})
		c := must(t, ix, Shape{Need: cpus(1), Group: "web", Spread: []Spread{{"zone", 1, hard}}})
		perZone := [3]int{}
		for range 9 {
			id, ok := ix.Place(c)
			if !ok {
				t.Fatal("no place")
			}
			perZone[id%3]++
			ix.AddTask(id, "web")
		}
		if perZone != [3]int{3, 3, 3} {
			t.Errorf("hard %v: per zone %v", hard, perZone)
		}
		ix.AddTask(0, "web")
		for _, id := range []NodeID{1, 2, 4, 5, 7, 8} {
			ix.SetAvailable(id, nil)
		}
		if id, ok := ix.Place(c); ok == hard {
			t.Errorf("hard %v, only zone a has room: %d %v", hard, id, ok)
		}
	}
}

func TestDynamicPortsComeLast(t *testing.T) {
	ix := pool(1, Options{})
	must(t, ix, Shape{HostPorts: []uint16{30000}})
	got, ok := ix.TakePorts(0, []uint16{81}, 10)
	if want := "[81 30001 30002 30003 30004 30005 30006 30007 30008 30009 80]"; !ok || fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if _, ok := ix.TakePorts(0, []uint16{82, 82}, 0); ok {
		t.Error("took a port twice")
	}
}

func TestGangUndoesEverything(t *testing.T) {
	ix := pool(2, Options{})
	c := must(t, ix, Shape{Need: cpus(5), HostPorts: []uint16{80}, Group: "g", AntiAffinity: []string{"g"}})
	before := fmt.Sprint(ix.avail, ix.free, ix.improved)
	for size, want := range map[int]bool{2: true, 3: false} {
		members := []*Compiled{c, c, c}[:size]
		if got, ok := ix.PlaceGang(members); ok != want {
			t.Errorf("gang of %d: %v %v", size, got, ok)
		}
	}
	if after := fmt.Sprint(ix.avail, ix.free, ix.improved); after != before || ix.groups["g"].total != 0 {
		t.Errorf("a gang left traces: %s, was %s", after, before)
	}
}

func TestShapeRefuses(t *testing.T) {
	for want, s := range map[string]Shape{
		"max skew 0":             {Group: "g", Spread: []Spread{{"zone", 0, true}}},
		"belongs to no group":    {Spread: []Spread{{"zone", 1, true}}},
		"spread over \"Zone\"":   {Group: "g", Spread: []Spread{{"Zone", 1, true}}},
		"host port 0":            {HostPorts: []uint16{0}},
		"80 is given twice":      {HostPorts: []uint16{80, 81, 80}},
		"-1 is less than 0":      {DynamicPorts: -1},
		"group has no name":      {AntiAffinity: []string{""}},
		"weight 0":               {Preferences: []Preference{{Constraint{"zone", Exists, nil, ""}, 0}}},
		"is no operator":         {Constraints: []Constraint{{"zone", "~", nil, ""}}},
		"takes 1 to 1 values":    {Constraints: []Constraint{{"zone", Equals, nil, ""}}},
		"65 constraints":         {Constraints: make([]Constraint, 65)},
		"17 preferences":         {Preferences: make([]Preference, 17)},
		"9 spread rules":         {Spread: make([]Spread, 9)},
		"65 anti-affinity":       {AntiAffinity: make([]string, 65)},
		"257 host ports":         {HostPorts: make([]uint16, 257)},
		"constraint on \"\": na": {Preferences: []Preference{{Constraint{}, 1}}},
	} {
		ix := pool(1, Options{})
		if _, err := ix.Compile(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %q", s, err, want)
		}
	}
}

func TestPlaceDoesNotAllocate(t *testing.T) {
	ix := pool(300, Options{})
	c := must(t, ix, Shape{
		Need: cpus(1), HostPorts: []uint16{80}, Group: "web", AntiAffinity: []string{"db"},
		Constraints: []Constraint{constraint(t, "zone in (a,b)")},
		Preferences: []Preference{{constraint(t, "zone==b"), 10}},
		Spread:      []Spread{{"zone", 1, true}, {"node", 2, false}},
	})
	full := cpus(7)
	if n := testing.AllocsPerRun(100, func() {
		id, _ := ix.Place(c)
		ix.SetAvailable(id, full)
		ix.Fits(c, id)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
