package mesos

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/door"
)

func testNode(name string, cpus int64) *node {
	return &node{name: name, state: "ready", free: amounts{"cpu": resource.Amount(cpus) * resource.Milli, "memory": resource.Amount(cpus) << 30}, offers: map[string]*offer{}}
}

func testContender(id string, below bool) *contender {
	f := newFramework(id)
	return &contender{&subscription{fw: f, role: "a", filters: map[string]filter{}}, &quota{known: true, below: below, room: amounts{}}}
}

// round offers once and lets everybody answer at once; it returns who was offered something.
func round(nodes []*node, cs []*contender, turns *uint64, now time.Time, answer func(grant)) map[*subscription]bool {
	out := map[*subscription]bool{}
	for _, g := range allocate(nodes, append([]*contender(nil), cs...), false, turns, now) {
		out[g.to] = true
		answer(g)
	}
	return out
}

// TestNobodyStarves: of 300 frameworks 290 decline whatever they are offered, with filters or without. Each of the others is
// offered a node after at most as many others as there are.
func TestNobodyStarves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const frameworks, decliners = 300, 290
		var nodes []*node
		for i := range rapid.IntRange(1, 20).Draw(t, "nodes") {
			nodes = append(nodes, testNode(fmt.Sprintf("n%02d", i), int64(rapid.IntRange(1, 8).Draw(t, "cpus"))))
		}
		var cs []*contender
		takers := map[*subscription]bool{}
		seed := rapid.Permutation(seq(frameworks)).Draw(t, "order")
		for i, n := range seed {
			c := testContender(fmt.Sprintf("f%03d", n), false)
			cs = append(cs, c)
			if i >= decliners {
				takers[c.subscription] = true
			}
		}
		refuse := time.Duration(rapid.IntRange(0, 120).Draw(t, "refuse")) * time.Second
		now, turns := time.Unix(1000, 0), uint64(0)
		waiting := len(takers)
		rounds := 0
		for ; waiting > 0; rounds++ {
			if rounds > (frameworks+len(nodes)-1)/len(nodes) {
				t.Fatalf("after %d rounds on %d nodes %d takers were offered nothing", rounds, len(nodes), waiting)
			}
			offered := round(nodes, cs, &turns, now, func(g grant) {
				if !takers[g.to] && refuse > 0 {
					g.to.filters[g.node.name] = filter{plus(g.regular, g.revocable), now.Add(refuse)}
				}
			})
			for s := range offered {
				if takers[s] {
					delete(takers, s)
					waiting--
				}
			}
			now = now.Add(time.Millisecond)
		}
	})
}

func seq(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// TestGuaranteesFirst: whoever is below its guarantee is offered before others, whoever waited longer.
func TestGuaranteesFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var cs []*contender
		below := 0
		for i := range rapid.IntRange(1, 20).Draw(t, "contenders") {
			b := rapid.Bool().Draw(t, "below")
			c := testContender(fmt.Sprint(i), b)
			c.idle = amounts{"cpu": 100 * resource.Milli, "memory": 1 << 40}
			c.turn = rapid.Uint64Range(0, 10).Draw(t, "turn")
			if b {
				below++
			}
			cs = append(cs, c)
		}
		var nodes []*node
		for i := range rapid.IntRange(1, 20).Draw(t, "nodes") {
			nodes = append(nodes, testNode(fmt.Sprint(i), 1))
		}
		turns := uint64(10)
		got := allocate(nodes, append([]*contender(nil), cs...), false, &turns, time.Unix(0, 0))
		if len(got) != len(nodes) {
			t.Fatalf("%d nodes, %d grants", len(nodes), len(got))
		}
		for i, g := range got {
			for _, c := range cs {
				if below > 0 && c.subscription == g.to && !c.below {
					t.Fatalf("grant %d goes to %s, which is not below its guarantee", i, g.to.fw.id)
				}
			}
		}
	})
}

// TestExclusiveOffers: what is granted at once never exceeds a node, nor a role's room, and a filter hides only what is
// within what was refused.
func TestExclusiveOffers(t *testing.T) {
	now := time.Unix(1000, 0)
	n, c := testNode("n", 4), testContender("f", false)
	c.filters["n"] = filter{amounts{"cpu": 4 * resource.Milli, "memory": 4 << 30}, now.Add(time.Second)}
	turns := uint64(0)
	if got := allocate([]*node{n}, []*contender{c}, false, &turns, now); len(got) != 0 {
		t.Errorf("a filter hides nothing: %v", got)
	}
	n.free["cpu"]++
	if got := allocate([]*node{n}, []*contender{c}, false, &turns, now); len(got) != 1 {
		t.Errorf("more than what was refused is hidden: %v", got)
	}
	c.room = amounts{"cpu": resource.Milli}
	got := allocate([]*node{n, testNode("m", 4)}, []*contender{c}, false, &turns, now)
	total := amounts{}
	for _, g := range got {
		total = plus(total, g.regular)
	}
	if total["cpu"] != resource.Milli {
		t.Errorf("a role with room for 1 cpu is offered %v", total)
	}
	both := allocate([]*node{testNode("n", 4)}, []*contender{testContender("a", false), testContender("b", false)}, true, &turns, now)
	if len(both) != 2 {
		t.Errorf("optimistic offers go to %d of 2", len(both))
	}
}

// BenchmarkAllocate offers 10,000 nodes to 300 frameworks from a cold start.
func BenchmarkAllocate(b *testing.B) {
	var nodes []*node
	for i := range 10_000 {
		nodes = append(nodes, testNode(fmt.Sprintf("n%05d", i), 4))
	}
	var cs []*contender
	for i := range 300 {
		cs = append(cs, testContender(fmt.Sprintf("f%03d", i), false))
	}
	for b.Loop() {
		turns := uint64(0)
		for _, c := range cs {
			c.turn = 0
		}
		if got := allocate(nodes, append([]*contender(nil), cs...), false, &turns, time.Unix(0, 0)); len(got) != len(nodes) {
			b.Fatal(len(got))
		}
	}
}

// TestLookAgain: nodes that are to be looked at a little later, because they just were, are not forgotten.
func TestLookAgain(t *testing.T) {
	now := time.Unix(1000, 0)
	d, err := New(Config{API: &door.API{}, Addr: "127.0.0.1:1", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	d.ready, d.anew, d.anewAt = true, true, now.Add(choresRest/2)
	if rest := d.turn(); rest > choresRest || !d.anew {
		t.Errorf("the next look is in %v", rest)
	}
	now = now.Add(choresRest)
	if d.turn(); d.anew {
		t.Error("they were not looked at")
	}
}

// TestLookInParts: many nodes are looked at in parts, each node once, by name; what changes meanwhile comes after them.
func TestLookInParts(t *testing.T) {
	d, err := New(Config{API: &door.API{}, Addr: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	const nodes = 2*mostAtOnce + mostAtOnce/2
	for i := range nodes {
		d.order = append(d.order, testNode(fmt.Sprintf("n%05d", i), 1))
	}
	first := d.order[0]
	d.anew = true
	var seen []*node
	for part := 1; len(seen) < nodes; part++ {
		got := d.lookedAt(time.Unix(1000, 0))
		if len(got) == 0 || len(got) > mostAtOnce {
			t.Fatalf("part %d are %d nodes", part, len(got))
		}
		seen = append(seen, got...)
		d.fresh[first] = struct{}{}
	}
	if !slices.Equal(seen, d.order) || len(d.unseen) > 0 {
		t.Errorf("%d nodes were looked at and %d are left, in another order or not once each", len(seen), len(d.unseen))
	}
	if got := d.lookedAt(time.Unix(1000, 0)); len(got) != 1 || got[0] != first {
		t.Errorf("after them come %d nodes", len(got))
	}
}
