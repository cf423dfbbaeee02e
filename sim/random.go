package sim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"sigs.k8s.io/yaml"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// RandomText writes a scenario that is drawn by chance: a small cluster with a random tree, windows, work of all kinds, unreliable
// agents and faults, which expects what must always hold. A seed always gives the same text, in one version of Polder; keep the text, not
// the seed, of what should be played again later.
func RandomText(seed uint64) ([]byte, error) {
	d := &dice{Rand: stream(seed, "random cluster"), s: &Scenario{Name: fmt.Sprintf("random-%d", seed), Seed: int(min(seed, 1<<31)), Start: "2026-03-02T10:00:00Z"}}
	d.minutes = 10 + d.IntN(20)
	d.s.End = fmt.Sprintf("+%dm", d.minutes)
	d.machines()
	d.plan()
	d.people()
	d.accidents()
	for _, m := range []string{"violations", "beyondT", "shortNotices", "earlyStops"} {
		d.s.Expect = append(d.s.Expect, Expectation{Measure: m, Most: "0"})
	}
	if err := d.s.Prepare(); err != nil {
		return nil, fmt.Errorf("random scenario %d: %w", seed, err)
	}
	return yaml.Marshal(d.s)
}

// Random is the scenario of [RandomText], read back.
func Random(seed uint64) (*Scenario, error) {
	text, err := RandomText(seed)
	if err != nil {
		return nil, err
	}
	return Parse(text)
}

// dice draws a scenario.
type dice struct {
	*rand.Rand
	s       *Scenario
	minutes int
	cpus    int // of the pool without a name
	leaves  []string
}

func oneOf[T any](d *dice, of ...T) T { return of[d.IntN(len(of))] }

// chance is true so often in a hundred.
func (d *dice) chance(percent int) bool { return d.IntN(100) < percent }

func (d *dice) instant(minute, second int) string {
	return time.Date(2026, 3, 2, 10, minute, second, 0, time.UTC).Format("2006-01-02T15:04:05")
}

func cpuAndMemory(cpus int) resource.Resources {
	return resource.Resources{"cpu": resource.Amount(cpus) * resource.Milli, "memory": resource.Amount(cpus) << 32}
}

// machines draws nodes of one to three kinds; sometimes some are a pool of their own.
func (d *dice) machines() {
	for i := range 1 + d.IntN(3) {
		n := Nodes{Name: fmt.Sprintf("n%d", i), Count: 2 + d.IntN(7), Rack: oneOf(d, 0, 0, 2, 4), Attributes: resource.Attributes{"zone": oneOf(d, "a", "b")}}
		each := oneOf(d, 4, 8, 16)
		n.Capacity = cpuAndMemory(each)
		d.cpus += n.Count * each
		d.s.Nodes = append(d.s.Nodes, n)
	}
	if d.chance(25) {
		d.s.Nodes = append(d.s.Nodes, Nodes{Name: "fast", Count: 2 + d.IntN(3), Capacity: cpuAndMemory(8), Attributes: resource.Attributes{"fast": "yes"}})
		d.s.Plan.Pools = []role.PoolSpec{{Name: "fast", Selector: resource.Attributes{"fast": "yes"}}}
	}
	d.s.Leader.Turn = oneOf(d, role.Duration(10*time.Millisecond), role.Duration(50*time.Millisecond), role.Duration(200*time.Millisecond))
	d.s.Agents.Latency = oneOf(d, between(time.Millisecond, 5*time.Millisecond), between(5*time.Millisecond, 400*time.Millisecond))
	d.s.Agents.Loss = oneOf(d, 0, 0, 0.001, 0.01)
	d.s.Agents.Forget = oneOf(d, 0, 0, role.Duration(time.Minute))
}

func between(a, b time.Duration) Span {
	return Span{text: a.String() + ".." + b.String(), law: uniform, a: a, b: b}
}

// plan draws a tree to depth four, with unequal graces, lend, borrow and limit, and up to two windows.
func (d *dice) plan() {
	d.s.Plan.Roles = map[string]role.RoleSpec{}
	delay := oneOf(d, role.Duration(time.Second), role.Duration(5*time.Second))
	d.s.Plan.Cluster.ReclaimDelay = &delay
	d.grow("", 3, d.cpus)
	if len(d.s.Plan.Pools) > 0 {
		path := top(d.leaves[0])
		spec := d.s.Plan.Roles[path]
		spec.Guarantee["fast/cpu"] = 8 * resource.Milli
		d.s.Plan.Roles[path] = spec
	}
	for i := range d.IntN(3) {
		d.window(i)
	}
}

// grow draws the children of a role that has so much to promise.
func (d *dice) grow(prefix string, depth, have int) {
	for i := range 1 + d.IntN(3) {
		path := fmt.Sprintf("%sr%d", prefix, i)
		g := d.IntN(have + 1)
		have -= g
		d.s.Plan.Roles[path] = d.role(g)
		if depth > 0 && d.chance(40) {
			d.grow(path+"/", depth-1, g)
		} else {
			d.leaves = append(d.leaves, path)
		}
	}
}

func (d *dice) role(guarantee int) role.RoleSpec {
	graces := []role.Duration{0, role.Duration(5 * time.Second), role.Duration(20 * time.Second), role.Duration(time.Minute)}
	lend, reclaim, least, priority := oneOf(d, graces...), oneOf(d, graces...), oneOf(d, graces[:2]...), d.IntN(3)
	s := role.RoleSpec{Guarantee: cpuAndMemory(guarantee), LendGrace: &lend, ReclaimGrace: &reclaim, MinRuntime: &least, Priority: &priority}
	if d.chance(25) {
		s.Limit = cpuAndMemory(guarantee + oneOf(d, 0, 4, 16))
	}
	if d.chance(25) {
		s.Borrow = &role.Share{Amounts: cpuAndMemory(oneOf(d, 0, 4, 16))}
	}
	if d.chance(25) {
		s.Lend = &role.Share{Amounts: cpuAndMemory(oneOf(d, 0, 2, 8))}
	}
	return s
}

// window draws a window of some minutes, and leaves it out if the plan cannot be kept with it.
func (d *dice) window(i int) {
	from := 2 + d.IntN(d.minutes/2)
	w := role.Window{
		Name: fmt.Sprintf("w%d", i), Set: map[string]role.RoleSpec{}, Warm: oneOf(d, 0, 0, role.Duration(30*time.Second)),
		When: role.When{From: d.instant(from, 0), To: d.instant(from+1+d.IntN(d.minutes/2), 0)},
	}
	for _, path := range slices.Sorted(maps.Keys(d.s.Plan.Roles)) {
		if d.chance(40) {
			w.Set[path] = role.RoleSpec{Guarantee: cpuAndMemory(d.IntN(d.cpus/2 + 1))}
		}
	}
	d.s.Plan.Windows = append(d.s.Plan.Windows, w)
	if len(w.Set) == 0 || len(role.Validate(&d.s.Plan)) > 0 {
		d.s.Plan.Windows = d.s.Plan.Windows[:len(d.s.Plan.Windows)-1]
	}
}

// people draws what up to eight roles run.
func (d *dice) people() {
	d.Shuffle(len(d.leaves), func(i, j int) { d.leaves[i], d.leaves[j] = d.leaves[j], d.leaves[i] })
	for i, path := range d.leaves[:min(8, len(d.leaves))] {
		w := Work{
			Name: fmt.Sprintf("w%d", i), Role: path, Kind: oneOf(d, "service", "batch", "batch", "claimer"), Resources: cpuAndMemory(oneOf(d, 1, 1, 2, 4)),
			OnNotice: oneOf(d, "checkpoint", "done", "leave", "ignore"), Priority: d.IntN(2), Pinned: d.chance(10), Saves: between(time.Second, 8*time.Second),
		}
		if len(d.s.Plan.Pools) > 0 && d.chance(20) {
			w.Pool = "fast"
		}
		if w.Kind == "service" {
			w.Replicas = d.replicas()
		} else {
			d.batch(&w)
		}
		d.s.Work = append(d.s.Work, w)
	}
}

func (d *dice) replicas() []Replicas {
	out := []Replicas{{At: "+0s", Count: d.IntN(12)}}
	for minute := d.IntN(5); minute < d.minutes; minute += 1 + d.IntN(8) {
		out = append(out, Replicas{At: fmt.Sprintf("+%dm%ds", minute, 1+d.IntN(58)), Count: d.IntN(d.cpus/4 + 2)})
	}
	return out
}

func (d *dice) batch(w *Work) {
	w.Tasks = Number{text: "1..6", low: 1, top: 6}
	w.Gang = w.Kind == "batch" && d.chance(25)
	w.Duration = oneOf(d, Span{text: "exp 2m", law: exponential, a: 2 * time.Minute}, Span{text: "lognormal 1m 20m", law: lognormal, a: time.Minute, b: 20 * time.Minute})
	every := oneOf(d, 5, 15, 40)
	w.Every = Span{text: fmt.Sprintf("exp %ds", every), law: exponential, a: time.Duration(every) * time.Second}
	if w.Kind == "claimer" {
		w.View = oneOf(d, Fixed(time.Second), between(time.Second, 10*time.Second))
	}
}

// accidents draws what breaks.
func (d *dice) accidents() {
	for _, kind := range []string{"node", "agent", "connection", "leader"} {
		if !d.chance(40) {
			continue
		}
		every := 2 + d.IntN(8)
		d.s.Faults = append(d.s.Faults, Fault{
			Kind: kind, Every: Span{text: fmt.Sprintf("exp %dm", every), law: exponential, a: time.Duration(every) * time.Minute},
			For: between(time.Second, 2*time.Minute),
		})
	}
}
