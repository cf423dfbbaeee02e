package swarm

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

// errandsAtOnce is how many ask an engine, or the pool, for something at the same time.
const errandsAtOnce = 16

// errands are what is to be done for tasks: for each task in order, for different ones at the same time. There are never more than
// a few for each task.
type errands struct {
	ctx  context.Context
	all  *errgroup.Group
	free chan struct{}

	mu    sync.Mutex // guards lines
	lines map[string][]func(context.Context) error
}

func (e *errands) open(ctx context.Context, all *errgroup.Group) {
	e.ctx, e.all, e.free, e.lines = ctx, all, make(chan struct{}, errandsAtOnce), map[string][]func(context.Context) error{}
}

// add has something done for a task after everything that was added for it before.
func (e *errands) add(task string, do func(context.Context) error) {
	if e.ctx.Err() != nil {
		return // it is done after the next start
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	line, busy := e.lines[task]
	e.lines[task] = append(line, do)
	if !busy {
		e.all.Go(func() error { return e.serve(task) })
	}
}

// few does something that only a few do at the same time. It does not when ctx ends first.
func (e *errands) few(ctx context.Context, do func() error) error {
	select {
	case e.free <- struct{}{}:
		defer func() { <-e.free }()
		return do()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// serve does what is to be done for a task until nothing is left. An error ends everything.
func (e *errands) serve(task string) error {
	for {
		e.mu.Lock()
		line := e.lines[task]
		if len(line) == 0 {
			delete(e.lines, task)
			e.mu.Unlock()
			return nil
		}
		e.lines[task] = line[1:]
		e.mu.Unlock()
		if err := line[0](e.ctx); err != nil && e.ctx.Err() == nil {
			return err
		}
	}
}
