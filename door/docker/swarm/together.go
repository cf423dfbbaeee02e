package swarm

import (
	"context"
	"sync"
)

// together does for several at once what each of them wants: whoever comes while it is being done waits, and is then served with all others
// who wait. Under load one call, or one write, is for many; with nobody else there, nobody waits.
type together[T, R any] struct {
	do    func(context.Context, []T) ([]R, error) // an answer for each, or an error
	most  int                                     // wishes at once; zero is any number
	apart bool                                    // an error may be one's fault: then it is done for each alone
	busy  chan struct{}                           // holds one for each time that it is being done

	mu   sync.Mutex // guards line
	line []wish[T, R]
}

// wish is what somebody wants, and waits for.
type wish[T, R any] struct {
	what T
	done chan answer[R]
}

type answer[R any] struct {
	is  R
	err error
}

// newTogether returns one that does so much at the same time.
func newTogether[T, R any](atOnce int, do func(context.Context, []T) ([]R, error)) *together[T, R] {
	return &together[T, R]{do: do, busy: make(chan struct{}, atOnce)}
}

// want waits for its turn, and for what comes of it. It is done with the context of one of those for whom it is done.
func (g *together[T, R]) want(ctx context.Context, what T) (R, error) {
	mine, busy := g.add(what), g.busy
	for {
		select {
		case a := <-mine:
			return a.is, a.err
		case busy <- struct{}{}:
			all := g.next()
			if len(all) > 0 {
				g.turn(ctx, all)
			} else {
				busy = nil // another turn has it
			}
			<-g.busy
		}
	}
}

func (g *together[T, R]) add(what T) <-chan answer[R] {
	g.mu.Lock()
	defer g.mu.Unlock()
	done := make(chan answer[R], 1)
	g.line = append(g.line, wish[T, R]{what, done})
	return done
}

// turn serves who waits.
func (g *together[T, R]) turn(ctx context.Context, all []wish[T, R]) {
	err := g.serve(ctx, all)
	for _, w := range all {
		switch {
		case err == nil:
		case g.apart && len(all) > 1:
			if err := g.serve(ctx, []wish[T, R]{w}); err != nil {
				w.done <- answer[R]{err: err}
			}
		default:
			w.done <- answer[R]{err: err}
		}
	}
}

// serve does what some want and tells them, unless there is an error.
func (g *together[T, R]) serve(ctx context.Context, all []wish[T, R]) error {
	what := make([]T, len(all))
	for i, w := range all {
		what[i] = w.what
	}
	is, err := g.do(ctx, what)
	if err != nil {
		return err
	}
	for i, w := range all {
		w.done <- answer[R]{is: is[i]}
	}
	return nil
}

// next takes who waits, as many as are served at once.
func (g *together[T, R]) next() []wish[T, R] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.line)
	if g.most > 0 {
		n = min(n, g.most)
	}
	all := g.line[:n:n]
	g.line = g.line[n:]
	if len(g.line) == 0 {
		g.line = nil
	}
	return all
}
