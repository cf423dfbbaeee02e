package orchestrator

import (
	"cmp"
	"maps"
	"slices"
)

// History is how many tasks of a slot are remembered unless [Machine.Remember] says otherwise, the present one included.
const History = 5

// reconcile makes what is wanted of a service's tasks true, as far as it goes now.
func (m *Machine) reconcile(s *service) {
	if s.Removing {
		m.dissolve(s)
		return
	}
	m.enforce(s)
	m.replaceEnded(s)
	switch s.Spec.Mode {
	case Replicated:
		m.replicate(s)
	case Global:
		m.global(s)
	default:
		m.job(s)
	}
	if !s.Spec.Mode.Job() {
		m.rollOut(s)
	}
	m.place(s)
	m.prune(s)
}

// dissolve ends all tasks of a service that is being removed, and the service with the last one.
func (m *Machine) dissolve(s *service) {
	for _, t := range slices.Clone(s.tasks) {
		m.retire(t, true)
		if t.State.Over() {
			m.drop(s, t)
		}
	}
	if len(s.tasks) == 0 {
		delete(m.services, s.ID)
		m.records = append(m.records, DropService{s.ID})
	}
}

// enforce retires tasks where they must not be: on nodes that are being emptied, or that the constraints exclude now.
func (m *Machine) enforce(s *service) {
	for _, t := range s.tasks {
		if !t.Wanted || t.State.Over() || t.Node == "" {
			continue
		}
		n := m.node(t.Node)
		if n == nil {
			continue // the pool will say what became of it
		}
		if n.State == "draining" || !s.Spec.Placement.allows(n) {
			t.Forced, t.Reason = true, "its node is being emptied"
			if n.State != "draining" {
				t.Reason = "its node does not satisfy the constraints any more"
			}
			m.retire(t, false)
			if !s.Spec.Mode.PerNode() && !slices.ContainsFunc(s.tasks, func(o *Task) bool { return o.Wanted && o.slot() == t.slot() }) {
				m.newTask(s, t.Slot, "")
			}
		}
	}
}

// slot is the place of a task in its service.
type slot struct {
	bound string
	n     int
}

func (t *Task) slot() slot { return slot{t.Bound, t.Slot} }

func inOrder(slots map[slot][]*Task) []slot {
	return slices.SortedFunc(maps.Keys(slots), slot.compare)
}

func (a slot) compare(b slot) int {
	return cmp.Or(cmp.Compare(a.bound, b.bound), cmp.Compare(a.n, b.n))
}

// slots are a service's tasks by their place.
func (s *service) slots() map[slot][]*Task {
	out := make(map[slot][]*Task, len(s.tasks))
	for _, t := range s.tasks {
		out[t.slot()] = append(out[t.slot()], t)
	}
	return out
}

// wanted returns the tasks of a slot that are wanted.
func wanted(tasks []*Task) (out []*Task) {
	for _, t := range tasks {
		if t.Wanted {
			out = append(out, t)
		}
	}
	return out
}

// replicate keeps so many slots: it fills the lowest numbers that are free, and gives up those that do not run, then those where
// most tasks of the service are.
func (m *Machine) replicate(s *service) {
	slots := s.slots()
	maps.DeleteFunc(slots, func(_ slot, tasks []*Task) bool { return len(wanted(tasks)) == 0 })
	missing := int(s.Spec.Replicas) - len(slots)
	for number := 1; missing > 0; number++ {
		if _, used := slots[slot{n: number}]; !used {
			m.newTask(s, number, "")
			missing--
		}
	}
	if missing < 0 {
		for _, name := range surplus(slots, -missing) {
			for _, t := range s.tasks {
				if t.slot() == name {
					m.retire(t, true)
				}
			}
		}
	}
}

// surplus chooses slots to give up.
func surplus(slots map[slot][]*Task, n int) []slot {
	type candidate struct {
		name    slot
		running bool
		nth     int // among the slots on its node
	}
	var all []candidate
	on := map[string]int{}
	for _, name := range inOrder(slots) {
		c := candidate{name: name}
		for _, t := range wanted(slots[name]) {
			if t.State == Running && !c.running {
				c.running, c.nth = true, on[t.Node]
				on[t.Node]++
			}
		}
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		if a.running != b.running {
			return map[bool]int{true: 1, false: -1}[a.running]
		}
		return cmp.Or(cmp.Compare(b.nth, a.nth), b.name.compare(a.name))
	})
	var out []slot
	for _, c := range all[:n] {
		out = append(out, c.name)
	}
	return out
}

// global keeps one task on each node that may have one. A node that takes no new tasks keeps the one it has.
func (m *Machine) global(s *service) {
	slots := s.slots()
	for _, n := range m.nodes {
		if n.State == "ready" && s.Spec.Placement.allows(n) && len(wanted(slots[slot{bound: n.Name}])) == 0 {
			m.newTask(s, 0, n.Name)
		}
	}
	for _, t := range s.tasks {
		if n := m.node(t.Bound); t.Wanted && (n == nil && t.State <= Assigned || n != nil && (n.State == "draining" || !s.Spec.Placement.allows(n))) {
			m.retire(t, n == nil)
		}
	}
}

// job starts what is missing of a job's present run, and ends what is left of earlier ones.
func (m *Machine) job(s *service) {
	active, counted, last := 0, 0, 0
	bound := map[string]bool{}
	for _, t := range s.tasks {
		switch {
		case t.Iteration != s.Iteration:
			m.retire(t, true)
		case t.Wanted && !t.State.Over():
			active++
		case t.Done:
			counted++
		}
		if t.Iteration == s.Iteration {
			last = max(last, t.Slot)
			bound[t.Bound] = bound[t.Bound] || t.Wanted
		}
	}
	if s.Spec.Mode == GlobalJob {
		for _, n := range m.nodes {
			if n.State == "ready" && s.Spec.Placement.allows(n) && !bound[n.Name] {
				m.newTask(s, 0, n.Name)
			}
		}
		return
	}
	most := s.Spec.Concurrent
	if most == 0 {
		most = s.Spec.Replicas
	}
	m.cut(s, active+counted-int(s.Spec.Replicas))
	for missing := min(int(most)-active, int(s.Spec.Replicas)-active-counted); missing > 0; missing-- {
		last++
		m.newTask(s, last, "")
	}
}

// cut ends the newest of a job's tasks that are too many since it wants fewer.
func (m *Machine) cut(s *service, surplus int) {
	for i := len(s.tasks) - 1; i >= 0 && surplus > 0; i-- {
		if t := s.tasks[i]; t.Wanted && !t.State.Over() && t.Iteration == s.Iteration {
			m.retire(t, true)
			surplus--
		}
	}
}

// prune forgets the oldest ended tasks of each slot, and those of which nothing is to be remembered.
func (m *Machine) prune(s *service) {
	kept := map[slot]int{}
	for i := len(s.tasks) - 1; i >= 0; i-- {
		t := s.tasks[i]
		kept[t.slot()]++
		if t.State.Over() && !t.Wanted && (t.Remove || m.history >= 0 && kept[t.slot()] > m.history) && !s.awaited(t) {
			m.drop(s, t)
		}
	}
}

// awaited reports whether another task still waits for the end of t.
func (s *service) awaited(t *Task) bool {
	return slices.ContainsFunc(s.tasks, func(o *Task) bool { return o.After == t.ID && o.Wanted && o.State <= Pending })
}
