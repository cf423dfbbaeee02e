package server

import (
	"context"
	"sync"
	"time"
)

// recheck looks now and then whether the caller's credentials are still good, and ends the stream when they are not. The function it
// returns stops that; nothing of the stream is touched afterwards.
func (g guard) recheck(ctx context.Context, c *caller, end context.CancelCauseFunc) func() {
	var mu sync.Mutex // guards stopped, and holds up whoever stops while something is done
	stopped := false
	unless := func(f func()) func() {
		return func() {
			mu.Lock()
			defer mu.Unlock()
			if !stopped {
				f()
			}
		}
	}
	ended := context.AfterFunc(ctx, unless(c.unread))
	var again *time.Timer
	mu.Lock() // the timer may be quicker than its name
	defer mu.Unlock()
	again = time.AfterFunc(g.cfg.recheck, unless(func() {
		if _, err := g.authenticator().Authenticate(c.http); err != nil {
			end(apiError(err))
			return
		}
		again.Reset(g.cfg.recheck)
	}))
	return func() {
		ended()
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		again.Stop()
	}
}
