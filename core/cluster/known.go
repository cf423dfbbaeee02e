package cluster

import (
	"iter"
	"strconv"
	"strings"
)

// task returns the task that has a lease under an id, nil when there is none. Its ask has it by the number in the id: with a map of all tasks
// beside that, every start would change memory that is at nobody's hand.
func (c *Cluster) task(id string) *task {
	if t := c.strays[id]; t != nil {
		return t
	}
	for dot := strings.LastIndexByte(id, '.'); dot >= 0; dot = strings.LastIndexByte(id[:dot], '.') { // an attempt may come after the number
		a := c.asks[id[:dot]]
		if a == nil {
			continue
		}
		number, _, _ := strings.Cut(id[dot+1:], ".")
		if i, err := strconv.Atoi(number); err == nil {
			if t := a.live.at(i); t != nil && t.id == id {
				return t
			}
		}
	}
	return nil
}

// remember makes a task known whose ask, if it has one, has it already.
func (c *Cluster) remember(t *task) {
	if c.task(t.id) != t {
		c.strays[t.id] = t
	}
}

// allTasks visits the tasks that have a lease, in an order that is the same every time.
func (c *Cluster) allTasks() iter.Seq[*task] {
	return func(yield func(*task) bool) {
		for _, p := range c.pools {
			for _, u := range p.units {
				for _, t := range u.tasks {
					if !yield(t) {
						return
					}
				}
			}
		}
	}
}
