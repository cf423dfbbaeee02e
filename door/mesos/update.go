package mesos

import (
	"bytes"
	"container/heap"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// maxResend is the longest wait for an acknowledgement.
const maxResend = 10 * time.Minute

// update is a status on its way to a framework, until that acknowledges it.
type update struct {
	status *mesosv1.TaskStatus // it stays as it is
	wire   []byte              // status as it is written down and sent, once it was
	next   time.Time           // when it is sent again
	wait   time.Duration
}

// encoded is the status as it is written down.
func (u *update) encoded() []byte {
	if u.wire == nil {
		u.wire = encoded(u.status)
	}
	return u.wire
}

// Numbers of the fields around a status that is sent.
const (
	eventUpdate  = 5 // mesos.v1.scheduler.Event
	updateStatus = 1 // mesos.v1.scheduler.Event.Update
)

// record is the event that tells of it, as a record of a stream.
func (u *update) record() []byte {
	status := u.encoded()
	size := protowire.SizeTag(updateStatus) + protowire.SizeBytes(len(status))
	b := appendType(wire.BeginRecord(size+10), schedulerv1.Event_UPDATE)
	b = protowire.AppendVarint(protowire.AppendTag(b, eventUpdate, protowire.BytesType), uint64(size))
	return wire.EndRecord(appendField(b, updateStatus, status))
}

// note takes a status over as the task's state.
func (t *task) note(d *Door, s *mesosv1.TaskStatus) {
	t.become(s.GetState())
	if n := len(t.statuses); n > 0 && t.statuses[n-1].GetState() == t.state {
		t.statuses[n-1] = s
	} else {
		t.statuses = append(t.statuses, s)
	}
	if d.watched() {
		d.tellTask(t, taskUpdated(t, s))
	}
}

// update sends a status reliably: one after the other, each until it is acknowledged. The mutex is held.
func (d *Door) update(t *task, s *mesosv1.TaskStatus) {
	if t.over() {
		return
	}
	t.note(d, s)
	if t.over() {
		d.counters.ended(t.state)
	}
	t.updates = append(t.updates, &update{status: s})
	d.keepTask(t)
	if len(t.updates) == 1 {
		d.dispatch(t)
	}
}

// dispatch sends the update whose turn it is.
func (d *Door) dispatch(t *task) {
	if len(t.updates) == 0 || t.fw.stream == nil {
		return
	}
	u := t.updates[0]
	u.wait = min(max(2*u.wait, d.c.Resend), maxResend)
	u.next = d.c.Now().Add(u.wait)
	d.wait(t)
	t.sent = u.status.GetState()
	d.keepTask(t)
	d.sendUpdate(t.fw, u)
	d.nudge() // to be woken when it is due again
}

// restart lets the update whose turn it is be sent at once: its framework is back.
func (d *Door) restart(t *task) {
	if len(t.updates) > 0 {
		t.updates[0].next, t.updates[0].wait = time.Time{}, 0
		d.wait(t)
	}
}

// wait lets the update whose turn it is be sent again when that is due.
func (d *Door) wait(t *task) { heap.Push(&d.unheard, resending{t.updates[0].next, t, t.updates[0]}) }

// resending is an update that is sent again at an instant, unless it is acknowledged before.
type resending struct {
	at time.Time
	t  *task
	u  *update
}

// stands reports whether it is still to be sent then. A framework that is away gets it when it is back.
func (r resending) stands() bool {
	return len(r.t.updates) > 0 && r.t.updates[0] == r.u && r.u.next.Equal(r.at) && r.t.fw.stream != nil
}

// resendings is a heap of them, the soonest on top. What does not stand any more is passed over.
type resendings []resending

// Len, Less, Swap, Push and Pop implement [heap.Interface].
func (h resendings) Len() int           { return len(h) }
func (h resendings) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h resendings) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *resendings) Push(x any)        { *h = append(*h, x.(resending)) }
func (h *resendings) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = resending{}
	*h = (*h)[:last]
	return x
}

// next is when something is sent again the next time, if it is.
func (h *resendings) next() (time.Time, bool) {
	for len(*h) > 0 {
		if (*h)[0].stands() {
			return (*h)[0].at, true
		}
		heap.Pop(h)
	}
	return time.Time{}, false
}

// resend sends again what was not acknowledged in time. The mutex is held.
func (d *Door) resend(now time.Time) {
	for at, ok := d.unheard.next(); ok && !now.Before(at); at, ok = d.unheard.next() {
		d.dispatch(heap.Pop(&d.unheard).(resending).t)
	}
}

// acknowledge takes an update off its task's queue; after the last the task is history.
func (d *Door) acknowledge(f *framework, c *schedulerv1.Call) {
	a := c.Acknowledge
	t := f.tasks[a.TaskId.GetValue()]
	if t == nil || t.node != a.AgentId.GetValue() || len(t.updates) == 0 || !bytes.Equal(t.updates[0].status.GetUuid(), a.Uuid) {
		return // of an update that was sent twice
	}
	if t.executor != nil {
		t.executor.acknowledged(t, a.Uuid)
	}
	t.updates = t.updates[1:]
	d.keepTask(t)
	if len(t.updates) > 0 {
		d.dispatch(t)
	} else if t.over() {
		d.retire(t)
	}
}

// retire moves a task to what is remembered.
func (d *Door) retire(t *task) {
	f := t.fw
	d.keep(t.storeKey(), nil)
	f.drop(t)
	if t.executor != nil {
		delete(t.executor.tasks, t.id())
	}
	f.complete(t)
}

// reconcile answers how tasks are: those named, or all there are.
func (d *Door) reconcile(f *framework, c *schedulerv1.Call) {
	if len(c.Reconcile.Tasks) == 0 {
		for _, t := range f.tasks {
			d.sendStatus(f, t.reconciled(d.c.Now()))
		}
		return
	}
	for _, x := range c.Reconcile.Tasks {
		d.reconcileOne(f, x.TaskId, x.AgentId)
	}
}

// reconciled is the latest state the framework was told.
func (t *task) reconciled(now time.Time) *mesosv1.TaskStatus {
	s := madeStatus(t.info.TaskId, &mesosv1.AgentID{Value: new(t.node)}, t.sent, mesosv1.TaskStatus_REASON_RECONCILIATION, "Reconciliation: Latest task state", now)
	s.ContainerStatus = t.containerStatus()
	return s
}

// reconcileOne answers for one task. Of one that nobody knows, on a node that does not answer, nothing can be said for certain.
func (d *Door) reconcileOne(f *framework, id *mesosv1.TaskID, agent *mesosv1.AgentID) {
	if t := f.tasks[id.GetValue()]; t != nil {
		d.sendStatus(f, t.reconciled(d.c.Now()))
		return
	}
	state, message := mesosv1.TaskState_TASK_UNKNOWN, "Reconciliation: Task is unknown"
	if n := d.nodes[agent.GetValue()]; agent != nil && n != nil {
		state, message = mesosv1.TaskState_TASK_GONE, "Reconciliation: Task is unknown to the agent"
		if n.state == "unreachable" {
			state, message = mesosv1.TaskState_TASK_UNREACHABLE, "Reconciliation: Task is unreachable"
		}
	}
	d.sendStatus(f, madeStatus(id, agent, f.state(state), mesosv1.TaskStatus_REASON_RECONCILIATION, message, d.c.Now()))
}
