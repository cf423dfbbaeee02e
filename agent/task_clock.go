package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"polder.dev/polder/agent/checkpoint"
	"polder.dev/polder/agent/runtime"
	polderv1 "polder.dev/polder/api/polder/v1"
)

// deadline is something that is to be done at a moment. Doing it must move or remove the moment.
type deadline struct {
	at moment
	do func(context.Context)
}

// act does everything that is due and returns how long nothing more is, and whether the task is forgotten.
func (t *task) act(ctx context.Context) (time.Duration, bool) {
	for {
		wait := never
		var due func(context.Context)
		for _, d := range t.deadlines() {
			if left := d.at.until(t.a.c.Clock); left <= 0 {
				due = d.do
				break
			} else if left < wait {
				wait = left
			}
		}
		if due == nil || ctx.Err() != nil {
			return wait, false
		}
		due(ctx)
		if t.a.task(t.id) != t {
			return never, true
		}
	}
}

// deadlines lists what waits for the clock, the most urgent kind first.
func (t *task) deadlines() []deadline {
	var out []deadline
	if t.retry != nil {
		out = append(out, deadline{*t.retry, t.tryAgain})
	}
	if terminal(t.rec.State) {
		if t.forgetAt != nil {
			out = append(out, deadline{*t.forgetAt, t.remove})
		}
		return out
	}
	if t.restored {
		return out // it may have ended meanwhile, or not have been told of its notice
	}
	if !t.live {
		if n := t.rec.Notice; n.forces() && t.rec.Stop == nil {
			out = append(out, deadline{n.Term, t.giveUp})
		}
		return out
	}
	if kill, ok := t.killAt(); ok {
		out = append(out, deadline{kill, t.kill})
	}
	if term, ok := t.termAt(); ok {
		out = append(out, deadline{term, t.term})
	}
	if limit := t.rec.Assignment.GetSpec().GetMaxRunTime(); limit.AsDuration() > 0 && t.rec.Stop == nil && t.rec.Started != nil {
		out = append(out, deadline{t.rec.Started.plus(limit.AsDuration()), t.overrun})
	}
	return out
}

// killAt is when SIGKILL is due next: at the end of a stop's grace or after a notice's deadline, whichever comes first.
func (t *task) killAt() (moment, bool) {
	if t.killed != nil {
		return *t.killed, true
	}
	return t.earlier(
		func(o *stopOrder) (moment, bool) { return o.Kill, true },
		func(n *notice) (moment, bool) { return n.kill(), true })
}

// termAt is when the stop signal is due: at once for a stop, as scheduled for a notice.
func (t *task) termAt() (moment, bool) {
	if t.killed != nil {
		return moment{}, false
	}
	return t.earlier(
		func(o *stopOrder) (moment, bool) { return after(t.a.c.Clock, 0), !o.Termed },
		func(n *notice) (moment, bool) { return n.Term, !n.Termed && t.rec.Stop == nil })
}

func (t *task) earlier(stop func(*stopOrder) (moment, bool), leave func(*notice) (moment, bool)) (at moment, ok bool) {
	if t.rec.Stop != nil {
		at, ok = stop(t.rec.Stop)
	}
	if t.rec.Notice.forces() {
		if m, due := leave(t.rec.Notice); due && (!ok || m.until(t.a.c.Clock) < at.until(t.a.c.Clock)) {
			at, ok = m, true
		}
	}
	return at, ok
}

// signalSent is what became of a stop signal. What comes after was known to whoever sent it to come after.
type signalSent struct {
	at  moment // just before
	err error
}

// term notes that the stop signal is sent, sends it, and notes when it was.
func (t *task) term(ctx context.Context) {
	now := after(t.a.c.Clock, 0)
	t.apply(func(r *record) {
		r.Sending = &now
		if r.Stop != nil {
			r.Stop.Termed = true
		} else {
			r.Notice.Termed = true
		}
	})
	sig, err := runtime.ParseSignal(t.rec.Assignment.GetSpec().GetKill().GetSignal())
	if err != nil {
		sig = syscall.SIGTERM
	}
	t.sending = true
	t.do(ctx, "sending "+runtime.SignalName(sig), func(ctx context.Context) error {
		sent := signalSent{at: after(t.a.c.Clock, 0)}
		sent.err = t.runtime.Signal(ctx, t.id, sig)
		t.post(context.WithoutCancel(ctx), sent)
		return sent.err
	})
}

// onSignalSent notes when the task was signalled, and goes on with what had to wait for that.
func (t *task) onSignalSent(m signalSent) {
	t.sending = false
	never := errors.Is(m.err, runtime.ErrNotRunning) || errors.Is(m.err, runtime.ErrNotFound)
	if !terminal(t.rec.State) {
		t.apply(func(r *record) {
			r.Sending = nil
			if r.Stop == nil && r.Signalled == nil && !never {
				r.Signalled = &m.at
			}
		})
	}
	waiting := t.after
	t.after = nil
	for _, f := range waiting {
		f()
	}
}

// afterSignal does f now, or when it is known whether the stop signal under way was sent: an end, or a withdrawal, means one
// thing before it and another after.
func (t *task) afterSignal(f func()) {
	if t.sending {
		t.after = append(t.after, f)
		return
	}
	f()
}

// signalAgain makes a stop signal due again that an earlier agent may not have come to send. A task that never got one would
// be killed without a word. An end until then counts as its answer: that work is done twice is better than that it is lost.
func (t *task) signalAgain() {
	if t.rec.Sending == nil {
		return
	}
	t.apply(func(r *record) {
		if r.Stop != nil {
			r.Stop.Termed = false
		} else if r.Signalled == nil {
			r.Signalled = r.Sending
		}
		if r.Notice != nil {
			r.Notice.Termed = false
		}
		r.Sending = nil
	})
}

// kill ends every process of the task, again and again until its end is seen.
func (t *task) kill(ctx context.Context) {
	if n := t.rec.Notice; n.open() && n.Deadline.until(t.a.c.Clock) <= 0 {
		t.apply(func(r *record) { r.Notice.Wire = withState(r.Notice.Wire, noticeExpired) })
	}
	again := after(t.a.c.Clock, retryKill)
	t.killed = &again
	t.do(ctx, "killing", func(ctx context.Context) error { return t.runtime.Kill(ctx, t.id) })
}

func (t *task) overrun(context.Context) {
	t.stop(stopCommand{end: polderv1.TaskState_TASK_STATE_FAILED, reason: &polderv1.Reason{
		Code:    "MaxRunTime",
		Message: fmt.Sprintf("stopped after its longest run time of %v", t.rec.Assignment.Spec.MaxRunTime.AsDuration()),
	}})
}

// tryAgain repeats what the disk or the engine refused.
func (t *task) tryAgain(ctx context.Context) {
	t.retry = nil
	if t.unsaved {
		t.apply(func(*record) {})
	}
	if t.wanted != nil {
		t.notice(ctx, *t.wanted)
	}
	if !terminal(t.rec.State) && !t.live && !t.restored && t.begin == nil {
		t.start(ctx)
	}
}

// remove forgets the task: in the runtime, on disk, in memory. What is refused is tried again later.
func (t *task) remove(ctx context.Context) {
	if err := t.erase(ctx); err != nil {
		t.a.c.Logger.Warn("an ended task cannot be removed yet", "task", t.id, "error", err)
		later := after(t.a.c.Clock, retryMost)
		t.forgetAt = &later
		return
	}
	t.a.forget(t.id)
}

func (t *task) erase(ctx context.Context) error {
	if t.runtime != nil {
		if err := t.runtime.Remove(ctx, t.id); err != nil {
			return err
		}
	}
	if t.rec.Assignment.GetSpec().GetContainer() == nil { // a door's container keeps its own until its users remove it
		if err := os.RemoveAll(sandboxOf(t.a.c.Dir, t.rec.Assignment)); err != nil {
			return err
		}
	}
	if t.volatile {
		return nil
	}
	var b checkpoint.Batch
	b.Delete(taskPrefix + t.id)
	return t.a.commit(b)
}
