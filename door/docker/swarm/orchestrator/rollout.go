package orchestrator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// rollOut replaces tasks of older templates, so many slots at a time, and judges how that goes.
func (m *Machine) rollOut(s *service) {
	slots := s.slots()
	maps.DeleteFunc(slots, func(_ slot, tasks []*Task) bool { return len(wanted(tasks)) == 0 })
	m.swap(s, slots)
	old := outdated(s, slots)
	u := s.Update
	if len(old) > 0 && (u == nil || u.State == RollbackStarted && u.Total == 0) {
		if u == nil {
			u = &Update{State: Updating, Started: m.now, Message: "update in progress"}
		}
		u.Total = len(old)
		s.Update = u
		m.save(s)
	}
	if u == nil || u.State != Updating && u.State != RollbackStarted {
		return
	}
	how := s.rollout()
	if m.judge(s, how) {
		return
	}
	busy := m.busy(s, slots, how)
	for _, name := range old {
		if how.Parallelism > 0 && busy >= how.Parallelism {
			return
		}
		m.renew(s, slots[name], how)
		busy++
	}
	if len(old) == 0 {
		m.finish(s, slots, how)
	}
}

// rollout is the configuration in force.
func (s *service) rollout() Rollout {
	if s.Update.rolling() {
		return s.Spec.Rollback
	}
	return s.Spec.Update
}

// outdated are the slots without a task of the present template, those that do not run first.
func outdated(s *service, slots map[slot][]*Task) []slot {
	var old []slot
	running := map[slot]int{}
	for _, name := range inOrder(slots) {
		all := wanted(slots[name])
		if !slices.ContainsFunc(all, func(t *Task) bool { return t.Print == s.Spec.Print }) {
			old = append(old, name)
		}
		for _, t := range all {
			if t.State == Running {
				running[name] = 1
			}
		}
	}
	slices.SortStableFunc(old, func(a, b slot) int { return cmp.Compare(running[a], running[b]) })
	return old
}

// swap retires old tasks whose successor runs. Of several old ones, left when one update came after another, one stays until then: the
// newest that runs.
func (m *Machine) swap(s *service, slots map[slot][]*Task) {
	for _, name := range inOrder(slots) {
		all := wanted(slots[name])
		if len(all) < 2 {
			continue
		}
		var stays *Task
		for _, t := range all {
			if t.Print != s.Spec.Print && (stays == nil || t.State == Running || stays.State != Running) {
				stays = t
			}
		}
		if slices.ContainsFunc(all, func(t *Task) bool { return t.Print == s.Spec.Print && (t.State == Running || t.Done) }) {
			stays = nil
		}
		for _, t := range all {
			if t.Print != s.Spec.Print && t != stays {
				m.retire(t, false)
			}
		}
	}
}

// busy counts the slots that are being replaced, or rest after it.
func (m *Machine) busy(s *service, slots map[slot][]*Task, how Rollout) (n uint64) {
	for _, tasks := range slots {
		for _, t := range wanted(tasks) {
			if t.Print != s.Spec.Print || t.Created.Before(s.Update.Started) || t.Done {
				continue
			}
			rested := t.Started.Add(how.Delay)
			if t.State != Running || m.now.Before(rested) {
				n++
				if t.State == Running {
					s.wake(rested)
				}
				break
			}
		}
	}
	return n
}

// renew replaces what is in a slot.
func (m *Machine) renew(s *service, tasks []*Task, how Rollout) {
	all := wanted(tasks)
	next := m.newTask(s, all[0].Slot, all[0].Bound)
	for _, t := range all {
		if how.StartFirst && t.State == Running {
			continue
		}
		m.retire(t, false)
		if !t.State.Over() {
			next.After = t.ID
		}
	}
}

// judge counts the tasks of the update that failed, and does what is to be done when they are too many.
func (m *Machine) judge(s *service, how Rollout) (over bool) {
	u := s.Update
	for _, t := range s.tasks {
		if t.Print == s.Spec.Print && !t.Created.Before(u.Started) && !t.Forced && (t.State == Failed || t.State == Rejected || t.State == Complete) &&
			(t.Started.IsZero() || t.Since.Sub(t.Started) <= how.Monitor) && !slices.Contains(u.Failures, t.ID) {
			u.Failures = append(u.Failures, t.ID)
			m.save(s)
		}
	}
	if len(u.Failures) == 0 || float64(len(u.Failures)) <= how.MaxFailureRatio*float64(u.Total) {
		return false
	}
	last := u.Failures[len(u.Failures)-1]
	switch {
	case how.FailureAction == "continue":
		return false
	case how.FailureAction == "rollback" && !u.rolling() && s.Previous != nil:
		m.rollBack(s, fmt.Sprintf("update rolled back due to failure or early termination of task %s", last))
	case u.rolling():
		u.State, u.Message = RollbackPaused, fmt.Sprintf("rollback paused due to failure or early termination of task %s", last)
	default:
		u.State, u.Message = Paused, fmt.Sprintf("update paused due to failure or early termination of task %s", last)
	}
	m.save(s)
	return true
}

// rollBack makes a service what it was before its last change.
func (m *Machine) rollBack(s *service, why string) {
	s.Spec, s.Previous = *s.Previous, nil
	m.index++
	s.Index, s.Updated, s.fitsAt = m.index, m.now, 0
	s.Update = &Update{State: RollbackStarted, Started: m.now, Message: why}
	clear(s.ends)
	s.wake(m.now)
}

// finish ends an update when everything it started has been watched long enough.
func (m *Machine) finish(s *service, slots map[slot][]*Task, how Rollout) {
	until := s.Update.Started
	for _, tasks := range slots {
		for _, t := range wanted(tasks) {
			switch {
			case t.Done:
			case t.State != Running:
				return
			case !t.Created.Before(s.Update.Started) && t.Started.Add(how.Monitor).After(until):
				until = t.Started.Add(how.Monitor)
			}
		}
	}
	if m.now.Before(until) {
		s.wake(until)
		return
	}
	u := s.Update
	u.Completed = m.now
	if u.rolling() {
		u.State, u.Message = RollbackCompleted, "rollback completed"
	} else {
		u.State, u.Message = Completed, "update completed"
	}
	m.save(s)
}
