package cluster

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
)

// busyNode is a node of a pool of its own.
func busyNode(cpus int) (*pool, *node) {
	w := newWorld(simplePlan("a 1 -"))
	w.c.Step(Register{Node: NodeInfo{Name: "n", Capacity: cpu(cpus)}}, w.now)
	n := w.c.nodes["n"]
	return n.pool, n
}

// run puts a task of one kind on a node, leaving at a time, for ever when that is never.
func (n *node) run(need resource.Amount, deadline time.Time) *task {
	u := &unit{pool: n.pool, leaving: deadline != never}
	t := &task{id: fmt.Sprint(len(n.tasks)), node: n, unit: u, need: resource.Vector{need}, notice: &notice{by: deadline}}
	u.tasks = []*task{t}
	n.tasks = append(n.tasks, t)
	n.used.Inc(t.need)
	n.sort(t)
	return t
}

// naiveSpare is what a node can spare, from the definition: the least, at the instant and at every later one at which a claim must
// have something, of what is free or has left by then less what claims must have by then.
func naiveSpare(n *node, by time.Time, but *claim) resource.Amount {
	left := func(at time.Time) resource.Amount {
		sum := n.total[0] - n.used[0]
		for _, t := range n.tasks {
			if t.unit.planned || t.unit.leaving && t.notice != nil && !t.notice.by.After(at) {
				sum += t.need[0]
			}
		}
		for _, k := range n.keeps {
			if !k.by.After(at) && (but == nil || k.claim != but) {
				sum -= k.need[0]
			}
		}
		return sum
	}
	least := left(by)
	for _, k := range n.keeps {
		if k.by.After(by) {
			least = min(least, left(k.by))
		}
	}
	return least
}

// TestSpareBy: whatever runs, leaves, is planned to leave or is kept on a node, and whichever deadline moves, what it can spare is what
// the definition says.
func TestSpareBy(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, n := busyNode(40)
		at := func(label string) time.Time {
			return epoch.Add(time.Duration(rapid.IntRange(0, 9).Draw(rt, label)) * time.Second)
		}
		claims := []*claim{{}, {}, {}}
		for range rapid.IntRange(0, 30).Draw(rt, "acts") {
			switch act := rapid.IntRange(0, 5).Draw(rt, "act"); {
			case act == 0:
				n.run(resource.Amount(rapid.IntRange(1, 3).Draw(rt, "need")), never)
			case act == 1:
				n.run(resource.Amount(rapid.IntRange(1, 3).Draw(rt, "need")), at("deadline"))
			case act == 2:
				p.earmark(n.id, keep{rapid.SampledFrom(claims).Draw(rt, "claim"), at("by"), resource.Vector{resource.Amount(rapid.IntRange(1, 3).Draw(rt, "kept"))}})
			case act == 3 && len(n.tasks) > 0:
				u := rapid.SampledFrom(n.tasks).Draw(rt, "planned").unit
				u.plan(!u.planned)
			case act == 4 && len(n.going) > 0:
				rapid.SampledFrom(n.going).Draw(rt, "later").notice.by = at("moved")
			case act == 5 && len(n.keeps) > 0:
				p.unmark(n.id, rapid.SampledFrom(n.keeps).Draw(rt, "unmarked").claim)
			}
			by, but := at("when"), rapid.SampledFrom([]*claim{nil, claims[0]}).Draw(rt, "but")
			if got, want := n.spareBy(by, but)[0], naiveSpare(n, by, but); got != want {
				rt.Fatalf("it can spare %d by %s, the definition says %d", got, by.Format("05"), want)
			}
			before := n.available()[0]
			p.c.now = later(p.c.now, by)
			if after := n.available()[0]; after > before {
				rt.Fatalf("%d is available, and %d when nothing but time has passed: nobody would look", before, after)
			}
		}
	})
}

// BenchmarkRefresh tells the index what is to be had of a node on which so many tasks run and leave, and so much is kept for claims.
func BenchmarkRefresh(b *testing.B) {
	for _, c := range []struct{ stay, leave, keeps int }{{16, 0, 0}, {256, 0, 0}, {16, 2, 2}, {256, 2, 2}, {16, 32, 32}, {256, 128, 128}} {
		b.Run(fmt.Sprintf("tasks=%d/leaving=%d/keeps=%d", c.stay, c.leave, c.keeps), func(b *testing.B) {
			p, n := busyNode(1000)
			for range c.stay {
				n.run(1, never)
			}
			for i := range c.leave {
				n.run(1, epoch.Add(time.Duration(i)*time.Second))
			}
			for i := range c.keeps {
				p.earmark(placement.NodeID(0), keep{&claim{}, epoch.Add(time.Duration(i) * time.Second), resource.Vector{1}})
			}
			b.ReportAllocs()
			for b.Loop() {
				n.refresh()
			}
		})
	}
}
