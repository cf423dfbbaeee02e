package orchestrator

import (
	"maps"
	"slices"
)

// add puts a task on the books.
func (m *Machine) add(s *service, t *Task) {
	s.tasks = append(s.tasks, t)
	m.tasks[t.ID] = t
	if !t.State.Over() {
		m.occupy(t)
	}
}

// occupy notes that a task is, or will be, on its node; vacate that it is not.
func (m *Machine) occupy(t *Task) {
	if t.Node == "" {
		return
	}
	here := m.on[t.Node]
	if here == nil {
		here = map[string]*Task{}
		m.on[t.Node] = here
	}
	here[t.ID] = t
	if n := m.node(t.Node); n != nil {
		n.tasks = len(here)
		m.publish(n, t)
	}
}

// publish gives a task the ports of its service on its node's machine.
func (m *Machine) publish(n *Node, t *Task) {
	for _, p := range m.services[t.Service].Spec.Ports {
		taken := m.ports[n.Engine]
		if taken == nil {
			taken = map[Port]string{}
			m.ports[n.Engine] = taken
		}
		taken[p] = t.ID
	}
}

func (m *Machine) vacate(t *Task) {
	if t.Node == "" {
		return
	}
	here := m.on[t.Node]
	delete(here, t.ID)
	if len(here) == 0 {
		delete(m.on, t.Node)
	}
	if n := m.node(t.Node); n != nil {
		n.tasks = len(here)
	}
	for _, taken := range m.ports { // empty unless somebody publishes ports
		maps.DeleteFunc(taken, func(_ Port, id string) bool { return id == t.ID })
	}
	for id, s := range m.services {
		if s.waiting && len(s.Spec.Ports) > 0 {
			m.dirty[id] = true
		}
	}
}

// newTask makes a task of a service as it is wanted now.
func (m *Machine) newTask(s *service, slot int, bound string) *Task {
	t := &Task{ID: m.newID(), Service: s.ID, Slot: slot, Bound: bound, Index: s.Index, Iteration: s.Iteration, Template: s.Spec.Template,
		Print: s.Spec.Print, Created: m.now, Since: m.now, Wanted: true}
	m.add(s, t)
	m.touched[t.ID] = true
	return t
}

// become changes a task's state.
func (m *Machine) become(t *Task, state State, why string) {
	if t.State == state && t.Reason == why {
		return
	}
	if t.State != state {
		t.Since = m.now
	}
	if state.Over() && !t.State.Over() {
		m.vacate(t)
		t.queued, t.stopping = false, false
	}
	if state == Running && t.Started.IsZero() {
		t.Started = m.now
	}
	t.State, t.Reason = state, why
	m.touched[t.ID], m.dirty[t.Service] = true, true
}

// retire ends a task: it is not wanted any more.
func (m *Machine) retire(t *Task, remove bool) {
	if t.Wanted || remove && !t.Remove {
		t.Wanted, t.Remove = false, t.Remove || remove
		m.touched[t.ID], m.dirty[t.Service] = true, true
	}
	if t.State.Over() || t.stopping {
		return
	}
	switch {
	case t.Pool != "":
		t.stopping = true
		m.doings = append(m.doings, Stop{t.ID, t.Pool})
	case t.State == Assigned || t.queued: // the pool's answer is on its way
	default:
		m.become(t, Shutdown, "")
	}
}

// drop forgets a task that has ended.
func (m *Machine) drop(s *service, t *Task) {
	s.tasks = slices.DeleteFunc(s.tasks, func(o *Task) bool { return o == t })
	delete(m.tasks, t.ID)
	delete(m.touched, t.ID)
	m.records = append(m.records, DropTask{*t})
}

func (e Report) apply(m *Machine) {
	t := m.tasks[e.Task]
	if t == nil || e.Pool != "" && t.Former == e.Pool || t.Pool != "" && t.Pool != e.Pool || t.State.Over() {
		if t != nil && t.Pool == e.Pool && e.State.Over() {
			return
		}
		if !e.State.Over() && e.Pool != "" { // a duplicate: its task was given up, or has another place
			m.doings = append(m.doings, Stop{e.Task, e.Pool})
		}
		return
	}
	m.reported[t.ID] = !m.ready
	if t.Pool != e.Pool {
		t.Pool = e.Pool
		m.touched[t.ID] = true
	}
	if e.Node != "" && e.Node != t.Node {
		m.vacate(t)
		t.Node = e.Node
		m.occupy(t)
	}
	if e.State == Pending {
		t.queued = true
	}
	if !t.Wanted {
		e.Reason, e.Forced = t.Reason, t.Forced // it ends because that was wanted
	}
	t.Exit, t.Forced = e.Exit, e.Forced
	m.become(t, e.State, e.Reason)
	if !t.Wanted {
		m.retire(t, t.Remove)
	}
}

func (e Refused) apply(m *Machine) {
	t := m.tasks[e.Task]
	if t == nil || t.State.Over() || t.Pool != "" {
		return
	}
	m.vacate(t)
	t.Node, t.queued = "", false
	if !e.Room {
		m.become(t, Rejected, e.Reason)
		return
	}
	t.refused = true
	m.become(t, Pending, e.Reason)
	if !t.Wanted {
		m.retire(t, t.Remove)
	}
}
