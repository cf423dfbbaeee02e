package bench

import (
	"fmt"
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
)

// Turn is W1 one event at a time: the cluster is full, every leaf has so many tasks waiting, and again and again one task ends and one
// that waits takes its place. What a turn costs should follow what it changes and how deep the tree is, not how many agents, roles and
// waiting tasks there are.
type Turn struct {
	Agents, Leaves, Waiting int
	Sizes                   bool // every leaf has tasks of a size of its own, so that what becomes free does not fit everybody
}

// turns is how many are measured.
const turns = 500

// Run plays the turns.
func (w Turn) Run(seed uint64) Result {
	m := NewMarket(w.Agents, w.Leaves, seed)
	s := m.Open()
	for i, leaf := range m.Leaves {
		size := w.size(i)
		fair := int(m.cpu/size["cpu"])/len(m.Leaves) + 1
		s.Must(cluster.Submit{Ask: cluster.AskSpec{ID: leaf, Role: leaf, Count: fair + w.Waiting, Shape: cluster.Shape{Resources: size}}})
	}
	s.Must(cluster.Tick{})
	s.now = s.now.Add(time.Second)
	s.Must(cluster.Tick{}) // what began is booked
	running, before := s.Tasks(), s.Launched
	m.rng.Shuffle(len(running), func(a, b int) { running[a], running[b] = running[b], running[a] })
	n := min(turns, len(running))
	cost := Measure(func() {
		for _, t := range running[:n] {
			s.now = s.now.Add(time.Millisecond)
			s.Must(cluster.Report{Node: t.Node, Task: cluster.TaskReport{Assignment: cluster.Assignment{Task: t.Task}, State: cluster.Succeeded}})
			s.Must(cluster.Tick{})
		}
	})
	shape := "one size"
	if w.Sizes {
		shape = "sizes differ"
	}
	r := Result{
		Workload: "W1 turn", Case: fmt.Sprintf("one ends, one starts; %d wait in each leaf; %s", w.Waiting, shape), Agents: w.Agents, Roles: w.Leaves,
		Cost: cost, Units: n, Unit: "turn", Note: fmt.Sprintf("%d started, %d run; %.1f %% of cpu", s.Launched-before, len(running), 100*m.allocated(s)),
	}
	r.judge(s)
	return r
}

// size is 4 cpus, or down to 3.
func (w Turn) size(leaf int) resource.Resources {
	cpu := 4 * resource.Milli
	if w.Sizes {
		cpu -= resource.Amount(leaf%11) * resource.Milli / 10
	}
	return resource.Resources{"cpu": cpu, "memory": 4 * gib}
}
