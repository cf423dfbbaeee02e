package cluster

import (
	"cmp"
	"maps"
	"slices"
)

// instances are the tasks of an ask that have a lease, by index. Most asks are for one task: those need no map.
type instances struct {
	only *task         // while there is no map
	all  map[int]*task // made for the second one that is there at a time
}

// at returns the task of an index, nil when there is none.
func (s *instances) at(index int) *task {
	if s.all == nil && s.only != nil && s.only.index == index {
		return s.only
	}
	return s.all[index]
}

// put enters a task in the place of whatever has its index.
func (s *instances) put(t *task) {
	switch {
	case s.all != nil:
		s.all[t.index] = t
	case s.only == nil || s.only.index == t.index:
		s.only = t
	default:
		s.all = map[int]*task{s.only.index: s.only, t.index: t}
		s.only = nil
	}
}

// drop takes a task out, unless another has its index.
func (s *instances) drop(t *task) {
	switch {
	case s.at(t.index) != t:
	case s.only == t:
		s.only = nil
	default:
		delete(s.all, t.index)
	}
}

func (s *instances) len() int {
	if s.only != nil {
		return 1
	}
	return len(s.all)
}

// inOrder lists the tasks by index.
func (s *instances) inOrder() []*task {
	if s.only != nil {
		return []*task{s.only}
	}
	return slices.SortedFunc(maps.Values(s.all), func(x, y *task) int { return cmp.Compare(x.index, y.index) })
}
