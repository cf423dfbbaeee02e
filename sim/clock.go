package sim

import (
	"container/heap"
	"time"
)

// priority orders what falls due at the same instant.
type priority int8

const (
	normal   priority = iota // news, commands, workloads
	decision                 // the leader's turn: after all news of its instant
	probe                    // measurements: after the decision
)

// timer is something to do at an instant.
type timer struct {
	at       int64 // nanoseconds since the run began
	priority priority
	seq      uint64
	do       func()
}

// clock is virtual time: a heap of what is to come. Time stands still while something is done.
type clock struct {
	start time.Time
	now   int64
	seq   uint64
	heap  timers
}

func (c *clock) time() time.Time { return c.start.Add(time.Duration(c.now)) }

// since is an instant as the run counts.
func (c *clock) since(t time.Time) int64 { return int64(t.Sub(c.start)) }

// after has something done in a while.
func (c *clock) after(d time.Duration, do func()) { c.at(c.now+int64(max(0, d)), normal, do) }

func (c *clock) at(at int64, p priority, do func()) {
	c.seq++
	heap.Push(&c.heap, timer{max(at, c.now), p, c.seq, do})
}

// next does what is due next, unless that is after the end.
func (c *clock) next(end int64) bool {
	if len(c.heap) == 0 || c.heap[0].at > end {
		c.now = end
		return false
	}
	t := heap.Pop(&c.heap).(timer)
	c.now = t.at
	t.do()
	return true
}

type timers []timer

func (h timers) Len() int { return len(h) }
func (h timers) Less(i, j int) bool {
	a, b := &h[i], &h[j]
	if a.at != b.at {
		return a.at < b.at
	}
	if a.priority != b.priority {
		return a.priority < b.priority
	}
	return a.seq < b.seq
}
func (h timers) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *timers) Push(x any) { *h = append(*h, x.(timer)) }

// Pop implements heap.Interface.
func (h *timers) Pop() any {
	old := *h
	last := len(old) - 1
	x := old[last]
	old[last] = timer{}
	*h = old[:last]
	return x
}
