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

// even draws one of n numbers from zero, each as likely as the others: rapid prefers small ones, and days on which little is guaranteed and little
// asked for test little.
func even(t *rapid.T, label string, n int) (x int) {
	for _, one := range rapid.SliceOfN(rapid.Bool(), 8, 8).Draw(t, label) {
		if x *= 2; one {
			x++
		}
	}
	return x * n / 256
}

// drawPlan makes a valid random tree: depth to 5, two resources, unequal graces, lend, borrow and limit.
func drawPlan(t *rapid.T, total int) *role.Plan {
	p := &role.Plan{Roles: map[string]role.RoleSpec{}}
	graces := []time.Duration{0, 5 * time.Second, 20 * time.Second, time.Minute}
	var grow func(prefix string, depth, have int)
	grow = func(prefix string, depth, have int) {
		for i := range 1 + even(t, "children", 3) {
			path := fmt.Sprintf("%sr%d", prefix, i)
			g := even(t, "guarantee", have+1)
			have -= g
			s := role.RoleSpec{Guarantee: resource.Resources{"cpu": resource.Amount(g) * resource.Milli, "memory": resource.Amount(g)}}
			lend, reclaim := role.Duration(graces[even(t, "lendGrace", 4)]), role.Duration(graces[even(t, "reclaimGrace", 4)])
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
	grow("", 4, total)
	return p
}

// drawWindow adds a window of some minutes in the first quarter of an hour, if the plan can be kept with it.
func drawWindow(t *rapid.T, p *role.Plan) {
	at := func(minute int) string {
		return epoch.Add(time.Duration(minute) * time.Minute).Format("2006-01-02T15:04:05")
	}
	opens := rapid.IntRange(1, 6).Draw(t, "opens")
	w := role.Window{Name: fmt.Sprintf("w%d", len(p.Windows)), Set: map[string]role.RoleSpec{}}
	w.When = role.When{From: at(opens), To: at(opens + rapid.IntRange(1, 6).Draw(t, "minutes"))}
	w.Warm = role.Duration(rapid.SampledFrom([]time.Duration{0, 0, 30 * time.Second}).Draw(t, "warm"))
	for _, path := range slices.Sorted(maps.Keys(p.Roles)) {
		if g := rapid.IntRange(-3, 6).Draw(t, "in the window"); g >= 0 {
			w.Set[path] = role.RoleSpec{Guarantee: resource.Resources{"cpu": resource.Amount(g) * resource.Milli, "memory": resource.Amount(g)}}
		}
	}
	p.Windows = append(p.Windows, w)
	if len(role.Validate(p)) > 0 {
		p.Windows = p.Windows[:len(p.Windows)-1]
	}
}

// settled is when no window opens or closes any more.
var settled = epoch.Add(13 * time.Minute)

// actor draws what happens next in a world.
type actor struct {
	*world
	t        *rapid.T
	paths    []string // of all roles
	promised []string // of those with a guarantee, if there are any
	quiet    bool     // nodes, leaders and plan stay: claims come to their end
	n        int
}

// someone is a role to work for: every other time one that is guaranteed something.
func (a *actor) someone() string {
	if len(a.promised) > 0 && rapid.Bool().Draw(a.t, "promised") {
		return a.promised[even(a.t, "role", len(a.promised))]
	}
	return a.paths[even(a.t, "role", len(a.paths))]
}

func newActor(t *rapid.T, verdicts map[string]int) *actor {
	total := 4 + even(t, "cpus", 21)
	plan := drawPlan(t, total)
	plan.Pools = []role.PoolSpec{{Name: "fast", Selector: resource.Attributes{"fast": "yes"}}}
	for path, s := range plan.Roles {
		if s.Guarantee["cpu"] > 0 && !strings.Contains(path, "/") {
			s.Guarantee["fast/cpu"] = resource.Milli
			plan.Roles[path] = s
		}
	}
	for range rapid.IntRange(0, 2).Draw(t, "windows") {
		drawWindow(t, plan)
	}
	if ps := role.Validate(plan); len(ps) > 0 {
		t.Fatalf("generator made a bad plan: %v", ps)
	}
	a := &actor{world: newWorld(plan), t: t, quiet: rapid.Bool().Draw(t, "quiet")}
	a.watched().verdicts = verdicts
	a.transit = rapid.SampledFrom([]time.Duration{0, 20 * time.Millisecond}).Draw(t, "transit")
	a.grace = rapid.SampledFrom([]time.Duration{0, 0, 2 * time.Minute}).Draw(t, "stopGrace")
	for _, r := range a.c.Tree().Roles[1:] {
		if role.Display(r.Path) == r.Path {
			a.paths = append(a.paths, r.Path)
			if plan.Roles[r.Path].Guarantee["cpu"] > 0 {
				a.promised = append(a.promised, r.Path)
			}
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
	if rapid.IntRange(0, 3).Draw(t, "full") > 0 {
		a.fill()
	}
	return a
}

// fill has some roles take whatever they may, so that who claims later finds nothing idle.
func (a *actor) fill() {
	for range rapid.IntRange(1, 3).Draw(a.t, "hogs") {
		a.n++
		each := resource.Amount(rapid.IntRange(1, 3).Draw(a.t, "each"))
		a.step(Submit{AskSpec{ID: fmt.Sprintf("h%02d", a.n), Role: a.paths[even(a.t, "hog", len(a.paths))], Count: 24, Submitted: a.now,
			Shape: Shape{Resources: resource.Resources{"cpu": each * resource.Milli, "memory": each}, Requeue: true}}})
	}
	a.run(time.Second)
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
		Resources: resource.Resources{"cpu": resource.Amount(even(a.t, "cpu", 5)) * resource.Milli, "memory": resource.Amount(even(a.t, "memory", 5))},
		Priority:  rapid.IntRange(0, 2).Draw(a.t, "priority"), Pinned: rapid.IntRange(0, 4).Draw(a.t, "pinned") == 0, Requeue: rapid.Bool().Draw(a.t, "requeue"),
	}
	a.narrow(&shape)
	spec := AskSpec{ID: fmt.Sprintf("a%02d", a.n), Role: a.someone(), Count: rapid.IntRange(1, 4).Draw(a.t, "count"),
		Gang: rapid.IntRange(0, 4).Draw(a.t, "gang") == 0, Submitted: a.now, Shape: shape}
	spec.Earmark = !spec.Gang && rapid.IntRange(0, 5).Draw(a.t, "earmark") == 0
	a.step(Submit{spec})
}

// keepers are the roles whose guarantee covers some reservation; all of them when none does.
func (a *actor) keepers() []string {
	out := slices.DeleteFunc(slices.Clone(a.paths), func(path string) bool { return a.c.plan.LeastGuarantee(path, "cpu") < resource.Milli })
	if len(out) == 0 {
		return a.paths
	}
	return out
}

// reserve asks for a reservation.
func (a *actor) reserve() {
	a.n++
	size := rapid.IntRange(1, 4).Draw(a.t, "size")
	shape := Shape{Resources: resource.Resources{"cpu": resource.Amount(size) * resource.Milli, "memory": resource.Amount(rapid.IntRange(0, size).Draw(a.t, "memory"))},
		Volume: true, Reserve: true, Pinned: true}
	spec := AskSpec{ID: fmt.Sprintf("r%02d", a.n), Role: rapid.SampledFrom(a.keepers()).Draw(a.t, "role"), Count: 1, Submitted: a.now, Shape: shape}
	n := rapid.SampledFrom(a.c.Nodes()).Draw(a.t, "node")
	if rapid.Bool().Draw(a.t, "here") && n.Pool == "" {
		a.step(Commit{Tasks: []Claim{{spec, n.Name}}})
	} else {
		a.step(Submit{spec})
	}
}

// carve asks for tasks, or for a volume, out of a reservation.
func (a *actor) carve() {
	var rs []TaskView
	for _, t := range a.live() {
		if t.Shape.Reserve {
			rs = append(rs, t)
		}
	}
	if len(rs) == 0 {
		return
	}
	r := rapid.SampledFrom(rs).Draw(a.t, "reservation")
	a.n++
	shape := Shape{Resources: resource.Resources{"cpu": resource.Amount(rapid.IntRange(0, 2).Draw(a.t, "cpu")) * resource.Milli,
		"memory": resource.Amount(rapid.IntRange(0, 2).Draw(a.t, "memory"))}, From: r.Task, Pinned: true, Requeue: rapid.Bool().Draw(a.t, "requeue")}
	spec := AskSpec{ID: fmt.Sprintf("c%02d", a.n), Role: r.Role, Count: rapid.IntRange(1, 3).Draw(a.t, "count"), Submitted: a.now, Shape: shape}
	switch rapid.IntRange(0, 3).Draw(a.t, "how") {
	case 0:
		spec.Count, spec.Shape.Volume, spec.Shape.Requeue = 1, true, false
		fallthrough
	case 1:
		spec.Count = 1
		other := spec
		other.ID += "x"
		a.step(Commit{Tasks: []Claim{{spec, r.Node}, {other, r.Node}}, AllOrNothing: rapid.Bool().Draw(a.t, "all"), LeaveDemand: rapid.Bool().Draw(a.t, "leave")})
	default:
		a.step(Submit{spec})
	}
}

// keepVolume asks for a volume.
func (a *actor) keepVolume() {
	a.n++
	shape := Shape{Resources: resource.Resources{"memory": resource.Amount(rapid.IntRange(1, 3).Draw(a.t, "size"))}, Volume: true, Pinned: true}
	spec := AskSpec{ID: fmt.Sprintf("v%02d", a.n), Role: rapid.SampledFrom(a.paths).Draw(a.t, "role"), Count: 1, Submitted: a.now, Shape: shape}
	n := rapid.SampledFrom(a.c.Nodes()).Draw(a.t, "node")
	if rapid.Bool().Draw(a.t, "here") && n.Pool == "" {
		a.step(Commit{Tasks: []Claim{{spec, n.Name}}, LeaveDemand: rapid.Bool().Draw(a.t, "leave")})
	} else {
		a.step(Submit{spec})
	}
}

func (a *actor) anyTask() (TaskView, bool) {
	ts := a.live()
	if len(ts) == 0 {
		return TaskView{}, false
	}
	return rapid.SampledFrom(ts).Draw(a.t, "task"), true
}

func (a *actor) act() {
	n := even(a.t, "act", 27)
	if a.quiet && n > 9 {
		n = []int{1, 2, 4, 5, 6, 12, 12, 16, 20, 21, 24}[n%11]
	}
	switch n {
	case 0, 1, 2, 3:
		a.submit()
	case 4, 5, 6:
		a.run([]time.Duration{time.Second, 7 * time.Second, 40 * time.Second}[even(a.t, "pass", 3)])
	case 7:
		if t, ok := a.anyTask(); ok && !t.Shape.Volume {
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
	case 17:
		a.lose()
	case 18:
		a.machine(200+a.n, rapid.IntRange(2, 8).Draw(a.t, "node"), map[string]string{"zone": "a"})
		a.n++
	case 19:
		a.fuse = rapid.IntRange(1, 30).Draw(a.t, "fuse")
	case 20:
		a.resize()
	case 22:
		a.keepVolume()
	case 23:
		a.reserve()
	case 24, 25, 26:
		a.carve()
	case 21:
		if t, ok := a.anyTask(); ok {
			a.step(SetCost{Task: t.Task, Cost: Cost{rapid.Bool().Draw(a.t, "guarded"), rapid.Int64Range(-1, 1).Draw(a.t, "cost")}})
		}
	}
}

// resize makes a lease larger or smaller. One that is refused stays as it was: the invariants would show half a change.
func (a *actor) resize() {
	t, ok := a.anyTask()
	if !ok {
		return
	}
	want := resource.Resources{"cpu": resource.Amount(rapid.IntRange(0, 6).Draw(a.t, "cpu")) * resource.Milli}
	if rapid.Bool().Draw(a.t, "both") {
		want["memory"] = resource.Amount(rapid.IntRange(0, 6).Draw(a.t, "memory"))
	}
	crashes := a.fuse > 0
	err := a.step(Resize{Task: t.Task, Resources: want})
	now, there := a.c.Task(t.Task)
	if crashes || !there {
		return
	}
	before, after := amountsOf(t.Resources), amountsOf(now.Resources)
	for _, name := range []string{"cpu", "memory"} {
		expected, named := want[name]
		if err != nil || !named {
			expected = before[name]
		}
		if after[name] != expected {
			a.fault("%s was to hold %v, held %v and holds %v: %v", t.Task, want, before, after, err)
		}
	}
}

// lose removes a node for good, with everything on it.
func (a *actor) lose() {
	name := rapid.SampledFrom(a.c.Nodes()).Draw(a.t, "node").Name
	if len(a.nodes) > 3 {
		if m := a.nodes[name]; m != nil && rapid.Bool().Draw(a.t, "to come back") {
			m.up = false
			a.step(Disconnect{name})
		} else {
			delete(a.nodes, name)
		}
		a.step(RemoveNode{name, rapid.Bool().Draw(a.t, "with volumes")})
	}
}

// replan changes numbers of the plan; the roles stay.
func (a *actor) replan() {
	next := &role.Plan{Roles: map[string]role.RoleSpec{}, Pools: a.plan.Pools, Windows: a.plan.Windows}
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
	switch {
	case len(role.Validate(next)) > 0:
	case a.c.stillKept(next) != nil:
		if a.step(SetPlan{next, 1}) == nil {
			a.fault("I21: a plan is in force that does not cover what is kept")
		}
	default:
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
	e := Commit{Tasks: cs, AllOrNothing: rapid.Bool().Draw(a.t, "all"), LeaveDemand: rapid.Bool().Draw(a.t, "leave")}
	for _, x := range a.c.Asks() {
		if x.Kept[n.Name] > 0 && rapid.Bool().Draw(a.t, "give up") {
			e.GiveUp = append(e.GiveUp, Kept{x.ID, n.Name, rapid.IntRange(0, 2).Draw(a.t, "places")})
		}
	}
	a.step(e)
}

// calm lets the longest bound pass without events. After it nobody is asked back any more.
func (a *actor) calm() {
	for _, n := range a.c.Nodes() {
		if a.nodes[n.Name] == nil {
			a.step(RemoveNode{n.Name, true})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.nodes)) {
		if m := a.nodes[name]; !m.up {
			m.up = true
			a.register(name)
		}
	}
	a.run(max(0, settled.Sub(a.now)))
	a.run(3*time.Minute + 2*a.grace) // the rest of a gang is told to stop when the first of it has
	before := len(a.sent)
	a.run(10 * time.Minute)
	if n := len(a.sent) - before; n > 0 {
		a.fault("I8: %d notices after nothing changed for minutes", n)
	}
}

func (a *actor) flap() {
	ns := a.c.Nodes()
	name := rapid.SampledFrom(ns).Draw(a.t, "node").Name
	m := a.nodes[name]
	if m == nil {
		a.step(RemoveNode{name, false}) // a leader that was killed had not written that it is gone
	} else if m.up = !m.up; m.up {
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

// told counts the notices for claims that were given.
func (a *actor) told() (n int) {
	for _, x := range a.sent {
		if x.Kind == ForClaim {
			n++
		}
	}
	return n
}

// depth is how deep the deepest role is that the plan names.
func (a *actor) depth() (d int) {
	for path := range a.plan.Roles {
		d = max(d, strings.Count(path, "/")+1)
	}
	return d
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

// TestContract drives random clusters through random days, with windows, lost nodes and leaders killed between any two messages, and
// checks the contract after every decision: in [Cluster.Invariants], by the [witness], that every resource-second is accounted
// for as a naive integrator has it, and that nobody shares a host port or, exclusive, a node. Nodes are in two pools and two zones.
func TestContract(t *testing.T) {
	verdicts, days, begun := map[string]int{}, 0, time.Now()
	deep, halves, volumes, told, carved := map[int]int{}, 0, 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		if days++; days%1000 == 0 {
			t.Logf("%d random days in %s", days, time.Since(begun).Round(time.Second))
		}
		a := newActor(rt, verdicts)
		for range 5 + even(rt, "events", 36) {
			a.act()
			a.verdict()
		}
		a.replay()
		a.verdict()
		deep[a.depth()]++
		told += a.told()
		halves += a.halves
		volumes += a.stayed
		carved += a.shared
	})
	t.Logf("trees by depth: %v; leaders killed between two messages of one step: %d; volumes that outlasted a drain or their node: %d", deep, halves, volumes)
	t.Logf("notices for claims: %d; steps with something carved out of a reservation: %d", told, carved)
	if days >= 1000 && carved < days/10 && !t.Failed() {
		t.Errorf("%d steps with something carved out of a reservation in %d days: hardly anything was", carved, days)
	}
	if days >= 1000 && told < days/20 && !t.Failed() {
		t.Errorf("%d notices for claims in %d days: hardly anything was asked back", told, days)
	}
	t.Logf("claims that waited longer than T, by excuse: %v", verdicts)
	if days >= 1000 && (deep[5] == 0 || halves == 0 || volumes == 0) && !t.Failed() {
		t.Errorf("trees by depth: %v; leaders killed between two messages of one step: %d; volumes that outlasted something: %d", deep, halves, volumes)
	}
	if days >= 1000 && verdicts["Fragmented"] == 0 && !t.Failed() {
		t.Errorf("no claim was ever in vain for fragmentation: %v", verdicts)
	}
}
