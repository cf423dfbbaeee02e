package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// followSize tells the size of our terminal now and whenever it changes; the function returned ends that and waits.
func (s *session) followSize(ctx context.Context, fd int) (stop func()) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			s.resize(fd)
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	}()
	return func() {
		signal.Stop(changed)
		cancel()
		<-done
	}
}
