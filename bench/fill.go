package bench

import (
	"fmt"
	"time"

	"polder.dev/polder/core/cluster"
)

// Fill is W1: everything is asked for at once, to 90 % of all cpus, and placed.
type Fill struct {
	Agents, Leaves int
	Deep, Mixed    bool
}

// Run places the tasks.
func (w Fill) Run(seed uint64) Result {
	m := NewMarket(w.Agents, w.Leaves, seed)
	asks := m.Asks(0.9, w.Deep, w.Mixed)
	s := m.Open()
	refused := 0
	cost := Measure(func() {
		for _, a := range asks {
			if s.Step(cluster.Submit{Ask: a}) != nil {
				refused++
			}
		}
		s.Must(cluster.Tick{})
	})
	s.now = s.now.Add(time.Second)
	books := Measure(func() { s.Must(cluster.Tick{}) })
	shape, mix := "wide", "plain"
	if w.Deep {
		shape = "deep"
	}
	if w.Mixed {
		mix = "mixed"
	}
	r := Result{
		Workload: "W1 fill", Case: fmt.Sprintf("%s %s", shape, mix), Agents: w.Agents, Roles: w.Leaves, Cost: cost, Units: s.Launched, Unit: "placement",
		Note: fmt.Sprintf("%d asks, %d refused; %.1f %% of cpu; the books of waste and an idle decision after it %.1f %% of the time",
			len(asks), refused, 100*m.allocated(s), 100*float64(books.CPU)/float64(cost.CPU)),
	}
	r.judge(s)
	return r
}

// allocated is the share of all cpus that runs.
func (m *Market) allocated(s *Stage) float64 {
	return float64(s.Roles()[0].Usage["cpu"]) / float64(m.cpu)
}
