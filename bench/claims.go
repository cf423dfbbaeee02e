package bench

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
)

// Claims is W3: planners that choose machines themselves from snapshots that are a think time old, on a cluster that stays 90 % full:
// each round of 100 ms one task in a thousand ends (one in a hundred a second), and as much is claimed anew by the planners, none
// of which has seen what ended or what the others claim.
type Claims struct {
	Agents, Leaves, Planners, Rounds int
}

// staleAdvice is what a claim is told whose machine has not enough any more.
const staleAdvice = "choose another node from a fresh snapshot"

// room is what a planner knows of a machine.
type room struct{ cpu, memory resource.Amount }

// planner is a scheduler with its own copy of what was free.
type planner struct {
	free []room
	rng  *rand.Rand
}

// Run plays the rounds. Only the commits, and the decision at the end of a round, are measured.
func (w Claims) Run(seed uint64) Result {
	m := NewMarket(w.Agents, w.Leaves, seed)
	s := m.Open()
	for _, a := range m.Asks(0.9, false, false) {
		s.Must(cluster.Submit{Ask: a})
	}
	s.Must(cluster.Tick{})
	s.now = s.now.Add(time.Second)
	s.Must(cluster.Tick{})
	tasks := s.Tasks()
	planners := make([]planner, w.Planners)
	var total stopwatch
	claims, conflicts, why := 0, 0, map[string]int{}
	for round := range w.Rounds {
		seen := look(s)
		for i := range planners {
			planners[i] = planner{slices.Clone(seen), m.rng}
		}
		runtime.GC() // what planners leave behind is not the core's
		ended := w.churn(m, s, tasks, round)
		commits := w.plan(m, planners, ended, round)
		total.time(func() {
			for _, c := range commits {
				s.Must(c)
				for _, r := range s.committed.Results {
					claims++
					if r.Conflict != nil {
						conflicts++
						why[r.Conflict.UnblockedBy]++
					}
				}
			}
			s.now = s.now.Add(100 * time.Millisecond)
			s.Must(cluster.Tick{})
		})
	}
	r := Result{
		Workload: "W3 claims", Case: fmt.Sprintf("%d planners, 90 %% full", w.Planners), Agents: w.Agents, Roles: w.Leaves, Cost: total.Cost,
		Units: claims - conflicts, Unit: "commit", Note: fmt.Sprintf("%.2f %% conflicts, %d of them of machines; %.1f %% of cpu", 100*float64(conflicts)/float64(claims), why[staleAdvice], 100*m.allocated(s)),
	}
	r.judge(s)
	return r
}

// look takes a snapshot: what is free on every machine.
func look(s *Stage) (out []room) {
	for _, n := range s.Nodes() {
		out = append(out, room{n.Available["cpu"], n.Available["memory"]})
	}
	return out
}

// churn ends every thousandth task.
func (w Claims) churn(m *Market, s *Stage, tasks []cluster.TaskView, round int) []cluster.TaskView {
	var ended []cluster.TaskView
	for i := round; i < len(tasks); i += 1000 {
		t := tasks[i]
		s.Must(cluster.Report{Node: t.Node, Task: cluster.TaskReport{Assignment: cluster.Assignment{Task: t.Task}, State: cluster.Succeeded}})
		ended = append(ended, t)
	}
	s.Must(cluster.Tick{})
	return ended
}

// plan lets each planner place its part of what ended, on the emptiest of eight machines where it fits in its snapshot.
func (w Claims) plan(m *Market, planners []planner, ended []cluster.TaskView, round int) []cluster.Commit {
	var out []cluster.Commit
	for i := range planners {
		var c cluster.Commit
		for j := i; j < len(ended); j += len(planners) {
			t := ended[j]
			spec := cluster.AskSpec{ID: fmt.Sprintf("c%d-%d", round, j), Role: t.Role, Shape: cluster.Shape{Resources: t.Shape.Resources}}
			if at, ok := planners[i].choose(spec.Shape.Resources); ok {
				c.Tasks = append(c.Tasks, cluster.Claim{Ask: spec, Node: m.Nodes[at].Name})
			}
		}
		for len(c.Tasks) > 0 { // as a scheduler commits: little by little
			n := min(25, len(c.Tasks))
			out = append(out, cluster.Commit{Tasks: c.Tasks[:n]})
			c.Tasks = c.Tasks[n:]
		}
	}
	m.rng.Shuffle(len(out), func(a, b int) { out[a], out[b] = out[b], out[a] })
	return out
}

// mostProbes is how many machines a planner looks at for one task.
const mostProbes = 4000

// choose takes the emptiest of eight machines that fit, found by probing at random.
func (p *planner) choose(need resource.Resources) (int, bool) {
	best, found := 0, 0
	for probe := 0; probe < mostProbes && found < 8; probe++ {
		at := p.rng.IntN(len(p.free))
		f := p.free[at]
		if f.cpu < need["cpu"] || f.memory < need["memory"] {
			continue
		}
		if found == 0 || f.cpu > p.free[best].cpu {
			best = at
		}
		found++
	}
	if found == 0 {
		return 0, false
	}
	p.free[best].cpu -= need["cpu"]
	p.free[best].memory -= need["memory"]
	return best, true
}
