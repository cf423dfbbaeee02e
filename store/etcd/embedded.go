package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap/zapcore"

	"polder.dev/polder/store"
)

const (
	maxTxnOps       = store.MaxOps + 1       // the fence is one more comparison
	maxRequestBytes = store.MaxBytes + 1<<20 // room for what encoding adds
	quotaBytes      = 8 << 30
	stopTimeout     = 5 * time.Second // to stop an etcd that has failed
)

// Embedded says how to run etcd in this process.
type Embedded struct {
	Dir    string       // created with mode 0700; one process at a time
	Logger slog.Handler // gets etcd's warnings and errors
}

// OpenEmbedded starts etcd, as the only member of its cluster, and returns when it serves. It listens on nothing: this
// process is its only client. Errors: [store.ErrInUse], [store.ErrCorrupt], [store.ErrFull], each naming the directory.
func OpenEmbedded(ctx context.Context, cfg Embedded) (*Store, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s, err := openEmbedded(ctx, dir, cfg.Logger, lock)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func openEmbedded(ctx context.Context, dir string, handler slog.Handler, lock *os.File) (*Store, error) {
	if err := checkSpace(dir); err != nil {
		return nil, err
	}
	life, cancel := context.WithCancelCause(context.Background())
	g := &guard{dir: dir, life: life, fail: cancel}
	server, err := g.start(ctx, handler)
	if err != nil {
		cancel(err)
		return nil, err
	}
	stop := func() error { return errors.Join(g.stop(server), lock.Close()) }
	s := newStore(life, cancel, dir, "/polder", v3client.New(server.Server), stop)
	if err := s.refresh(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// refresh forgets what a process that died here left behind. Nobody else can lead or be out of space here.
func (s *Store) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := s.client.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		return s.explain("clearing alarms", err)
	}
	if _, err := s.client.Delete(ctx, s.electionKey(""), clientv3.WithPrefix()); err != nil {
		return s.explain("clearing old elections", err)
	}
	return nil
}

// guard stands where etcd would end the process: it ends the store instead.
type guard struct {
	dir     string
	life    context.Context
	fail    context.CancelCauseFunc // of life
	serving atomic.Bool
}

// fatal is called on one of etcd's goroutines, and ends it.
func (g *guard) fatal(message string, fields []zapcore.Field) {
	err := errors.New(message)
	for _, f := range fields {
		if cause, ok := f.Interface.(error); ok {
			err = fmt.Errorf("%s: %w", message, cause)
		}
	}
	g.fail(g.explain(err))
	runtime.Goexit()
}

// panics is where etcd panics. While it starts that means data it cannot read; later, a bug, maybe on a goroutine of
// whoever called: that stays a panic.
func (g *guard) panics(message string, fields []zapcore.Field) {
	if g.serving.Load() {
		panic("etcd: " + message)
	}
	g.fatal(message, fields)
}

func (g *guard) explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: no space left for %s (%w); free space and start again", store.ErrFull, g.dir, err)
	}
	return fmt.Errorf("%w: %s: %w; restore it from a backup, or move it away to start afresh", store.ErrCorrupt, g.dir, err)
}

// start runs etcd until it serves.
func (g *guard) start(ctx context.Context, handler slog.Handler) (*embed.Etcd, error) {
	server, err := g.launch(handler)
	if err != nil {
		return nil, err
	}
	select {
	case <-server.Server.ReadyNotify():
		return server, nil
	case err = <-server.Err():
	case <-g.life.Done():
		return nil, context.Cause(g.life)
	case <-ctx.Done():
		err = ctx.Err()
	}
	server.Close()
	return nil, fmt.Errorf("starting the store in %s: %w", g.dir, err)
}

type launched struct {
	server *embed.Etcd
	err    error
}

// launch starts etcd on a goroutine of its own, because fatal may end it or, ending another of etcd's, leave it waiting
// for ever. Such a goroutine is left behind: a process whose store does not start has nothing left to do.
func (g *guard) launch(handler slog.Handler) (*embed.Etcd, error) {
	result := make(chan launched, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				result <- launched{err: fmt.Errorf("etcd panicked over what it read: %v", p)}
			}
		}()
		server, err := embed.StartEtcd(g.config(handler))
		result <- launched{server, err}
	}()
	select {
	case r := <-result:
		g.serving.Store(true)
		if r.err != nil {
			return nil, g.explain(r.err)
		}
		return r.server, nil
	case <-g.life.Done():
		return nil, context.Cause(g.life)
	}
}

// backendEvery is how long etcd gathers what its log has already made durable before it goes into the file of the tree. That costs two more
// writes to the disk each time, and after a crash only as much of the log is read again.
const backendEvery = 5 * time.Second

func (g *guard) config(handler slog.Handler) *embed.Config {
	c := embed.NewConfig()
	c.Name = "polder"
	c.Dir = filepath.Join(g.dir, "etcd")
	// A member needs an address in its cluster's list. Nobody listens there: it is the only member.
	nowhere := url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	c.AdvertisePeerUrls, c.AdvertiseClientUrls = []url.URL{nowhere}, []url.URL{nowhere}
	c.ListenPeerUrls, c.ListenClientUrls = nil, nil
	c.InitialCluster = c.Name + "=" + nowhere.String()
	c.TickMs, c.ElectionMs = 50, 250 // an only member need not wait long for others
	c.MaxTxnOps, c.MaxRequestBytes = maxTxnOps, maxRequestBytes
	c.QuotaBackendBytes = quotaBytes
	c.BackendBatchInterval = backendEvery
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModeRevision, "10000"
	c.BootstrapDefragThresholdMegabytes = 100
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newLogger(handler, g.fatal, g.panics))
	return c
}

// stop stops etcd. One that has failed underneath may never stop; it is left behind after a while.
func (g *guard) stop(server *embed.Etcd) error {
	cause := context.Cause(g.life)
	if errors.Is(cause, store.ErrClosed) {
		server.Close()
		return nil
	}
	stopped := make(chan struct{})
	go func() { server.Close(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(stopTimeout):
	}
	return fmt.Errorf("the store had failed before: %w", cause)
}
