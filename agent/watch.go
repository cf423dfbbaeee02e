package agent

import (
	"context"
	"iter"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pollAnswers is how often a sandbox is looked at where the kernel does not tell of changes.
const pollAnswers = time.Second

// watchDir yields at once and then whenever something in the directory may have changed, until ctx is done. Where the
// kernel has no more watches to give it polls.
func watchDir(ctx context.Context, dir string) iter.Seq[struct{}] {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return poll(ctx)
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO); err != nil {
		unix.Close(fd)
		return poll(ctx)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	return func(yield func(struct{}) bool) {
		defer events.Close()
		defer context.AfterFunc(ctx, func() { events.Close() })()
		buf := make([]byte, 4096)
		for yield(struct{}{}) {
			if _, err := events.Read(buf); err != nil {
				return
			}
		}
	}
}

// poll yields at once and every [pollAnswers].
func poll(ctx context.Context) iter.Seq[struct{}] {
	return func(yield func(struct{}) bool) {
		for yield(struct{}{}) && pause(ctx, pollAnswers) == nil {
		}
	}
}
