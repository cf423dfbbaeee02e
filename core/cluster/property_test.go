package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// drawPlan makes a valid random tree: depth to 4, two resources, unequal graces, lend, borrow and limit.
func drawPlan(t *rapid.T, total int) *role.Plan {
	p := &role.Plan{Roles: map[string]role.RoleSpec{}}
	graces := []time.Duration{0, 5 * time.Second, 20 * time.Second, time.Minute}
	var grow func(prefix string, depth, have int)
	grow = func(prefix string, depth, have int) {
		for i := range rapid.IntRange(1, 3).Draw(t, "children") {
			path := fmt.Sprintf("%sr%d", prefix, i)
			g := rapid.IntRange(0, have).Draw(t, "guarantee")
			have -= g
			s := role.RoleSpec{Guarantee: resource.Resources{"cpu": resource.Amount(g) * resource.Milli, "memory": resource.Amount(g)}}
			lend, reclaim := role.Duration(rapid.SampledFrom(graces).Draw(t, "lendGrace")), role.Duration(rapid.SampledFrom(graces).Draw(t, "reclaimGrace"))
			minRun := role.Duration(rapid.SampledFrom(graces[:2]).Draw(t, "minRuntime"))
			s.LendGrace, s.ReclaimGrace, s.MinRuntime = &lend, &reclaim, &minRun
			if extra := rapid.SampledFrom([]int{-1, -1, 0, 3, 8}).Draw(t, "limit"); extra >= 0 {
				s.Limit = resource.Resources{"cpu": resource.Amount(g+extra) * resource.Milli, "memory": resource.Amount(g + extra)}
			}
			if b := rapid.SampledFrom([]int{-1, -1, 0, 4}).Draw(t, "borrow"); b >= 0 {
				s.Borrow = &role.Share{Amounts: resource.Resources{"cpu": resource.Amount(b) * resource.Milli, "memory": resource.Amount(b)}}
			}
			if l := rapid.SampledFrom([]int{-1, -1, 0, 2}).Draw(t, "lend"); l >= 0 {
				s.Lend = &role.Share{Amounts: resource.Resources{"cpu": resource.Amount(l) * resource.Milli, "memory": resource.Amount(l)}}
			}
			prio := rapid.IntRange(0, 2).Draw(t, "priority")
			s.Priority = &prio
			p.Roles[path] = s
			if depth > 0 && rapid.Bool().Draw(t, "inner") {
				grow(path+"/", depth-1, g)
			}
		}
	}
	grow("", 3, total)
	return p
}

// actor draws what happens next in a world.
type actor struct {
	*world
	t     *rapid.T
	paths []string
	n     int
}

func newActor(t *rapid.T) *actor {
	total := rapid.IntRange(4, 24).Draw(t, "cpus")
	plan := drawPlan(t, total)
	plan.Pools = []role.PoolSpec{{Name: "fast", Selector: resource.Attributes{"fast": "yes"}}}
	for path, s := range plan.Roles {
		if s.Guarantee["cpu"] > 0 && !strings.Contains(path, "/") {
			s.Guarantee["fast/cpu"] = resource.Milli
			plan.Roles[path] = s
		}
	}
	if ps := role.Validate(plan); len(ps) > 0 {
		t.Fatalf("generator made a bad plan: %v", ps)
	}
	a := &actor{world: newWorld(plan), t: t}
	a.grace = rapid.SampledFrom([]time.Duration{0, 0, 2 * time.Minute}).Draw(t, "stopGrace")
	for _, r := range a.c.Tree().Roles[1:] {
		if role.Display(r.Path) == r.Path {
			a.paths = append(a.paths, r.Path)
		}
	}
	for i := 0; total > 0; i++ {
		n := min(total, rapid.IntRange(2, 8).Draw(t, "node"))
		total -= n
		a.machine(i, n, map[string]string{"zone": []string{"a", "b"}[i%2]})
	}
	for i := range 2 {
		a.machine(100+i, 3, map[string]string{"zone": []string{"a", "b"}[i], "fast": "yes"})
	}
	return a
}

// machine joins a node with a few host ports.
func (a *actor) machine(i, cpus int, attrs map[string]string) {
	name := fmt.Sprintf("n%d", i)
	a.nodes[name] = &machine{up: true, tasks: map[string]*process{}, info: NodeInfo{Name: name, Attributes: attrs, Ports: must(resource.ParsePorts("8000-8003")),
		Capacity: resource.Resources{"cpu": resource.Amount(cpus) * resource.Milli, "memory": resource.Amount(cpus)}}}
	a.register(name)
}

// narrow draws what restricts the nodes of a shape beside amounts: seldom anything.
func (a *actor) narrow(s *Shape) {
	switch rapid.IntRange(0, 8).Draw(a.t, "narrow") {
	case 0:
		s.Exclusive = true
	case 1:
		s.Spread = []placement.Spread{{Attribute: "zone", MaxSkew: 1, Hard: true}}
	case 2:
		s.Ports = []Port{{"http", uint16(8000 + rapid.IntRange(0, 1).Draw(a.t, "port"))}}
	case 3:
		s.Ports = []Port{{"http", 8000}, {"admin", 0}}
	case 4:
		s.Pool = "fast"
	}
}

func (a *actor) submit() {
	a.n++
	shape := Shape{
		Resources: resource.Resources{"cpu": resource.Amount(rapid.IntRange(0, 4).Draw(a.t, "cpu")) * resource.Milli, "memory": resource.Amount(rapid.IntRange(0, 4).Draw(a.t, "memory"))},
		Priority:  rapid.IntRange(0, 2).Draw(a.t, "priority"), Pinned: rapid.IntRange(0, 4).Draw(a.t, "pinned") == 0, Requeue: rapid.Bool().Draw(a.t, "requeue"),
	}
	a.narrow(&shape)
	spec := AskSpec{ID: fmt.Sprintf("a%02d", a.n), Role: rapid.SampledFrom(a.paths).Draw(a.t, "role"), Count: rapid.IntRange(1, 4).Draw(a.t, "count"),
		Gang: rapid.IntRange(0, 4).Draw(a.t, "gang") == 0, Submitted: a.now, Shape: shape}
	a.step(Submit{spec})
}

func (a *actor) anyTask() (TaskView, bool) {
	ts := a.live()
	if len(ts) == 0 {
		return TaskView{}, false
	}
	return rapid.SampledFrom(ts).Draw(a.t, "task"), true
}

func (a *actor) act() {
	switch rapid.IntRange(0, 16).Draw(a.t, "act") {
	case 0, 1, 2, 3:
		a.submit()
	case 4, 5, 6:
		a.run(rapid.SampledFrom([]time.Duration{time.Second, 7 * time.Second, 40 * time.Second}).Draw(a.t, "pass"))
	case 7:
		if t, ok := a.anyTask(); ok {
			a.ends(t.Task, rapid.SampledFrom([]State{Succeeded, Failed}).Draw(a.t, "end"))
		}
	case 8:
		if t, ok := a.anyTask(); ok {
			a.step(Kill{Task: t.Task})
		}
	case 9:
		if as := a.c.Asks(); len(as) > 0 {
			a.step(Cancel{Ask: rapid.SampledFrom(as).Draw(a.t, "ask").ID, KeepRunning: rapid.Bool().Draw(a.t, "keep")})
		}
	case 10:
		a.failover()
	case 11:
		a.flap()
	case 12:
		a.answer()
	case 13:
		a.drainOne()
	case 14:
		a.calm()
	case 15:
		a.replan()
	case 16:
		a.commit()
	}
}

// replan changes numbers of the plan; the roles stay.
func (a *actor) replan() {
	next := &role.Plan{Roles: map[string]role.RoleSpec{}, Pools: a.plan.Pools}
	for _, path := range slices.Sorted(maps.Keys(a.plan.Roles)) {
		s := a.plan.Roles[path]
		if rapid.Bool().Draw(a.t, "cut") {
			half := resource.Resources{}
			for name, x := range s.Guarantee {
				half[name] = x.MulDiv(1, 2)
			}
			s.Guarantee = half
		}
		next.Roles[path] = s
	}
	if len(role.Validate(next)) == 0 {
		a.plan = next
		a.step(SetPlan{next, 1})
	}
}

func (a *actor) commit() {
	a.n++
	n := rapid.SampledFrom(a.c.Nodes()).Draw(a.t, "node")
	shape := Shape{Resources: cpu(rapid.IntRange(1, 3).Draw(a.t, "cpu")), Requeue: true}
	a.narrow(&shape)
	shape.Pool = n.Pool
	var cs []Claim
	for i := range rapid.IntRange(1, 3).Draw(a.t, "claims") {
		spec := AskSpec{ID: fmt.Sprintf("c%02d-%d", a.n, i), Role: rapid.SampledFrom(a.paths).Draw(a.t, "role"), Count: 1, Submitted: a.now, Shape: shape}
		cs = append(cs, Claim{spec, n.Name})
	}
	a.step(Commit{Tasks: cs, AllOrNothing: rapid.Bool().Draw(a.t, "all"), LeaveDemand: rapid.Bool().Draw(a.t, "leave")})
}

// calm lets the longest bound pass without events. After it every claim has been served, and I3 holds for every leaf.
func (a *actor) calm() {
	for _, name := range slices.Sorted(maps.Keys(a.nodes)) {
		if m := a.nodes[name]; !m.up {
			m.up = true
			a.register(name)
		}
	}
	a.run(3 * time.Minute)
	a.served()
	before := len(a.sent)
	a.run(10 * time.Minute)
	if n := len(a.sent) - before; n > 0 {
		a.fault("I8: %d notices after nothing changed for minutes", n)
	}
	a.served()
}

// served is I3 for leaves: what waits and fits the idle guarantee of its own role is excused only by fragmentation, by
// constraints, or by nodes that are missing.
func (a *actor) served() {
	for _, p := range a.c.pools {
		for _, k := range p.claims {
			if a.now.Sub(k.by) < time.Second {
				continue
			}
			a.fault("I3: the claim of %s still waits, promised by %s", k.ask.ID, k.by.Sub(epoch))
		}
		for _, cl := range p.queue {
			for _, x := range cl.asks {
				if x.readyCount(a.now) >= cl.count && cl.amount().Fits(p.ledger.Idle(cl.leaf)) && p.ledger.Room(cl.leaf, cl.amount()) == nil {
					a.excused(p, cl, x)
				}
			}
		}
	}
}

func (a *actor) excused(p *pool, cl *class, x *ask) {
	if p.lacksNodes() {
		return
	}
	for _, n := range p.nodes {
		ok, why := p.index.Fits(cl.compiled, n.id)
		if cl.count == 1 && (ok || why == placement.ReasonResources && cl.need.Fits(n.spare())) {
			r := a.c.reasonOf(x)
			a.fault("I3: %s waits in %s with %s of its guarantee idle and room on %s: %s %s", x.ID, cl.path,
				p.ledger.Idle(cl.leaf).Text(a.c.kinds, ""), n.Name, r.Code, r.Message)
		}
	}
}

func (a *actor) flap() {
	ns := a.c.Nodes()
	name := rapid.SampledFrom(ns).Draw(a.t, "node").Name
	m := a.nodes[name]
	if m.up = !m.up; m.up {
		a.register(name)
	} else {
		a.step(Disconnect{name})
	}
}

func (a *actor) answer() {
	ns := a.c.Notices()
	if len(ns) == 0 {
		return
	}
	n := rapid.SampledFrom(ns).Draw(a.t, "notice")
	if rapid.Bool().Draw(a.t, "done") {
		a.step(Answer{Task: n.Task, Done: true})
	} else {
		a.step(Answer{Task: n.Task, Released: resource.Resources{"cpu": resource.Milli}})
	}
}

func (a *actor) drainOne() {
	n := rapid.SampledFrom(a.c.Nodes()).Draw(a.t, "node")
	if n.State == "ready" {
		a.step(Drain{Node: n.Name, Deadline: 3 * time.Second})
	} else {
		a.step(Cordon{Node: n.Name})
	}
}

func (a *actor) verdict() {
	a.checkApart()
	a.checkWaste()
	if len(a.faults) > 0 {
		var b strings.Builder
		for _, f := range a.faults {
			fmt.Fprintln(&b, f)
		}
		a.t.Fatalf("%s\n%s\n%s", b.String(), a.dump(), strings.Join(a.history, "\n"))
	}
}

// TestContract drives random clusters through random days and checks the contract after every step: I1, I2, I9, I10, I11, I18,
// I19 and the bookkeeping itself, that every resource-second is accounted for as a naive integrator has it, and that nobody shares a host port or, exclusive, a node. Nodes are in two pools and two zones.
func TestContract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := newActor(t)
		for range rapid.IntRange(5, 40).Draw(t, "events") {
			a.act()
			a.verdict()
		}
		a.replay()
		a.verdict()
	})
}
