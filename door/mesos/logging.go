package mesos

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// maxLoggingLevel is the highest level Mesos knows.
const maxLoggingLevel = 3

// loggingLevel is how much of its details the door tells its log, and until when. Any level above zero is all there is.
type loggingLevel struct {
	now   func() time.Time
	mu    sync.Mutex // guards what follows
	level uint32
	until time.Time
}

func (l *loggingLevel) get() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.now().Before(l.until) {
		return 0
	}
	return l.level
}

func (l *loggingLevel) set(level uint32, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.level, l.until = level, l.now().Add(d)
}

// leveled is a log's handler that also takes details while the level says so.
type leveled struct {
	slog.Handler
	level *loggingLevel
}

// Enabled implements [slog.Handler].
func (h leveled) Enabled(ctx context.Context, l slog.Level) bool {
	return h.Handler.Enabled(ctx, l) || l >= slog.LevelDebug && h.level.get() > 0
}

// WithAttrs implements [slog.Handler].
func (h leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return leveled{h.Handler.WithAttrs(attrs), h.level}
}

// WithGroup implements [slog.Handler].
func (h leveled) WithGroup(name string) slog.Handler {
	return leveled{h.Handler.WithGroup(name), h.level}
}

// setLoggingLevel lets details into the door's log for a while, for an administrator.
func (d *Door) setLoggingLevel(who principal, level uint32, lasts *mesosv1.DurationInfo) error {
	ctx, cancel := contextFor(d, who.caller)
	defer cancel()
	res, err := d.c.API.Access.CanI(ctx, connect.NewRequest(&polderv1.CanIRequest{Verb: "admin"}))
	duration := time.Duration(lasts.GetNanoseconds())
	switch {
	case err != nil:
		return answer(http.StatusForbidden, "%v", reasonOf(err))
	case !res.Msg.Allowed:
		return answer(http.StatusForbidden, "%s is no administrator of the pool", who.name)
	case level > maxLoggingLevel || duration < 0:
		return answer(http.StatusBadRequest, "Expecting a level from 0 to %d, and a duration", maxLoggingLevel)
	}
	d.level.set(level, duration)
	d.log.Info("logging level set", "principal", who.name, "level", level, "duration", duration)
	return nil
}
