package orchestrator

import (
	"slices"
	"time"
)

// replaceEnded sees to tasks that are wanted and have ended: another one takes the place, or that was it.
func (m *Machine) replaceEnded(s *service) {
	for _, t := range slices.Clone(s.tasks) {
		if !t.Wanted || !t.State.Over() || t.Done || t.Iteration != s.Iteration {
			continue
		}
		again, delay := s.again(t, m.now)
		m.touched[t.ID] = true
		if !again {
			t.Done = true
			continue
		}
		m.retire(t, false)
		if t.Bound != "" && !m.hosts(s, t.Bound) || s.succeeded(t) {
			continue
		}
		next := m.newTask(s, t.Slot, t.Bound)
		if delay > 0 {
			next.NotBefore = t.Since.Add(delay)
		}
	}
}

// succeeded reports whether another task has t's place already: t was to be stopped when that one runs.
func (s *service) succeeded(t *Task) bool {
	return slices.ContainsFunc(s.tasks, func(o *Task) bool { return o != t && o.Wanted && o.slot() == t.slot() && o.Print == s.Spec.Print })
}

// hosts reports whether a node may have the service's task.
func (m *Machine) hosts(s *service, name string) bool {
	n := m.node(name)
	return n != nil && n.State != "draining" && s.Spec.Placement.allows(n)
}

// again reports whether a task that has ended is replaced, and after what delay. What happened to it by force does not count
// against it.
func (s *service) again(t *Task, now time.Time) (bool, time.Duration) {
	r := s.Spec.Restart
	switch {
	case s.Spec.Mode.Job() && t.State == Complete:
		return false, 0
	case t.Forced:
		return true, 0
	case r.Condition == Never, r.Condition == OnFailure && t.State == Complete:
		return false, 0
	}
	if r.MaxAttempts > 0 {
		ends := s.ends[t.slot()]
		if r.Window > 0 {
			ends = slices.DeleteFunc(ends, func(at time.Time) bool { return !at.After(now.Add(-r.Window)) })
		}
		if uint64(len(ends)) >= r.MaxAttempts {
			return false, 0
		}
		s.ends[t.slot()] = append(ends, now)
	}
	return true, r.Delay
}
