package server

import (
	"sync"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// used is what the tasks of each node really use, as its agent's last heartbeat said. It is not kept: the next heartbeat says it again.
type used struct {
	mu    sync.Mutex // guards nodes
	nodes map[string]nodeUsage
}

// nodeUsage is what one session said.
type nodeUsage struct {
	by    *session
	tasks map[string]*polderv1.TaskUsage
}

func newUsed() *used { return &used{nodes: map[string]nodeUsage{}} }

// said takes over a heartbeat. A node speaks of its own tasks only: nobody looks for others there.
func (u *used) said(s *session, beat *polderv1.Heartbeat) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.nodes[s.node] = nodeUsage{s, beat.Usage}
}

// over forgets what a session said, unless another has spoken since.
func (u *used) over(s *session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.nodes[s.node].by == s {
		delete(u.nodes, s.node)
	}
}

// of is what a task uses; nil when its node has not said.
func (u *used) of(node, task string) *polderv1.TaskUsage {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.nodes[node].tasks[task]
}
