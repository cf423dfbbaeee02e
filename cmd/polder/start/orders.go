package start

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// OneOrder is the time in which a second Ctrl-C counts as the first.
const OneOrder = time.Second

// outliveReaders makes writing to a pipe that nobody reads an error and not the end of this process, until the returned
// function is called: a Ctrl-C ends the reader too, and what this process started must still be stopped.
func outliveReaders() (undo func()) {
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	return func() { signal.Stop(broken) }
}

// orderedAgain is ctx that also ends at the next order to end, but not at an echo of the first.
func orderedAgain(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	again := make(chan os.Signal, 1)
	go func() {
		defer cancel()
		select {
		case <-time.After(OneOrder):
		case <-ctx.Done():
			return
		}
		signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		defer signal.Stop(again)
		select {
		case <-again:
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
