package etcd

import (
	"context"
	"log/slog"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger returns a zap logger whose warnings and errors go to handler. Where etcd would end the process it calls
// fatal instead, and where it would panic, panics. Neither may return.
func newLogger(handler slog.Handler, fatal, panics hook) *zap.Logger {
	return zap.New(&bridge{handler}, zap.WithFatalHook(fatal), zap.WithPanicHook(panics))
}

type hook func(message string, fields []zapcore.Field)

func (h hook) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) { h(e.Message, fields) }

// bridge is a [zapcore.Core] that writes to slog. etcd's informational lines are for etcd's developers: dropped.
type bridge struct{ handler slog.Handler }

// harmless are warnings about what is so on purpose: there is no client port, and etcd's own users are not used.
var harmless = []string{
	"Running http and grpc server on single port. This is not recommended for production.",
	"simple token is not cryptographically signed",
}

func (b *bridge) Enabled(l zapcore.Level) bool {
	return l >= zapcore.WarnLevel && b.handler.Enabled(context.Background(), slogLevel(l))
}

func (b *bridge) With(fields []zapcore.Field) zapcore.Core {
	return &bridge{b.handler.WithAttrs(attrs(fields))}
}

func (b *bridge) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) && !slices.Contains(harmless, e.Message) {
		return c.AddCore(e, b)
	}
	return c
}

func (b *bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	r := slog.NewRecord(e.Time, slogLevel(e.Level), "etcd: "+e.Message, 0)
	r.AddAttrs(attrs(fields)...)
	return b.handler.Handle(context.Background(), r)
}

func (b *bridge) Sync() error { return nil }

func slogLevel(l zapcore.Level) slog.Level {
	if l >= zapcore.ErrorLevel {
		return slog.LevelError
	}
	return slog.LevelWarn
}

func attrs(fields []zapcore.Field) []slog.Attr {
	out := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		encoder := zapcore.NewMapObjectEncoder()
		f.AddTo(encoder)
		for key, value := range encoder.Fields {
			out = append(out, slog.Any(key, value))
		}
	}
	return out
}
