package cluster

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// shop is a cluster of the standard benchmark shape: nodes of five classes, 12 × 5 × 5 roles, guarantees on 60 % of the leaves
// that add up to 90 % of the capacity.
func shop(b *testing.B, nodes int) (*Cluster, []string) {
	rng := rand.New(rand.NewPCG(1, 2))
	c := New()
	now := epoch
	total := resource.Amount(0)
	var infos []NodeInfo
	for i := range nodes {
		cpus := []int{16, 16, 16, 16, 32, 32, 32, 64, 64, 96}[i%10]
		infos = append(infos, NodeInfo{Name: fmt.Sprintf("n%05d", i), Capacity: resource.Resources{
			"cpu": resource.Amount(cpus) * resource.Milli, "memory": resource.Amount(cpus) * 4 << 30}})
		total += resource.Amount(cpus) * resource.Milli
	}
	plan := &role.Plan{Roles: map[string]role.RoleSpec{}}
	var leaves []string
	perLeaf := total.MulDiv(9, 10*180)
	for i := range 12 {
		top := fmt.Sprintf("t%02d", i)
		for j := range 5 {
			mid := fmt.Sprintf("%s/m%d", top, j)
			for k := range 5 {
				leaf := fmt.Sprintf("%s/l%d", mid, k)
				leaves = append(leaves, leaf)
				if k < 3 {
					plan.Roles[leaf] = role.RoleSpec{Guarantee: resource.Resources{"cpu": perLeaf, "memory": perLeaf.MulDiv(4<<30, 1000)}}
				} else {
					plan.Roles[leaf] = role.RoleSpec{}
				}
			}
		}
	}
	step := func(e Event) {
		if _, err := c.Step(e, now); err != nil {
			b.Fatal(err)
		}
	}
	step(SetPlan{plan, 1})
	for _, n := range infos {
		step(Register{Node: n})
	}
	_ = rng
	return c, leaves
}

// BenchmarkFill fills the nodes to 90 % from 300 leaves with tasks of 1 cpu and 4 GiB; the figure is per placement.
func BenchmarkFill(b *testing.B) {
	for _, nodes := range []int{1000, 10000} {
		for _, backlog := range []string{"wide", "deep"} {
			b.Run(fmt.Sprintf("nodes=%d/%s", nodes, backlog), func(b *testing.B) {
				for range b.N {
					b.StopTimer()
					c, leaves := shop(b, nodes)
					placed := 0
					b.StartTimer()
					start := time.Now()
					each := nodes * 30 * 9 / 10 / len(leaves)
					for i, leaf := range leaves {
						n := each
						if backlog == "deep" {
							if n = each / 2; i == 0 {
								n = each * len(leaves) / 2
							}
						}
						spec := AskSpec{ID: fmt.Sprintf("a%d", i), Role: leaf, Count: n, Shape: Shape{Resources: resource.Resources{"cpu": 1000, "memory": 4 << 30}}}
						if _, err := c.Step(Submit{spec}, epoch); err != nil {
							b.Fatal(err)
						}
					}
					c.Step(Tick{}, epoch)
					placed = len(c.Tasks())
					b.StopTimer()
					b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(placed), "ns/placement")
					b.ReportMetric(float64(placed), "placed")
				}
			})
		}
	}
}

// BenchmarkRoles lists the accounts of 500 roles with 40,000 tasks.
func BenchmarkRoles(b *testing.B) {
	var lines []string
	for i := range 500 {
		lines = append(lines, fmt.Sprintf("t%d/r%d 1 -", i%20, i))
	}
	w := newWorld(simplePlan(lines...))
	for i := range 2000 {
		w.c.Step(Register{Node: NodeInfo{Name: fmt.Sprintf("n%05d", i), Capacity: cpu(20)}}, w.now)
	}
	for i := range 500 {
		w.c.Step(Submit{askFor(fmt.Sprintf("x%d", i), fmt.Sprintf("t%d/r%d", i%20, i), 80, 1)}, w.now)
	}
	w.c.Step(Tick{}, w.now)
	for b.Loop() {
		w.c.Roles()
	}
}

// BenchmarkAsk reads an ask that waits among 10,000 nodes.
func BenchmarkAsk(b *testing.B) {
	w := newWorld(simplePlan("a 10 -"))
	for i := range 10000 {
		w.c.Step(Register{Node: NodeInfo{Name: fmt.Sprintf("n%05d", i), Capacity: cpu(5)}}, w.now)
	}
	w.c.Step(Submit{askFor("filler", "a", 10000, 4)}, w.now)
	w.c.Step(Submit{askFor("x", "a", 1, 5)}, w.now)
	w.c.Step(Tick{}, w.now)
	for b.Loop() {
		w.c.Ask("x")
	}
}

// BenchmarkFragmented decides, after one task has ended, for a claim of a whole node when every node runs four borrowed tasks
// of a fifth each: no two of which may be asked back for one claim.
func BenchmarkFragmented(b *testing.B) {
	for _, nodes := range []int{100, 400, 1600} {
		for _, gang := range []int{1, 8} {
			b.Run(fmt.Sprintf("nodes=%d/gang=%d", nodes, gang), func(b *testing.B) {
				w := newWorld(simplePlan(fmt.Sprintf("a %d -", nodes*2), "b 0 - - 10s"))
				for i := range nodes {
					w.c.Step(Register{Node: NodeInfo{Name: fmt.Sprintf("n%05d", i), Capacity: cpu(5)}}, w.now)
				}
				w.c.Step(Submit{askFor("batch", "b", nodes*5, 1)}, w.now)
				w.c.Step(Tick{}, w.now)
				var fifth []TaskView
				per := map[string]int{}
				for _, v := range w.c.Tasks() {
					if per[v.Node]++; per[v.Node] == 5 {
						fifth = append(fifth, v)
					}
				}
				end := func(v TaskView) {
					w.c.Step(Report{v.Node, TaskReport{Assignment: Assignment{Task: v.Task}, State: Succeeded}}, w.now)
				}
				for _, v := range fifth[1:] {
					end(v)
				}
				spec := askFor("whole", "a", gang, 5)
				spec.Gang = gang > 1
				w.c.Step(Submit{spec}, w.now)
				w.c.Step(Tick{}, w.now)
				end(fifth[0])
				w.now = w.now.Add(6 * time.Second)
				for b.Loop() {
					w.c.pools[0].opened()
					w.c.Step(Tick{}, w.now)
				}
				if n := len(w.c.Notices()); n > 0 {
					b.Fatalf("%d notices for a claim that cannot be served", n)
				}
			})
		}
	}
}

// BenchmarkBooking books 27,000 leases on 1,000 nodes that began in one turn, when time goes on.
func BenchmarkBooking(b *testing.B) {
	for range b.N {
		b.StopTimer()
		c, leaves := shop(b, 1000)
		for i, leaf := range leaves {
			spec := AskSpec{ID: fmt.Sprintf("a%d", i), Role: leaf, Count: 90, Shape: Shape{Resources: resource.Resources{"cpu": 1000, "memory": 4 << 30}}}
			c.Step(Submit{spec}, epoch)
		}
		c.Step(Tick{}, epoch)
		b.StartTimer()
		start := time.Now()
		c.keepBooks(epoch.Add(time.Second))
		b.StopTimer()
		b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(len(c.Tasks())), "ns/lease")
	}
}

// BenchmarkCommit claims places on 1,000 nodes that stay nine tenths full, 25 in a commit: an operation is 250 claims and the decision
// after them, where as many tasks have ended before. The figure for a claim is processor time of the thread that decides, without what
// the collector does beside it: it can be compared on machines with other work.
func BenchmarkCommit(b *testing.B) {
	const each, claims = 90, 250
	c, leaves := shop(b, 1000)
	one := Shape{Resources: resource.Resources{"cpu": 1000, "memory": 4 << 30}}
	now := epoch
	for i, leaf := range leaves {
		c.Step(Submit{AskSpec{ID: fmt.Sprintf("a%d", i), Role: leaf, Count: each, Shape: one}}, now)
	}
	c.Step(Tick{}, now)
	run := c.Tasks()
	var took time.Duration
	runtime.LockOSThread()
	b.ReportAllocs()
	b.ResetTimer()
	for round := range b.N {
		b.StopTimer()
		now = now.Add(100 * time.Millisecond)
		commits := make([]Commit, claims/25)
		for i := range claims {
			t := &run[(round*claims+i)*7919%len(run)]
			c.Step(Report{t.Node, TaskReport{Assignment: Assignment{Task: t.Task}, State: Succeeded}}, now)
			spec := AskSpec{ID: fmt.Sprintf("c%d-%d", round, i), Role: t.Role, Shape: Shape{Resources: one.Resources}}
			commits[i/25].Tasks = append(commits[i/25].Tasks, Claim{spec, t.Node})
			t.Task = spec.ID + ".0"
		}
		c.Step(Tick{}, now)
		now = now.Add(100 * time.Millisecond)
		b.StartTimer()
		start := threadTime()
		for _, e := range commits {
			c.Step(e, now)
		}
		c.Step(Tick{}, now.Add(50*time.Millisecond))
		took += threadTime() - start
	}
	b.StopTimer()
	if got := len(c.Tasks()); got != each*len(leaves) {
		b.Fatalf("%d tasks run, not %d", got, each*len(leaves))
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N*claims), "cpu-ns/claim")
}

// threadTime is the processor time that this thread has had.
func threadTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &u); err != nil {
		panic(err) // it has no way to fail with these arguments
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
