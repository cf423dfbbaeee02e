package agent

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"polder.dev/polder/agent/checkpoint"
	"polder.dev/polder/agent/runtime"
	polderv1 "polder.dev/polder/api/polder/v1"
)

const (
	// maxSleep bounds how long a task sleeps toward a deadline: timers stand still while a machine is suspended.
	maxSleep = 30 * time.Second
	// retryDisk is how long a change that the disk refused waits for its next try.
	retryDisk = time.Second
	// retryKill is how long after a SIGKILL another one follows when the task has not ended.
	retryKill = 5 * time.Second
	never     = time.Duration(math.MaxInt64)
)

// task is one task and the goroutine that owns it. Commands and news come through inbox, in order; others look at view.
type task struct {
	a      *Agent
	id     string
	volume string // the name of the volume it is, if it is one
	inbox  chan any
	gone   chan struct{} // closed when the owner has returned
	ended  chan struct{} // closed when the task has ended
	view   atomic.Pointer[view]

	// Only the owner touches what follows.
	runtime  runtime.Runtime // nil when this agent does not have it
	rec      *record
	health   string
	restored bool          // from the journal, and its runtime has not been asked yet
	volatile bool          // the journal refused it: it is never started and forgotten with its acknowledgement
	live     bool          // its runtime has it and its end is awaited
	begin    func()        // cancels the preparation under way, nil when there is none
	quiet    func()        // ends the health checks
	hush     func()        // ends the delivery of the notice and the wait for its answer
	unsaved  bool          // rec is newer than the disk
	retry    *moment       // next try of what the disk or the engine refused
	backoff  time.Duration // of tries to start
	wanted   *noticeCommand
	sending  bool     // a stop signal of this agent is on its way
	after    []func() // what waits until it is known whether it was sent
	killed   *moment  // when to send the next SIGKILL, once there was one
	forgetAt *moment  // when nobody needs the ended task any more
}

// view is what others see of a task. It is never changed.
type view struct {
	report *polderv1.TaskReport   // nil when the server has taken over the end
	notice *polderv1.NoticeReport // nil without a notice in force
	live   bool
}

func (a *Agent) newTask(r *record) *task {
	t := &task{
		a: a, id: r.Assignment.Task, volume: r.Assignment.GetSpec().GetVolume().GetName(), rec: r, restored: true,
		runtime: a.runtimes[runtimeName(r.Assignment.Spec)],
		inbox:   make(chan any, 16), gone: make(chan struct{}), ended: make(chan struct{}), quiet: func() {}, hush: func() {},
	}
	if terminal(r.State) {
		close(t.ended)
	}
	if r.Acked != nil {
		t.keepFor(a.c.KeepEnded)
	}
	t.view.Store(&view{}) // nothing is said before it is on disk
	return t
}

// post hands the owner something; it waits while the inbox is full and gives up when the task or the caller is gone.
func (t *task) post(ctx context.Context, m any) {
	select {
	case t.inbox <- m:
	case <-t.gone:
	case <-ctx.Done():
	}
}

// run owns the task until it is forgotten or ctx is done, which leaves the task running.
func (t *task) run(ctx context.Context) {
	defer close(t.gone)
	defer func() { t.quiet(); t.hush() }()
	if !t.restored {
		t.launch(ctx)
	}
	for {
		wait, forgotten := t.act(ctx)
		if forgotten {
			return
		}
		if !t.receive(ctx, wait) {
			return
		}
	}
}

// receive handles one message, or returns after the wait. It is false when ctx is done.
func (t *task) receive(ctx context.Context, wait time.Duration) bool {
	var due <-chan time.Time
	if wait != never {
		timer := time.NewTimer(min(wait, maxSleep))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case m := <-t.inbox:
		t.handle(ctx, m)
	case <-due:
	case <-ctx.Done():
		return false
	}
	return ctx.Err() == nil
}

// handle is the table of everything a task can be told.
func (t *task) handle(ctx context.Context, m any) {
	over := terminal(t.rec.State) && !t.restored
	defer func() {
		if !over && terminal(t.rec.State) {
			t.recorded(ctx)
		}
	}()
	switch m := m.(type) {
	case command:
		t.obey(ctx, m)
	case stopCommand:
		t.stop(m)
	case found:
		t.adopt(ctx, m)
	case started:
		t.onStarted(ctx, m)
	case exited:
		t.onExit(m.exit)
	case checked:
		t.onHealth(m.err)
	case told:
		t.onTold(m)
	case signalSent:
		t.onSignalSent(m)
	case answer:
		t.onAnswer(m)
	case evicted:
		t.keepFor(0)
	}
}

// command is what the server wants of a task, with the epoch of the leader that said so.
type command struct {
	epoch int64
	body  any
}

func (t *task) obey(ctx context.Context, c command) {
	if have := t.a.epoch.Load(); c.epoch < have {
		t.a.c.Logger.Warn("refused a command of an earlier leader", "task", t.id, "epoch", c.epoch, "obeyed", have)
		return
	}
	switch m := c.body.(type) {
	case *polderv1.Assignment: // a launch of what is here: say so again
		t.publish()
	case stopCommand:
		t.stop(m)
	case noticeCommand:
		t.notice(ctx, m)
	case *polderv1.WithdrawNotice:
		t.withdraw(ctx, m.Notice)
	case *polderv1.AckTask:
		t.acknowledge()
	case *polderv1.SetFunding:
		t.fund(ctx, m.Funding)
	case *polderv1.ResizeTask:
		t.resize(m.Resources)
	}
}

// commit changes the record on disk, then in memory; on an error it changes nothing.
func (t *task) commit(change func(*record)) error {
	next := t.rec.clone()
	change(next)
	if err := t.save(next); err != nil {
		return err
	}
	t.rec = next
	t.unsaved = false
	t.publish()
	return nil
}

// apply changes the record whatever the disk says. It is for what has happened already; the disk is tried again.
func (t *task) apply(change func(*record)) {
	next := t.rec.clone()
	change(next)
	err := t.save(next)
	if err != nil && !t.unsaved {
		t.a.tell("NoCheckpoint", t.id, "the journal could not record this change and will try again: "+err.Error())
	}
	t.rec, t.unsaved = next, err != nil
	if err != nil {
		t.retryIn(retryDisk)
	}
	t.publish()
}

func (t *task) save(r *record) error {
	if t.volatile {
		return nil
	}
	data, err := r.encode()
	if err != nil {
		return err
	}
	var b checkpoint.Batch
	b.Put(taskPrefix+t.id, data)
	return t.a.commit(b)
}

func (t *task) retryIn(d time.Duration) {
	m := after(t.a.c.Clock, d)
	t.retry = &m
}

// publish shows the record to others and puts it on the way to the server.
func (t *task) publish() {
	v := &view{live: t.live}
	if t.rec.Acked == nil {
		v.report, v.notice = t.rec.report(t.health), t.rec.noticeReport()
	}
	if terminal(t.rec.State) {
		v.notice = nil
	}
	t.view.Store(v)
	if v.report != nil {
		t.a.outbox.task(t.id)
	}
}

// acknowledge notes that the server has the end on its disk.
func (t *task) acknowledge() {
	if !terminal(t.rec.State) || t.rec.Acked != nil {
		return
	}
	now := after(t.a.c.Clock, 0)
	t.apply(func(r *record) { r.Acked = &now })
	t.keepFor(t.a.c.KeepEnded)
	t.a.keepEnded(t)
}

// keepFor sets when the ended task is forgotten.
func (t *task) keepFor(d time.Duration) {
	if t.volatile {
		d = 0
	}
	at := t.rec.Acked.plus(d)
	t.forgetAt = &at
}

// fund notes who pays and lets the runtime put the task where such tasks are.
func (t *task) fund(ctx context.Context, funding string) {
	if terminal(t.rec.State) || funding == t.rec.Assignment.Funding {
		return
	}
	t.assign(func(a *polderv1.Assignment) { a.Funding = funding })
	if f, ok := t.runtime.(runtime.Funder); ok && t.live {
		t.do(ctx, "changing who pays", func(ctx context.Context) error {
			return f.SetFunding(ctx, t.id, funded(funding), funding)
		})
	}
}

// resize notes that the lease is smaller now. The limits the task was started with stay: it promised to need less.
func (t *task) resize(resources map[string]string) {
	if !terminal(t.rec.State) {
		t.assign(func(a *polderv1.Assignment) { a.Resources = resources })
	}
}

func (t *task) assign(change func(*polderv1.Assignment)) {
	next := proto.CloneOf(t.rec.Assignment)
	change(next)
	t.apply(func(r *record) { r.Assignment = next })
}

// do calls the runtime without making the owner wait; a failure becomes an event.
func (t *task) do(ctx context.Context, what string, call func(context.Context) error) {
	t.a.running.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		if err := call(ctx); err != nil && ctx.Err() != context.Canceled {
			t.a.tell("RuntimeError", t.id, what+" failed: "+err.Error())
		}
	})
}
