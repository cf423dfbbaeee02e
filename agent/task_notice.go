package agent

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
)

// noticeCommand asks for a lease back.
type noticeCommand struct {
	notice *polderv1.Notice
	grace  time.Duration
}

// notice takes over a notice: first on disk, then the clock starts, then the task is told. A notice the disk refuses is
// not taken over; it is tried again until it is, because the claimant waits for it.
func (t *task) notice(ctx context.Context, c noticeCommand) {
	t.wanted = nil
	switch n := t.rec.Notice; {
	case terminal(t.rec.State):
		t.publish()
	case t.volume != "":
		t.keep("have it back for " + c.notice.GetClaimant())
	case n != nil && n.Wire.Id == c.notice.Id:
		t.extend(ctx, c)
	case n.forces() && t.rec.Stop != nil:
		t.leavesAnyway(c)
	default:
		t.takeOver(ctx, c)
	}
}

func (t *task) takeOver(ctx context.Context, c noticeCommand) {
	length := t.length(c)
	n := t.newNotice(c.notice, length)
	if err := t.commit(func(r *record) { r.Notice = n }); err != nil {
		t.a.tell("NoCheckpoint", t.id, fmt.Sprintf("notice %s is not taken over yet, the journal could not record it: %v", c.notice.Id, err))
		t.wanted = &c
		t.retryIn(retryDisk)
		return
	}
	// The grace counts from now, when it is on disk. The later moment gets there with the note that the task was told.
	t.rec.Notice = t.newNotice(c.notice, length)
	t.publish()
	if t.live {
		t.deliver(ctx, true)
	}
}

// leavesAnyway accepts a notice for a task that is being stopped for an earlier one, which was withdrawn too late. The earlier
// one stays in force: its deadline is nearer, and the task must not read of time it will not have.
func (t *task) leavesAnyway(c noticeCommand) {
	deadline := after(t.a.c.Clock, t.length(c)).Wall
	t.a.outbox.reply(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Notice{Notice: &polderv1.NoticeReport{
		Notice: c.notice.Id, Task: t.id, Accepted: true, Deadline: timestamppb.New(deadline),
	}}})
}

// length is how long the notice lasts: the grace, or as long as the server meant when that is longer. What the server
// meant is bounded by its own two instants, so that clocks that differ cannot stretch it.
func (t *task) length(c noticeCommand) time.Duration {
	if c.notice.Deadline == nil {
		return max(c.grace, 0)
	}
	meant := c.notice.Deadline.AsTime().Sub(t.a.c.Clock.Now())
	if c.notice.Issued != nil {
		meant = min(meant, c.notice.Deadline.AsTime().Sub(c.notice.Issued.AsTime()))
	}
	return max(c.grace, meant, 0)
}

func (t *task) newNotice(wire *polderv1.Notice, length time.Duration) *notice {
	n := &notice{Wire: proto.CloneOf(wire), Asked: instant(wire.Deadline), Length: length, Deadline: after(t.a.c.Clock, length)}
	n.Wire.State = noticeOpen
	n.schedule(ownGrace(t.rec.Assignment))
	return n
}

// schedule puts the stop signal at the deadline, with SIGKILL a moment later; or, for a task whose kill policy sets a grace
// of its own, that much before the deadline, at most half of the notice, with SIGKILL at the deadline.
func (n *notice) schedule(own time.Duration) {
	n.Term = n.Deadline.plus(-min(own, n.Length/2))
	n.Wire.Deadline = timestamppb.New(n.Deadline.Wall)
}

// instant is the zero time for a missing timestamp.
func instant(ts *timestamppb.Timestamp) time.Time {
	if ts == nil {
		return time.Time{}
	}
	return ts.AsTime()
}

// extend handles a notice the agent has already. Its deadline may only become later, by as much as the server's own word
// did, whatever the clocks of the two say: telling again does not start the grace again.
func (t *task) extend(ctx context.Context, c noticeCommand) {
	n, asked := t.rec.Notice, instant(c.notice.Deadline)
	more := asked.Sub(n.Asked)
	if more <= 0 || n.Asked.IsZero() || !n.open() || n.Termed {
		t.publish()
		return
	}
	t.apply(func(r *record) {
		r.Notice.Wire, r.Notice.Asked = proto.CloneOf(r.Notice.Wire), asked
		r.Notice.Deadline, r.Notice.Length = r.Notice.Deadline.plus(more), r.Notice.Length+more
		r.Notice.schedule(ownGrace(r.Assignment))
	})
	if t.live {
		t.deliver(ctx, false)
	}
}

// resumeNotice goes on with a notice after a restart. One whose task may not have been told, or whose clock was reset by
// a boot, starts again at its full length: longer is allowed, shorter is not. But once the stop signal was sent its time is
// over: the task must not read of time it will not have.
func (t *task) resumeNotice() {
	n := t.rec.Notice
	if !n.forces() || (n.Told || n.Termed) && n.Deadline.thisBoot(t.a.c.Clock) {
		return
	}
	state := n.Wire.State
	t.apply(func(r *record) {
		r.Notice = t.newNotice(n.Wire, n.Length)
		r.Notice.Wire.State, r.Notice.Asked, r.Notice.Released = state, n.Asked, n.Released
	})
}

// withdraw tells the task that it may stay, after a stop signal that is under way.
func (t *task) withdraw(ctx context.Context, id string) {
	t.afterSignal(func() { t.withdrawNow(ctx, id) })
}

// withdrawNow tells the task that it may stay. A stop signal that was sent already cannot be called back.
func (t *task) withdrawNow(ctx context.Context, id string) {
	if t.wanted != nil && t.wanted.notice.Id == id {
		t.wanted = nil
	}
	n := t.rec.Notice
	if terminal(t.rec.State) || n == nil || n.Wire.Id != id || !n.forces() {
		t.publish()
		return
	}
	if n.Wire.State != noticeOpen || t.rec.Stop != nil {
		t.a.tell("WithdrawnTooLate", t.id, fmt.Sprintf("notice %s was withdrawn after the task was being stopped; it will not run on", id))
		return
	}
	t.apply(func(r *record) { r.Notice.Wire, r.Notice.Told = withState(r.Notice.Wire, noticeWithdrawn), false })
	if n.Termed {
		t.a.tell("WithdrawnAfterSignal", t.id, fmt.Sprintf("notice %s was withdrawn after the stop signal was sent; the task runs on only if it ignores it", id))
	}
	if t.live {
		t.deliver(ctx, false)
	}
}

func withState(wire *polderv1.Notice, state string) *polderv1.Notice {
	next := proto.CloneOf(wire)
	next.State = state
	return next
}

// giveUp ends a task whose notice runs out while it is still being prepared.
func (t *task) giveUp(context.Context) {
	t.stop(stopCommand{
		end:    polderv1.TaskState_TASK_STATE_RECLAIMED,
		reason: &polderv1.Reason{Code: "Reclaimed", Message: "made room for " + t.rec.Notice.Wire.Claimant + " before it had started"},
	})
}

// onTold notes that the task was told once; after a restart it is not signalled again.
func (t *task) onTold(m told) {
	n := t.rec.Notice
	if n != nil && n.Wire.Id == m.notice && n.Wire.State == m.state && !n.Told && !terminal(t.rec.State) {
		t.apply(func(r *record) { r.Notice.Told = true })
	}
}

// onAnswer takes what the task says to its notice: it gives part back and goes on, or it is done and may be stopped now.
func (t *task) onAnswer(m answer) {
	n := t.rec.Notice
	if !n.open() || m.notice != n.Wire.Id || terminal(t.rec.State) {
		return
	}
	if err := m.Released.check(); err != nil {
		t.a.tell("BadAnswer", t.id, err.Error())
		return
	}
	if !m.Done {
		t.apply(func(r *record) { r.Notice.Released = m.Released })
		return
	}
	t.apply(func(r *record) { r.Notice.Wire = withState(r.Notice.Wire, noticeDone) })
	t.stop(stopCommand{
		end:    polderv1.TaskState_TASK_STATE_RECLAIMED,
		reason: &polderv1.Reason{Code: codeDone, Message: "said that it is done and made room for " + n.Wire.Claimant},
	})
}

// amounts is resources by kind as a task writes them.
type amounts map[string]string

func (a amounts) check() error {
	for name, text := range a {
		if pool, _ := resource.SplitName(name); pool != "" {
			return fmt.Errorf("answer to the notice: released %q: give the kind without a pool", name)
		}
		if _, err := resource.ParseValue(name, text); err != nil {
			return fmt.Errorf("answer to the notice: released: %w", err)
		}
	}
	return nil
}
