package server

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"polder.dev/polder/auth"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/server/history"
	"polder.dev/polder/store"
)

// leader is one leadership: it is made when the election is won and thrown away when it ends.
type leader struct {
	cfg     Config
	log     *slog.Logger
	lead    store.Leadership
	book    *auth.Book
	ctx     context.Context // ends with the leadership
	queue   chan command
	persist *persister
	board   *board
	relays  *relays
	held    *held
	used    *used
	trees   treeCache
	meters  *meters
	// strangers are callers without an identity.
	strangers strangers

	history history.Book // of roles

	// What follows belongs to the writer.
	cluster                              *cluster.Cluster
	now                                  time.Time
	sessions                             map[string]*session
	seen                                 map[string]*atomic.Int64
	extras                               map[string]nodeExtra
	asks                                 map[string]askExtra
	lostAt                               map[string]time.Time // when a node that is away counts as lost
	awaited                              map[string]bool      // known nodes that have not come back since the start
	recoverBy                            time.Time            // zero once recovered
	reserved                             int64                // revisions up to here may be used
	answers                              answers
	working                              picture
	pending                              []change
	room                                 []cluster.Effect // of the last turn, for the next
	touched                              dirty
	endedTasks, endedAsks, closedNotices ended
	rolesDirty                           bool
	rolesAt                              time.Time
}

// command is something for the writer to do.
type command struct {
	run     func(*turn) error
	done    chan<- error // nil when nobody waits
	durable bool         // answer when what it changed is durable
}

// turn is what the writer does between two looks at the queue.
type turn struct {
	*leader
	effects []cluster.Effect
	batch   *batch
}

// step feeds one event to the cluster and returns its effects, which are carried out at the end of the turn. The error is a
// [*cluster.Refusal].
func (t *turn) step(e cluster.Event) ([]cluster.Effect, error) {
	effects, err := t.cluster.Step(e, t.now)
	if err != nil {
		return nil, err
	}
	t.effects = append(t.effects, effects...)
	return effects, nil
}

// change runs f in a turn and returns when what it changed is durable, or at once with its error.
func (l *leader) change(ctx context.Context, f func(*turn) error) error {
	return l.do(ctx, true, f)
}

// consult runs f, which changes nothing that must last, in a turn.
func (l *leader) consult(ctx context.Context, f func(*turn) error) error {
	return l.do(ctx, false, f)
}

func (l *leader) do(ctx context.Context, durable bool, f func(*turn) error) error {
	done := make(chan error, 1)
	select {
	case l.queue <- command{run: f, done: done, durable: durable}:
	default:
		return errFull
	}
	select {
	case err := <-done:
		return err
	case <-l.ctx.Done():
		return errStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// feed hands f to the writer and does not wait for it. It blocks while the queue is full, so that a busy leader slows its
// agents down.
func (l *leader) feed(ctx context.Context, f func(*turn) error) error {
	select {
	case l.queue <- command{run: f}:
		return nil
	case <-l.ctx.Done():
		return errStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// write is the writer: it owns the cluster until ctx ends or something fails.
func (l *leader) write(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a bug stopped the leader: %v\n%s", p, debug.Stack())
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var first command
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case first = <-l.queue:
		case <-timer.C:
		}
		if err := l.turn(first); err != nil {
			return err
		}
		timer.Reset(l.untilWake())
	}
}

// turn does everything that is queued, lets the cluster decide, and sends out what follows.
func (l *leader) turn(first command) error {
	began := time.Now() // not the configured clock: this is for people who tune
	defer func() { l.meters.turns.Observe(time.Since(began).Seconds()) }()
	l.advance()
	t := &turn{leader: l, batch: newBatch(), effects: l.room}
	t.run(first)
	for range min(len(l.queue), maxTurn) {
		t.run(<-l.queue)
	}
	t.expire()
	if _, err := t.step(cluster.Tick{}); err != nil {
		return err
	}
	if err := t.carryOut(); err != nil {
		return err
	}
	l.keepRoom(t.effects)
	l.persist.add(t.batch)
	return nil
}

// keepRoom keeps what held the effects of a turn for the next one, unless they were many.
func (l *leader) keepRoom(effects []cluster.Effect) {
	l.room = nil
	if len(effects) <= 4*maxTurn {
		clear(effects)
		l.room = effects[:0]
	}
}

// advance reads the clock. The cluster's time never goes back, whatever the machine's does.
func (l *leader) advance() {
	if now := l.cfg.Now(); now.After(l.now) {
		l.now = now
	}
}

func (t *turn) run(c command) {
	if c.run == nil {
		return
	}
	err := c.run(t)
	switch {
	case c.done == nil:
	case err == nil && c.durable:
		t.batch.then(func() { c.done <- nil })
	default:
		c.done <- err
	}
}

// untilWake is how long the writer may sleep. It never spins, even when the cluster has work that it cannot do yet.
func (l *leader) untilWake() time.Duration {
	next, ok := l.cluster.NextWake()
	consider := func(at time.Time) {
		if !ok || at.Before(next) {
			next, ok = at, true
		}
	}
	for _, at := range l.lostAt {
		consider(at)
	}
	if !l.recoverBy.IsZero() {
		consider(l.recoverBy)
	}
	if l.rolesDirty {
		consider(l.rolesAt.Add(rolesEvery))
	}
	if !ok {
		return time.Hour
	}
	return max(next.Sub(l.cfg.Now()), time.Millisecond)
}

// expire does what time alone brings: the recovery ends, nodes that stay away are lost.
func (t *turn) expire() {
	if !t.recoverBy.IsZero() && (len(t.awaited) == 0 || !t.now.Before(t.recoverBy)) {
		t.endRecovery()
	}
	for _, name := range sortedKeys(t.lostAt) {
		if t.now.Before(t.lostAt[name]) {
			continue
		}
		delete(t.lostAt, name)
		if _, err := t.step(cluster.RemoveNode{Node: name}); err == nil {
			t.log.Warn("node counts as lost", "node", name, "after", t.cfg.NodeLostAfter)
		}
	}
}

func (t *turn) endRecovery() {
	for _, name := range sortedKeys(t.awaited) {
		t.log.Warn("node is not back yet; its tasks are neither running nor lost", "node", name)
		t.away(name)
	}
	t.recoverBy, t.awaited = time.Time{}, nil
	t.step(cluster.Recovered{}) // never refused
	t.log.Info("recovered", "nodes", len(t.sessions), "asks", t.working.asks.Len(), "tasks", t.working.tasks.Len())
}

// away starts the time after which a node counts as lost.
func (t *turn) away(name string) {
	if t.cfg.NodeLostAfter > 0 {
		t.lostAt[name] = t.now.Add(t.cfg.NodeLostAfter)
	}
}
