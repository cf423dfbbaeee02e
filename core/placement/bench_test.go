package placement

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"polder.dev/polder/core/resource"
)

// fleet is n nodes of four kinds in 3 zones and n/40 racks, each partly used; the same for every run.
func fleet(b *testing.B, n int, o Options) (*Index, []resource.Vector) {
	b.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	ix, available := NewIndex(resource.NewKinds(), o), make([]resource.Vector, n)
	for i := range n {
		node := Node{
			Name:        fmt.Sprintf("node-%d", i),
			Attributes:  resource.Attributes{"zone": zones[i%3], "rack": fmt.Sprint(i / 40)},
			Capacity:    resource.Vector{64 * resource.Milli, 256 << 30, 2 << 40, resource.Amount(i%10/9) * 8 * resource.Milli},
			Schedulable: true,
		}
		node.Ports.AddRange(resource.PortRange{First: 30000, Last: 32767})
		ix.Set(NodeID(i), node)
		available[i] = node.Capacity.Clone(0)
		available[i].Dec(resource.Vector{resource.Amount(r.IntN(56)) * resource.Milli, resource.Amount(r.IntN(200)) << 30})
		ix.SetAvailable(NodeID(i), available[i])
	}
	return ix, available
}

// cpuTime reports the processor time of an operation, which neighbours on a busy machine disturb less than the clock.
func cpuTime(b *testing.B) func() {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") }
}

var benchNeed = resource.Vector{resource.Milli, 4 << 30, 1 << 30}

// churn places tasks and takes the oldest away again, so that the fleet stays as full as it is.
func churn(b *testing.B, ix *Index, available []resource.Vector, shapes []*Compiled, group string) {
	const window = 10000
	running := make([]NodeID, window)
	full, missed := 0, 0
	b.ReportAllocs()
	b.ResetTimer()
	defer cpuTime(b)()
	for i := range b.N {
		if old := running[i%window]; full == window {
			available[old].Inc(benchNeed)
			ix.SetAvailable(old, available[old])
			ix.RemoveTask(old, group)
		} else {
			full++
		}
		id, ok := ix.Place(shapes[i%len(shapes)])
		if !ok {
			missed++
			full = i % window
			continue
		}
		running[i%window] = id
		available[id].Dec(benchNeed)
		ix.SetAvailable(id, available[id])
		ix.AddTask(id, group)
	}
	if missed > 0 {
		b.ReportMetric(float64(missed)/float64(b.N), "missed/op")
	}
}

func BenchmarkPlace(b *testing.B) {
	for _, n := range []int{1000, 10000, 50000} {
		for _, s := range []Strategy{Pack, Even} {
			b.Run(fmt.Sprintf("plain/%d/%s", n, s), func(b *testing.B) {
				ix, available := fleet(b, n, Options{Strategy: s})
				churn(b, ix, available, []*Compiled{must(b, ix, Shape{Need: benchNeed})}, "")
			})
		}
	}
	zone, ssd := constraint(b, "zone==a"), constraint(b, "rack in (7,8,9)")
	for name, s := range map[string]Shape{
		"zone":       {Need: benchNeed, Constraints: []Constraint{zone}},
		"preference": {Need: benchNeed, Preferences: []Preference{{ssd, 50}}},
		"ports":      {Need: benchNeed, DynamicPorts: 2},
		"hardzone":   {Need: benchNeed, Group: "web", Spread: []Spread{{"zone", 1, true}}},
		"softrack":   {Need: benchNeed, Group: "web", Spread: []Spread{{"rack", 1, false}}},
		"hardnode":   {Need: benchNeed, Group: "web", Spread: []Spread{{"node", 3, true}}},
		"crowded":    {Need: benchNeed, Group: "web", Spread: []Spread{{"node", 1, true}}},
		"everything": {Need: benchNeed, Group: "web", Constraints: []Constraint{zone}, Preferences: []Preference{{ssd, 50}},
			Spread: []Spread{{"rack", 1, true}, {"node", 1, false}}, AntiAffinity: []string{"db"}, HostPorts: []uint16{30000}},
	} {
		b.Run(name+"/10000", func(b *testing.B) {
			ix, available := fleet(b, 10000, Options{})
			churn(b, ix, available, []*Compiled{must(b, ix, s)}, s.Group)
		})
	}
	b.Run("manyshapes/10000", func(b *testing.B) {
		ix, available := fleet(b, 10000, Options{})
		var shapes []*Compiled
		for i := range 500 {
			rack := constraint(b, fmt.Sprintf("rack not in (%d)", i))
			shapes = append(shapes, must(b, ix, Shape{Need: benchNeed, Constraints: []Constraint{rack}}))
		}
		churn(b, ix, available, shapes, "")
	})
}

// BenchmarkPlaceNearlyFull has one node in 500 with room; BenchmarkPlaceNone has none, in kinds that never meet.
func BenchmarkPlaceNearlyFull(b *testing.B) {
	ix, available := fleet(b, 10000, Options{})
	for i := range available {
		if i%500 != 499 {
			available[i] = resource.Vector{}
			ix.SetAvailable(NodeID(i), nil)
		}
	}
	c := must(b, ix, Shape{Need: benchNeed})
	b.ReportAllocs()
	b.ResetTimer()
	defer cpuTime(b)()
	for range b.N {
		id, ok := ix.Place(c)
		if !ok {
			b.Fatal("no place")
		}
		left := available[id].Minus(benchNeed)
		ix.SetAvailable(id, left)
		ix.SetAvailable(id, available[id])
	}
}

func BenchmarkPlaceNone(b *testing.B) {
	ix, available := fleet(b, 10000, Options{})
	for i, v := range available {
		v[i%2] = 0 // no cpu here, no memory there
		ix.SetAvailable(NodeID(i), v)
	}
	c := must(b, ix, Shape{Need: benchNeed})
	b.ReportAllocs()
	b.ResetTimer()
	defer cpuTime(b)()
	for i := range b.N {
		v := available[i%10000]
		v[2]++
		ix.SetAvailable(NodeID(i%10000), v) // a raise: failing before proves nothing now
		if _, ok := ix.Place(c); ok {
			b.Fatal("a place")
		}
	}
}

func BenchmarkPlaceGang(b *testing.B) {
	ix, _ := fleet(b, 10000, Options{})
	c := must(b, ix, Shape{Need: benchNeed, Group: "g", AntiAffinity: []string{"g"}})
	members := make([]*Compiled, 64)
	for i := range members {
		members[i] = c
	}
	b.ReportAllocs()
	defer cpuTime(b)()
	for b.Loop() {
		if _, ok := ix.PlaceGang(members); !ok {
			b.Fatal("no place")
		}
	}
}

func BenchmarkExplain(b *testing.B) {
	ix, _ := fleet(b, 10000, Options{})
	c := must(b, ix, Shape{Need: resource.Vector{65 * resource.Milli}, Constraints: []Constraint{constraint(b, "zone==a")}})
	defer cpuTime(b)()
	for b.Loop() {
		_ = ix.Explain(c)
	}
}

func BenchmarkCompileNewConstraint(b *testing.B) {
	ix, _ := fleet(b, 10000, Options{})
	defer cpuTime(b)()
	for i := range b.N {
		c := must(b, ix, Shape{Need: benchNeed, Constraints: []Constraint{{"rack", NotEquals, []string{fmt.Sprint(i)}, ""}}})
		ix.Release(c)
	}
}
