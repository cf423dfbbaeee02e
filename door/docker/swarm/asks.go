package swarm

import "sync"

// asks know which of the pool's asks are whose: each task of a service is the one of an ask of its own. While places are asked for the pool
// may tell of an ask before it has answered, and so before anybody knows whose it is.
type asks struct {
	mu    sync.Mutex       // guards all
	tasks map[string]whose // by ask
	early map[string]said  // of asks of nobody's that were told of while places are asked for
	under int              // requests for places under way
}

// whose is the task of an ask, and whether it has a health check: then that it has started does not say that it runs.
type whose struct {
	task    string
	checked bool
}

// said is what was told of an ask before anybody knew whose it is: nothing, only that its task has started, or more.
type said int

const (
	saidNothing said = iota
	saidStarted
	saidMore
)

func newAsks() *asks { return &asks{tasks: map[string]whose{}, early: map[string]said{}} }

// of is the task of an ask.
func (a *asks) of(ask string) (task string, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	x, ok := a.tasks[ask]
	return x.task, ok
}

// own notes whose an ask is, and returns what was told of it before.
func (a *asks) own(ask string, x whose) said {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.early[ask]
	if _, known := a.tasks[ask]; known {
		before = saidMore
	}
	delete(a.early, ask)
	a.tasks[ask] = x
	return before
}

// told is what was told until now of an ask of nobody's.
func (a *asks) told(ask string) said {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.early[ask]
}

// forget is that an ask is over.
func (a *asks) forget(ask string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.tasks, ask)
}

// about is the task of an ask of which is told what. Should it turn out to be somebody's only later, that is noted.
func (a *asks) about(ask string, what said) (x whose, ours bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	x, ours = a.tasks[ask]
	if !ours && what != saidNothing && a.under > 0 {
		if a.early[ask] != saidNothing {
			what = saidMore
		}
		a.early[ask] = what
	}
	return x, ours
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
