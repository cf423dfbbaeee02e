package docker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// queueLabel says that a container without room waits in the queue while its client goes on.
const queueLabel = "polder.queue"

// queue asks for a lease wherever there will be room. A client waits as long as something is known to become free for it; a
// container that says so waits without its client.
func (d *Door) queue(ctx context.Context, p place, task *polderv1.TaskSpec, c inspected, why *polderv1.Reason) error {
	x, err := d.again(ctx, p, task)
	if err != nil {
		return err
	}
	task = proto.CloneOf(task)
	task.Constraints = append(task.Constraints, x.pins.constraints...)
	if c.State.Status != "created" { // what it has written is here
		task.Constraints = append(task.Constraints, "node in ("+p.node+")")
	}
	res, err := d.api.Asks.Submit(ctx, connect.NewRequest(&polderv1.SubmitRequest{
		Asks: []*polderv1.AskSpec{{Name: askName(p.name), Role: p.role, Task: task}}}))
	if err != nil {
		return err
	}
	if r := res.Msg.Results[0].Refused; r != nil {
		return fail(http.StatusConflict, "%s", sentence(r))
	}
	ask := res.Msg.Results[0].Ask.Id
	d.mu.Lock()
	d.asks[p.id] = ask
	d.mu.Unlock()
	if c.Config.Labels[queueLabel] == "true" {
		return nil
	}
	return x.pins.because(d.patient(ctx, p, ask, why))
}

// sentence is a reason as polder why says it.
func sentence(r *polderv1.Reason) string {
	if r.GetUnblockedBy() == "" {
		return r.GetMessage()
	}
	return r.Message + "; " + r.UnblockedBy
}

// patience is how long a start waits for room that nobody has promised.
const patience = 2 * time.Second

// patient waits for the lease as long as the pool expects it to come, then withdraws and says why there is none. What an ask says of itself is
// from the last time that somebody decided about it: it may expect what nobody does any more. So the pool is asked why.
func (d *Door) patient(ctx context.Context, p place, ask string, why *polderv1.Reason) error {
	until := time.Now().Add(patience)
	for {
		res, err := d.api.Asks.Get(ctx, connect.NewRequest(&polderv1.AskServiceGetRequest{Id: ask}))
		if err != nil {
			return d.giveUp(ctx, p, ask, err)
		}
		if res.Msg.Pending == 0 {
			return d.landed(ctx, p, ask)
		}
		if now, err := d.api.Asks.Explain(ctx, connect.NewRequest(&polderv1.ExplainRequest{Id: ask})); err == nil && now.Msg.Reason != nil {
			why = now.Msg.Reason
		}
		if at := why.GetExpected(); at != nil && time.Now().Before(at.AsTime()) {
			until = time.Now().Add(patience)
		}
		if time.Now().After(until) {
			return d.giveUp(ctx, p, ask, fail(http.StatusConflict, "%s", sentence(why)))
		}
		timer := time.NewTimer(100 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return d.giveUp(context.WithoutCancel(ctx), p, ask, context.Cause(ctx))
		}
	}
}

func (d *Door) giveUp(ctx context.Context, p place, ask string, why error) error {
	return errors.Join(why, d.withdraw(ctx, p, ask))
}

// landed waits for the task of an ask that has its lease. Its agent may have made the container anew on another node.
func (d *Door) landed(ctx context.Context, p place, ask string) error {
	res, err := d.api.Tasks.List(ctx, connect.NewRequest(&polderv1.TaskServiceListRequest{Ask: ask, All: true}))
	if err != nil {
		return err
	}
	if len(res.Msg.Tasks) == 0 {
		return fmt.Errorf("ask %s has no task", ask)
	}
	t := res.Msg.Tasks[len(res.Msg.Tasks)-1]
	return d.arrived(ctx, p, t.Id, t.Node, t.Resources["gpu"] != "")
}
