package swarm

import "sync"

// asks know which of the pool's asks are whose: each task of a service is the one of an ask of its own. While places are asked for the pool
// may tell of an ask before it has answered, and so before anybody knows whose it is.
type asks struct {
	mu    sync.Mutex        // guards all
	tasks map[string]string // by ask
	early map[string]bool   // asks of nobody's that were told of while places are asked for
	under int               // requests for places under way
}

func newAsks() *asks { return &asks{tasks: map[string]string{}, early: map[string]bool{}} }

// of is the task of an ask.
func (a *asks) of(ask string) (task string, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	task, ok = a.tasks[ask]
	return task, ok
}

// own notes whose an ask is, and reports whether it was told of before.
func (a *asks) own(ask, task string) (told bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, told = a.tasks[ask]
	told = told || a.early[ask]
	delete(a.early, ask)
	a.tasks[ask] = task
	return told
}

// forget is that an ask is over.
func (a *asks) forget(ask string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.tasks, ask)
}

// about is the task of an ask that is told of. Should it turn out to be somebody's only later, it is noted that there is something to know.
func (a *asks) about(ask string, something bool) (task string, ours bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	task, ours = a.tasks[ask]
	if !ours && something && a.under > 0 {
		a.early[ask] = true
	}
	return task, ours
}

// begin is that a request for places is under way, end that whose its answers are is noted.
func (a *asks) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.under++
}

func (a *asks) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.under--; a.under == 0 {
		clear(a.early)
	}
}
