package bench

import (
	"fmt"
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Spike is W5: batch work has borrowed the cluster to 98 %, and online wants so much of its guarantee back that two borrowers an
// agent have to leave; while they do, it wants half as much as one an agent more. All tasks are of one size: where they are not, a
// guarantee is a quantity and not a shape.
type Spike struct {
	Agents int
	Gangs  bool // a third of the batch tasks are in gangs of four
}

// gangSize is how many tasks leave together where there are gangs.
const gangSize = 4

// Run fills the cluster, lets online ask twice, and measures the decisions that give every notice, and the one that starts what was
// waited for. Of ten who have notice one ignores it until its deadline is over.
func (w Spike) Run(seed uint64) []Result {
	m := w.build(seed)
	s := m.Open()
	w.borrow(m, s)
	first, _ := w.spike(m, s, "notices", 2*w.Agents)
	told := s.notices()
	second, needed := w.spike(m, s, "notices of a second, meanwhile", w.Agents/2)
	end := w.leave(s, append(told, s.notices()...))
	end.Note = fmt.Sprintf("freed/needed %.3f; %s", float64(end.freed)/float64(needed), end.Note)
	got, want := s.running("online")
	if got != want {
		end.Faults = append(end.Faults, fmt.Sprintf("%d of %d tasks of online run", got, want))
	}
	if n := s.torn(); n > 0 {
		end.Faults = append(end.Faults, fmt.Sprintf("%d gangs run in part", n))
	}
	out := []Result{first, second, end.Result}
	for i := range out {
		out[i].Workload, out[i].Agents, out[i].Roles = "W5 spike", w.Agents, 6
		if w.Gangs {
			out[i].Case += ", gangs"
		}
		out[i].judge(s)
	}
	return out
}

// spike lets online ask for what is free and so many tasks more, and measures the decision that asks for them back. It returns how
// much cpu online then waits for.
func (w Spike) spike(m *Market, s *Stage, name string, victims int) (Result, int64) {
	tasks := victims + int(m.cpu-s.Roles()[0].Usage["cpu"])/int(w.size(2)["cpu"])
	for i := range 3 {
		s.Must(cluster.Submit{Ask: cluster.AskSpec{ID: fmt.Sprintf("%s %d", name, i), Role: fmt.Sprintf("online/l%d", i), Count: tasks/3 + (i+tasks%3)/3,
			Shape: cluster.Shape{Resources: w.size(2)}}})
	}
	s.Must(cluster.Tick{})
	s.now = s.now.Add(time.Second)
	s.Must(cluster.Tick{}) // what began is booked
	is, all := s.running("online")
	s.now = s.now.Add(role.DefaultReclaimDelay)
	before := s.Noticed
	cost := Measure(func() { s.Must(cluster.Tick{}) })
	return Result{Case: name, Cost: cost, Units: s.Noticed - before, Unit: "victim"}, int64(all-is) * int64(w.size(2)["cpu"])
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
		a := cluster.AskSpec{ID: fmt.Sprintf("batch%d", i), Role: fmt.Sprintf("batch/l%d", i), Count: all / 3, Shape: cluster.Shape{Resources: w.size(2)}}
		if !w.Gangs || i < 2 {
			s.Must(cluster.Submit{Ask: a})
			continue
		}
		a.Count, a.Gang = gangSize, true
		for g := range all / 3 / gangSize {
			a.ID = fmt.Sprintf("gang%d", g)
			s.Must(cluster.Submit{Ask: a})
		}
	}
	s.Must(cluster.Tick{})
}

// left is how a spike ended.
type left struct {
	Result
	freed int64 // cpu of those who left
}

// leave ends everything under notice, what obeys in the middle of its notice and what does not when it is over, and measures both
// decisions with what was reported before them.
func (w Spike) leave(s *Stage, told []cluster.Notice) (end left) {
	launched := s.Launched
	var obey, ignore []cluster.Notice
	last := s.now
	for i, n := range told {
		end.freed += int64(n.Amount["cpu"])
		if n.Deadline.After(last) {
			last = n.Deadline
		}
		if i%10 == 9 {
			ignore = append(ignore, n)
		} else {
			obey = append(obey, n)
		}
	}
	end.Cost = Measure(func() {
		s.now = s.now.Add(10 * time.Second)
		s.gone(obey)
		s.now = last.Add(time.Second) // agents stop what ignores its notice
		s.gone(ignore)
	})
	end.Case, end.Units, end.Unit = "they leave, others start", s.Launched-launched, "start"
	end.Note = fmt.Sprintf("one in ten ignores its notice; all run %s after the last deadline", s.now.Sub(last))
	return end
}

// gone reports that tasks have left, and lets the core decide.
func (s *Stage) gone(notices []cluster.Notice) {
	for _, n := range notices {
		s.Must(cluster.Report{Node: n.Node, Task: cluster.TaskReport{Assignment: cluster.Assignment{Task: n.Task}, State: cluster.Reclaimed}})
	}
	s.Must(cluster.Tick{})
}

// torn is how many gangs run in part.
func (s *Stage) torn() (n int) {
	run := map[string]int{}
	for _, t := range s.Tasks() {
		if t.Gang {
			run[t.Ask]++
		}
	}
	for _, tasks := range run {
		if tasks%gangSize != 0 {
			n++
		}
	}
	return n
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
