package sim

import (
	"fmt"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// leavesEach is how many roles a department of a large cluster has.
const leavesEach = 49

// Large is a scenario as big as it is asked for, to see what the simulator and the core can bear: so many nodes of 32 cpu in racks of forty, and
// so many roles below departments of fifty. Three of five roles are guaranteed their part of nine tenths of the nodes. All together want half
// as much again as there is, in tasks of a few minutes, so that the nodes are full and every role has a backlog. Racks, nodes, agents,
// connections and once the leader fail. The leader decides once a turn.
func Large(nodes, roles int, lasts, turn time.Duration) (*Scenario, error) {
	if nodes < 1 || roles < 1 || lasts < time.Minute || turn < time.Millisecond {
		return nil, fmt.Errorf("a large scenario needs nodes, roles, at least a minute, and turns of at least 1ms; there are %d, %d, %s and %s", nodes, roles, lasts, turn)
	}
	s := &Scenario{
		Name: "large", Title: fmt.Sprintf("%d nodes and %d roles, full", nodes, roles), Start: "2026-03-02T10:00", End: "+" + lasts.String(), Seed: 1,
		Nodes:  []Nodes{{Name: "n", Count: nodes, Capacity: resource.Resources{"cpu": 32 * resource.Milli, "memory": 128 << 30}, Rack: 40}},
		Leader: Leader{Turn: role.Duration(turn)}, Plan: role.Plan{Roles: map[string]role.RoleSpec{}},
	}
	cpus := nodes * 32
	each := max(4, cpus*9/10*5/3/roles)
	rate := float64(cpus) / 4 * 1.5 / meanOfLarge.Seconds() / float64(roles) / 8 // asks a second of one role
	every := time.Duration(float64(time.Second) / rate)
	for i := range roles {
		dept := fmt.Sprintf("d%02d", i/leavesEach)
		path := fmt.Sprintf("%s/r%02d", dept, i%leavesEach)
		spec := role.RoleSpec{Weight: new(role.Weight)}
		*spec.Weight = role.Weight(1000 * (1 + i%3))
		if i%5 < 3 {
			spec.Guarantee = resource.Resources{"cpu": resource.Amount(each) * resource.Milli, "memory": resource.Amount(each) << 32}
		}
		s.Plan.Roles[path] = spec
		s.Work = append(s.Work, largeWork(i, path, every), fillOf(i, path, max(1, cpus/4/roles)))
	}
	s.Faults = []Fault{
		{Kind: "node", Every: exponentially(20 * time.Second), For: between(10*time.Second, time.Minute)},
		{Kind: "agent", Every: exponentially(10 * time.Second), For: between(5*time.Second, 30*time.Second)},
		{Kind: "connection", Every: exponentially(2 * time.Second), For: between(time.Second, 5*time.Second)},
		{Kind: "rack", Every: exponentially(2 * time.Minute), For: between(20*time.Second, time.Minute)},
		{Kind: "leader", At: "+" + (lasts / 2).String()},
	}
	for _, m := range []string{"violations", "shortNotices", "earlyStops"} {
		s.Expect = append(s.Expect, Expectation{Measure: m, Most: "0"})
	}
	return s, s.Prepare()
}

// meanOfLarge is how long a task of a large scenario takes.
const meanOfLarge = 3 * time.Minute

func exponentially(mean time.Duration) Span {
	return Span{text: "exp " + mean.String(), law: exponential, a: mean}
}

// fillOf is what runs when the scenario begins.
func fillOf(i int, path string, tasks int) Work {
	w := largeWork(i, path, 0)
	w.Name, w.Tasks, w.Every, w.Asks = fmt.Sprintf("fill%d", i), Exactly(tasks), Fixed(0), 1
	return w
}

func largeWork(i int, path string, every time.Duration) Work {
	return Work{
		Name: fmt.Sprintf("w%d", i), Role: path, Kind: "batch", Resources: resource.Resources{"cpu": 4 * resource.Milli, "memory": 16 << 30},
		Tasks: Number{text: "1..15", low: 1, top: 15}, Duration: exponentially(meanOfLarge), Every: exponentially(every),
		OnNotice: []string{"checkpoint", "done", "leave", "ignore"}[i%4], Saves: between(time.Second, 10*time.Second),
	}
}
