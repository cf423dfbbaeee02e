package orchestrator

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// Machine is the state of all services. Make one with [New].
type Machine struct {
	newID    func() string
	services map[string]*service
	tasks    map[string]*Task
	on       map[string]map[string]*Task // by node, there or not: the tasks that are, or will be, on it, by id
	nodes    []*Node                     // by name
	ready    bool                        // Synced was seen
	worlds   int                         // grows when nodes change in what decides where tasks may be
	index    uint64
	history  int // how many tasks of a slot are remembered; all when negative

	now      time.Time
	dirty    map[string]bool
	touched  map[string]bool // tasks whose record has changed
	changed  map[string]bool // services
	records  []Effect
	doings   []Effect
	stamp    int                        // of the service that is being placed
	ports    map[string]map[Port]string // by engine: the task that has it
	reported map[string]bool            // tasks the pool told of, until Synced
}

// service is a service with its tasks and what is remembered to be quick.
type service struct {
	Service
	tasks   []*Task // by creation
	ends    map[slot][]time.Time
	due     time.Time
	waiting bool // for a node that may have a task
	fits    []*Node
	fitsAt  int
}

// New makes an empty machine; newID names tasks, each differently.
func New(newID func() string) *Machine {
	return &Machine{newID: newID, services: map[string]*service{}, tasks: map[string]*Task{}, on: map[string]map[string]*Task{},
		dirty: map[string]bool{}, touched: map[string]bool{}, changed: map[string]bool{}, ports: map[string]map[Port]string{},
		reported: map[string]bool{}, worlds: 1, history: History}
}

// Remember says how many tasks of a slot are remembered from now on, the present one included: all when n is negative. What is too much
// of a service is forgotten when something happens to it.
func (m *Machine) Remember(n int) { m.history = n }

// Load puts what was written down back, before the first step.
func (m *Machine) Load(services []Service, tasks []Task) {
	for _, s := range services {
		m.services[s.ID] = &service{Service: s, ends: map[slot][]time.Time{}}
		m.index = max(m.index, s.Index)
	}
	slices.SortStableFunc(tasks, func(a, b Task) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	for _, t := range tasks {
		if s := m.services[t.Service]; s != nil {
			m.add(s, &t)
		}
	}
}

// Service returns a service, Tasks its tasks by their creation. What is being removed is not there any more.
func (m *Machine) Service(id string) (Service, bool) {
	s := m.services[id]
	if s == nil || s.Removing {
		return Service{}, false
	}
	return s.copy(), true
}

// Services lists the services by id.
func (m *Machine) Services() (out []Service) {
	for _, id := range slices.Sorted(maps.Keys(m.services)) {
		if s := m.services[id]; !s.Removing {
			out = append(out, s.copy())
		}
	}
	return out
}

// Named reports whether a service has the name. What is being removed has none any more.
func (m *Machine) Named(name string) bool {
	for _, s := range m.services {
		if s.Name == name && !s.Removing {
			return true
		}
	}
	return false
}

// Tasks lists a service's tasks by their creation.
func (m *Machine) Tasks(service string) (out []Task) {
	if s := m.services[service]; s != nil {
		for _, t := range s.tasks {
			out = append(out, *t)
		}
	}
	return out
}

// Task returns a task.
func (m *Machine) Task(id string) (Task, bool) {
	if t := m.tasks[id]; t != nil {
		return *t, true
	}
	return Task{}, false
}

// Nodes lists the nodes by name.
func (m *Machine) Nodes() (out []Node) {
	for _, n := range m.nodes {
		out = append(out, *n)
	}
	return out
}

// Step takes an event and says what is to be done.
func (m *Machine) Step(e Event, now time.Time) []Effect {
	m.now, m.records, m.doings = now, nil, nil
	e.apply(m)
	if m.ready {
		m.settle()
	}
	for _, id := range slices.Sorted(maps.Keys(m.changed)) {
		if s := m.services[id]; s != nil {
			m.records = append(m.records, SaveService{s.copy()})
		}
	}
	clear(m.changed)
	for _, id := range slices.Sorted(maps.Keys(m.touched)) {
		if t := m.tasks[id]; t != nil {
			m.records = append(m.records, SaveTask{*t})
		}
	}
	clear(m.touched)
	return append(m.records, m.doings...)
}

// Due is when the machine wants a [Tick]; zero when only events change something.
func (m *Machine) Due() time.Time {
	var due time.Time
	if len(m.dirty) > 0 && m.ready {
		return m.now
	}
	for _, s := range m.services {
		if !s.due.IsZero() && (due.IsZero() || s.due.Before(due)) {
			due = s.due
		}
	}
	return due
}

// settle decides for every service that something happened to, or that is due.
func (m *Machine) settle() {
	for id, s := range m.services {
		if !s.due.IsZero() && !m.now.Before(s.due) {
			m.dirty[id] = true
		}
	}
	for range settleMost {
		ids := slices.Sorted(maps.Keys(m.dirty))
		clear(m.dirty)
		for _, id := range ids {
			if s := m.services[id]; s != nil {
				s.due = time.Time{}
				m.reconcile(s)
			}
		}
	}
}

// settleMost is how often one step looks at what it has changed itself; what is left then waits for the next one.
const settleMost = 4

// wake asks for another look at a time.
func (s *service) wake(at time.Time) {
	if s.due.IsZero() || at.Before(s.due) {
		s.due = at
	}
}

func (b Batch) apply(m *Machine) {
	for _, e := range b {
		e.apply(m)
	}
}

func (Tick) apply(*Machine) {}

func (e PutService) apply(m *Machine) {
	s := m.services[e.Service.ID]
	m.index++
	if s == nil {
		s = &service{Service: e.Service, ends: map[slot][]time.Time{}}
		s.Created, s.Executed = m.now, m.now
		m.services[s.ID] = s
		if s.Spec.Mode.Job() {
			s.Iteration = 1
		}
	} else {
		s.change(e, m.now)
	}
	s.Index, s.Updated = m.index, m.now
	m.save(s)
}

// change takes over a new spec.
func (s *service) change(e PutService, now time.Time) {
	old := s.Spec
	s.Spec, s.Previous, s.Update = e.Service.Spec, &old, nil
	if e.Back {
		s.Update = &Update{State: RollbackStarted, Started: now, Message: "manually requested rollback"}
	}
	if s.Spec.Mode.Job() && s.Spec.Print != old.Print {
		s.Iteration, s.Executed = s.Iteration+1, now
	}
	s.fitsAt = 0
	clear(s.ends)
}

func (m *Machine) save(s *service) {
	m.dirty[s.ID], m.changed[s.ID] = true, true
}

// copy shares nothing with the service that changes.
func (s *service) copy() Service {
	out := s.Service
	if out.Update != nil {
		u := *out.Update
		u.Failures = slices.Clone(u.Failures)
		out.Update = &u
	}
	return out
}

func (e RemoveService) apply(m *Machine) {
	if s := m.services[e.ID]; s != nil && !s.Removing {
		s.Removing = true
		m.save(s)
	}
}

func (e PutNode) apply(m *Machine) {
	i, found := slices.BinarySearchFunc(m.nodes, e.Node.Name, func(n *Node, name string) int { return cmp.Compare(n.Name, name) })
	n := e.Node
	if !found {
		m.nodes = slices.Insert(m.nodes, i, &n)
		m.settleIn(&n)
		m.newWorld()
		return
	}
	old := m.nodes[i]
	changed := old.State != n.State || old.Engine != n.Engine || old.Arch != n.Arch || !maps.Equal(old.Attributes, n.Attributes) || !maps.Equal(old.Labels, n.Labels)
	n.tasks, n.mine, n.stamp = old.tasks, old.mine, old.stamp
	*old = n // services remember the pointer
	if changed {
		m.settleIn(old)
		m.newWorld()
	}
}

// settleIn notes what is on a node already.
func (m *Machine) settleIn(n *Node) {
	here := m.on[n.Name]
	n.tasks = len(here)
	for _, t := range here {
		m.publish(n, t)
	}
}

func (e RemoveNode) apply(m *Machine) {
	m.nodes = slices.DeleteFunc(m.nodes, func(n *Node) bool { return n.Name == e.Name })
	m.newWorld()
}

// newWorld has everything looked at anew.
func (m *Machine) newWorld() {
	m.worlds++
	for id := range m.services {
		m.dirty[id] = true
	}
}

func (m *Machine) node(name string) *Node {
	i, found := slices.BinarySearchFunc(m.nodes, name, func(n *Node, name string) int { return cmp.Compare(n.Name, name) })
	if !found {
		return nil
	}
	return m.nodes[i]
}

func (Synced) apply(m *Machine) {
	if m.ready {
		return
	}
	m.ready = true
	for _, t := range m.tasks {
		if t.State.Over() || m.reported[t.ID] {
			continue
		}
		if t.State <= Assigned { // it was not asked for, or the pool refused
			m.vacate(t)
			t.Pool, t.Node, t.queued = "", "", false
			m.become(t, Pending, "")
		} else {
			t.Forced = true
			m.become(t, Orphaned, "the pool no longer knows the task")
		}
	}
	clear(m.reported)
	for id := range m.services {
		m.dirty[id] = true
	}
}

// Leaving are the templates of services that are removed and still have tasks.
func (m *Machine) Leaving() (out []json.RawMessage) {
	for _, s := range m.services {
		if s.Removing {
			out = append(out, s.Spec.Template)
		}
	}
	return out
}

// Starting are the pool's asks of tasks that had their lease at a time and do not run yet.
func (m *Machine) Starting(at time.Time) (out []string) {
	for _, t := range m.tasks {
		if t.State == Starting && t.Pool != "" && !t.Since.After(at) {
			out = append(out, t.Pool)
		}
	}
	slices.Sort(out)
	return out
}

// Placed are the tasks that have their lease, by the pool's ask.
func (m *Machine) Placed() map[string]string {
	out := map[string]string{}
	for _, t := range m.tasks {
		if t.Pool != "" && t.State >= Starting && !t.State.Over() {
			out[t.Pool] = t.ID
		}
	}
	return out
}

// Waits reports whether a task waits in the pool's queue.
func (m *Machine) Waits() bool {
	for _, t := range m.tasks {
		if t.queued && !t.State.Over() {
			return true
		}
	}
	return false
}
