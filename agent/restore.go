package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"polder.dev/polder/agent/runtime"
)

const (
	retryFirst = time.Second
	retryMost  = 30 * time.Second
)

// restore makes a task of every record and starts taking over what their runtimes have.
func (a *Agent) restore(ctx context.Context) {
	a.mu.Lock()
	unreadable := a.load()
	a.mu.Unlock()
	for id, err := range unreadable {
		a.warn("task "+id, fmt.Sprintf("the journal's record of task %s cannot be read (%v); the task is left as it is", id, err))
	}
	held := map[string][]*task{}
	for _, t := range a.all() {
		name := runtimeName(t.rec.Assignment.Spec)
		held[name] = append(held[name], t)
	}
	for name, tasks := range held {
		if a.runtimes[name] == nil {
			a.warn("runtime "+name, fmt.Sprintf("%d tasks were started with runtime %s, which this agent does not have now", len(tasks), name))
		}
		for _, t := range tasks {
			a.running.Go(func() { t.run(ctx) })
		}
	}
	for _, r := range a.c.Runtimes {
		a.running.Go(func() { a.adopt(ctx, r, held[r.Name()]) })
	}
}

// load fills a.tasks from the journal; the caller holds the lock. A record that cannot be read stays where it is: its task
// shows up as one without a record and is left alone.
func (a *Agent) load() (unreadable map[string]error) {
	unreadable = map[string]error{}
	for _, key := range a.journal.Keys() {
		id, isTask := strings.CutPrefix(key, taskPrefix)
		if !isTask {
			continue
		}
		data, _ := a.journal.Get(key)
		r, err := decodeRecord(data)
		if err == nil && r.Assignment.Task != id {
			err = fmt.Errorf("it is of task %q", r.Assignment.Task)
		}
		if err != nil {
			unreadable[id] = err
			continue
		}
		if !terminal(r.State) {
			a.gpus.restore(r.Assignment, r.GPUs)
		}
		t := a.newTask(r)
		t.publish()
		a.tasks[id] = t
		if r.Acked != nil {
			a.acked = append(a.acked, t)
		}
	}
	slices.SortStableFunc(a.acked, func(x, y *task) int { return x.rec.Acked.Wall.Compare(y.rec.Acked.Wall) })
	return unreadable
}

// adopt hands each restored task what its runtime knows of it. While the engine is away it tries again: nothing is said
// to have ended merely because nobody can look.
func (a *Agent) adopt(ctx context.Context, r runtime.Runtime, tasks []*task) {
	list, err := a.list(ctx, r)
	if err != nil {
		return
	}
	known := map[string]runtime.Status{}
	for _, s := range list {
		known[s.TaskID] = s
		if a.task(s.TaskID) == nil && s.State != runtime.Exited {
			a.warn("task "+s.TaskID, fmt.Sprintf("task %s runs in %s and there is no record of it; it is left alone: stop it by hand if it should not run",
				s.TaskID, r.Name()))
		}
	}
	for _, t := range tasks {
		m := found{}
		if s, ok := known[t.id]; ok {
			m.status = &s
		}
		t.post(ctx, m)
	}
}

// list asks until it gets an answer or ctx is done.
func (a *Agent) list(ctx context.Context, r runtime.Runtime) ([]runtime.Status, error) {
	subject := "runtime " + r.Name()
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		list, err := r.List(ctx)
		if err == nil {
			a.warn(subject, notes(r))
			return list, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		a.warn(subject, fmt.Sprintf("runtime %s does not answer: %v", r.Name(), err))
		if err := pause(ctx, a.c.Jitter(wait)); err != nil {
			return nil, err
		}
	}
}

func notes(r runtime.Runtime) string {
	if n, ok := r.(runtime.Noter); ok {
		return strings.Join(n.Notes(), " ")
	}
	return ""
}

// pause waits; it fails when ctx is done first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// away reports whether an error only means that the engine cannot be reached now.
func away(err error) bool {
	return errors.Is(err, runtime.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}
