package mesos

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/door/mesos/wire/allocatorv1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// inverseOffer is a notice as a framework sees it: these resources are to be given back by then. The door's mutex guards it.
type inverseOffer struct {
	id       string // of the notice
	fw       *framework
	task     *task // the task that is to leave; nil for an executor
	native   string
	node     string
	amount   amounts
	deadline time.Time
	window   *mesosv1.Unavailability // it is of maintenance, not of a notice
	warnAt   time.Time               // when the task's executor is told to end it; zero when it has been, or the task has none
}

// errFollow says that a stream that should go on for ever has ended.
var errFollow = errors.New("the server ended a watch")

// followNotices turns the pool's notices into inverse offers.
func (d *Door) followNotices(ctx context.Context) error {
	stream, err := d.c.API.Notices.Watch(ctx, connect.NewRequest(&polderv1.NoticeServiceWatchRequest{}))
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		if n := stream.Msg().Notice; n != nil {
			d.mu.Lock()
			d.notice(n)
			d.mu.Unlock()
		}
	}
	return errors.Join(stream.Err(), errFollow)
}

// notice takes over how a notice is now. The mutex is held.
func (d *Door) notice(n *polderv1.Notice) {
	var f *framework
	x := &inverseOffer{id: n.Id, native: n.Task, node: n.Node, amount: ofKind(n.Amount), deadline: n.Deadline.AsTime()}
	switch o := d.natives[n.Task].(type) {
	case *task:
		f, x.task = o.fw, o
	case *executor:
		f = o.fw
	default:
		return // not ours
	}
	x.fw = f
	old := d.inverse[n.Id]
	if n.State != "open" {
		if old != nil {
			d.rescindInverse(old)
		}
		return
	}
	if old != nil && old.deadline.Equal(x.deadline) {
		return
	}
	if old != nil {
		d.rescindInverse(old)
	}
	d.inverse[x.id], f.inverse[x.id] = x, x
	d.counters.inverseSent++
	d.sendInverse(f, x)
	if x.task != nil && x.task.executor != nil {
		left := x.deadline.Sub(d.c.Now())
		x.warnAt = d.c.Now().Add(max(left-min(taskGrace(x.task), left/2), 0))
		d.nudge()
	}
}

// warn tells an executor in time to end a task that must leave: its grace before the deadline, at most half of the notice.
func (x *inverseOffer) warn(now time.Time) {
	if !x.warnAt.IsZero() && !now.Before(x.warnAt) {
		x.warnAt = time.Time{}
		if !x.task.over() {
			x.task.executor.kill(x.task, nil)
		}
	}
}

func taskGrace(t *task) time.Duration {
	if g := t.info.GetKillPolicy().GetGracePeriod(); g != nil {
		return time.Duration(g.GetNanoseconds())
	}
	return defaultGrace
}

// noticesOf sends a framework that is back the inverse offers that are open.
func (d *Door) noticesOf(f *framework) {
	for _, x := range d.inverse {
		if x.fw == f {
			f.inverse[x.id] = x
			d.sendInverse(f, x)
		}
	}
}

func (d *Door) sendInverse(f *framework, x *inverseOffer) {
	form := f.form("")
	role := ""
	if x.task != nil {
		role = x.task.role
	}
	form.role, form.revocable = role, f.borrows()
	gone := x.window
	if gone == nil {
		gone = &mesosv1.Unavailability{Start: &mesosv1.TimeInfo{Nanoseconds: new(x.deadline.UnixNano())}}
	}
	if x.window != nil {
		form.revocable = false
	}
	e := event(schedulerv1.Event_INVERSE_OFFERS)
	e.InverseOffers = &schedulerv1.Event_InverseOffers{InverseOffers: []*mesosv1.InverseOffer{{
		Id: &mesosv1.OfferID{Value: &x.id}, FrameworkId: &mesosv1.FrameworkID{Value: &f.id}, AgentId: &mesosv1.AgentID{Value: &x.node}, Url: d.nodeURL(),
		Unavailability: gone, Resources: form.resources(x.amount, resource.PortSet{}),
	}}}
	f.send(e)
}

func (d *Door) rescindInverse(x *inverseOffer) {
	d.forgetInverse(x)
	delete(d.inverse, x.id)
	e := event(schedulerv1.Event_RESCIND_INVERSE_OFFER)
	e.RescindInverseOffer = &schedulerv1.Event_RescindInverseOffer{InverseOfferId: &mesosv1.OfferID{Value: &x.id}}
	x.fw.send(e)
}

// forgetInverse drops it from what a framework may answer; the notice itself goes on.
func (d *Door) forgetInverse(x *inverseOffer) { delete(x.fw.inverse, x.id) }

// acceptInverse hears that a framework will make room. The task leaves by the deadline anyway; a framework that is done
// kills it, or lets it end.
func (d *Door) acceptInverse(f *framework, c *schedulerv1.Call) {
	for _, id := range c.AcceptInverseOffers.InverseOfferIds {
		if x := f.inverse[id.GetValue()]; x != nil {
			d.forgetInverse(x)
			d.answered(x, allocatorv1.InverseOfferStatus_ACCEPT)
			d.counters.inverseAccepted++
		}
	}
}

// declineInverse hears that a framework would rather not. That is written down; a notice is not a question.
func (d *Door) declineInverse(f *framework, c *schedulerv1.Call) {
	for _, id := range c.DeclineInverseOffers.InverseOfferIds {
		if x := f.inverse[id.GetValue()]; x != nil {
			d.forgetInverse(x)
			d.answered(x, allocatorv1.InverseOfferStatus_DECLINE)
			d.counters.inverseDeclined++
			d.log.Info("framework declines to make room; its task leaves at the deadline", "framework", f.id, "notice", x.id, "deadline", x.deadline)
		}
	}
}
