package bench

import (
	"fmt"

	"polder.dev/polder/core/cluster"
)

// Footprint is W8: memory at rest with so many tasks an agent.
type Footprint struct {
	Agents, Leaves, PerAgent int
}

// Run fills the cluster with small tasks and weighs it.
func (w Footprint) Run(seed uint64) []Result {
	m := NewMarket(w.Agents, w.Leaves, seed)
	empty := heap()
	s := m.Open()
	nodes := heap() - empty
	tasks := w.Agents * w.PerAgent
	cost := Measure(func() {
		for i := range (tasks + 999) / 1000 {
			a := m.ask(fmt.Sprintf("a%d", i), m.Leaves[i%len(m.Leaves)], false)
			a.Count = min(1000, tasks-i*1000)
			a.Shape.Resources["cpu"], a.Shape.Resources["memory"] = 100+a.Shape.Resources["cpu"]/20, gib/4
			s.Must(cluster.Submit{Ask: a})
			if i%10 == 9 {
				s.Must(cluster.Tick{})
			}
		}
		s.Must(cluster.Tick{})
	})
	s.Must(cluster.Tick{}) // nothing: lets go of the last effects
	held := heap() - empty - nodes
	agents := Result{
		Workload: "W8 footprint", Case: "agents at rest", Agents: w.Agents, Roles: w.Leaves, Units: w.Agents, Unit: "agent", Bytes: nodes,
		Note: fmt.Sprintf("%d bytes each", nodes/uint64(w.Agents)),
	}
	all := Result{
		Workload: "W8 footprint", Case: "tasks at rest", Agents: w.Agents, Roles: w.Leaves, Cost: cost, Units: s.Launched, Unit: "task", Bytes: held,
		Note: fmt.Sprintf("%d bytes each", held/uint64(max(1, s.Launched))),
	}
	all.judge(s)
	return []Result{agents, all}
}
