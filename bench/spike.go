package bench

import (
	"fmt"
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Spike is W5: batch work has borrowed the cluster to 98 %, and online wants so much of its guarantee back that two borrowers an
// agent have to leave. All tasks are of one size: where they are not, a guarantee is a quantity and not a shape.
type Spike struct {
	Agents int
}

// Run fills the cluster, lets online ask, and measures the decision that gives every notice. Then everybody leaves, and online has to
// run.
func (w Spike) Run(seed uint64) Result {
	m := w.build(seed)
	s := m.Open()
	s.keep = true
	w.borrow(m, s)
	tasks := w.Agents * 2
	for i := range 3 {
		s.Must(cluster.Submit{Ask: cluster.AskSpec{ID: fmt.Sprintf("online%d", i), Role: fmt.Sprintf("online/l%d", i), Count: (tasks + 2) / 3,
			Shape: cluster.Shape{Resources: w.size(2)}}})
	}
	s.Must(cluster.Tick{})
	asked, _ := s.running("online")
	s.now = s.now.Add(time.Second)
	s.Must(cluster.Tick{})         // what began is booked
	s.now = s.now.Add(time.Minute) // older than any claim must be
	cost := measure(func() { s.Must(cluster.Tick{}) })
	needed := int64((tasks+2)/3*3-asked) * int64(w.size(2)["cpu"])
	freed := w.leave(s)
	got, want := s.running("online")
	r := Result{
		Workload: "W5 spike", Case: "notices", Agents: w.Agents, Roles: 6, Cost: cost, Units: s.Noticed, Unit: "victim",
		Note: fmt.Sprintf("freed/needed %.3f", float64(freed)/float64(max(1, needed))),
	}
	if got != want {
		r.Faults = append(r.Faults, fmt.Sprintf("%d of %d tasks of online run", got, want))
	}
	r.judge(s)
	return r
}

// build makes machines of the standard classes, with 60 % of them guaranteed to online and 30 % to batch.
func (w Spike) build(seed uint64) *Market {
	m := NewMarket(w.Agents, 25, seed)
	m.Plan = &role.Plan{Roles: map[string]role.RoleSpec{}}
	for i := range 3 {
		m.Plan.Roles[fmt.Sprintf("online/l%d", i)] = role.RoleSpec{Guarantee: m.part(0.2)}
		m.Plan.Roles[fmt.Sprintf("batch/l%d", i)] = role.RoleSpec{Guarantee: m.part(0.1)}
	}
	return m
}

func (w Spike) size(cpus int64) resource.Resources {
	return resource.Resources{"cpu": resource.Amount(cpus) * resource.Milli, "memory": resource.Amount(cpus) * gib}
}

// borrow fills the cluster to 98 % with batch tasks of two cpus.
func (w Spike) borrow(m *Market, s *Stage) {
	all := int(float64(m.cpu) * 0.98 / float64(2*resource.Milli))
	for i := range 3 {
		s.Must(cluster.Submit{Ask: cluster.AskSpec{ID: fmt.Sprintf("batch%d", i), Role: fmt.Sprintf("batch/l%d", i), Count: all / 3,
			Shape: cluster.Shape{Resources: w.size(2)}}})
	}
	s.Must(cluster.Tick{})
}

// leave ends everything under notice, and says how much cpu that was.
func (w Spike) leave(s *Stage) (freed int64) {
	for _, n := range s.notices {
		freed += int64(n.Amount["cpu"])
		s.Must(cluster.Report{Node: n.Node, Task: cluster.TaskReport{Assignment: cluster.Assignment{Task: n.Task}, State: cluster.Reclaimed}})
	}
	s.Must(cluster.Tick{})
	return freed
}

// running is how many tasks of a role run, and how many there should be.
func (s *Stage) running(path string) (is, all int) {
	for _, r := range s.Roles() {
		if r.Path == path {
			return r.Running, r.Running + r.Pending
		}
	}
	return 0, 0
}
