package server

import (
	"context"
	"time"
)

// recheck looks now and then whether the caller's credentials are still good, and ends the stream when they are not. The
// function it returns stops that and waits.
func (g guard) recheck(ctx context.Context, c *caller, end context.CancelCauseFunc) func() {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(g.cfg.recheck)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ctx.Done():
				c.unread()
				return
			case <-tick.C:
			}
			if _, err := g.authenticator().Authenticate(c.http); err != nil {
				end(apiError(err))
			}
		}
	}()
	return func() { close(stop); <-done }
}
