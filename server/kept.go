package server

import (
	"context"
	"time"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/server/table"
)

// States of a volume or a reservation.
const (
	keptWaiting     = "waiting"
	keptReady       = "ready"
	keptUnreachable = "unreachable"
	keptDeleting    = "deleting"
)

// keptRow is a volume or a reservation: an ask of its own and, once it has room, the one task of that.
type keptRow struct {
	ask   string
	asked *askRow           // nil when nobody knows the ask any more
	lease *cluster.TaskView // nil while it waits for room
}

// leaseOf is the id of the one task of such an ask.
func leaseOf(ask string) string { return ask + ".0" }

func (p *picture) keptOf(ask string) keptRow {
	v := keptRow{ask: ask}
	if row, ok := p.asks.Get(ask); ok {
		v.asked = &row
	}
	if row, ok := p.tasks.Get(leaseOf(ask)); ok && !row.State.Terminal() {
		v.lease = &row
	}
	return v
}

// keptOf is one as the requests before in this turn have left it.
func (t *turn) keptOf(ask string) keptRow {
	v := keptRow{ask: ask}
	if view, ok := t.cluster.Ask(ask); ok {
		v.asked = &askRow{view, t.asks[ask]}
	}
	if view, ok := t.cluster.Task(leaseOf(ask)); ok {
		v.lease = &view
	}
	return v
}

func (v keptRow) known() bool { return v.lease != nil || v.asked != nil && v.asked.State == "open" }

func (v keptRow) spec() *polderv1.TaskSpec {
	if v.lease != nil {
		return specOf(v.lease.Payload)
	}
	return specOf(v.asked.Payload)
}

func (v keptRow) role() string {
	if v.lease != nil {
		return v.lease.Role
	}
	return v.asked.Role
}

func (v keptRow) node() string {
	if v.lease == nil {
		return ""
	}
	return v.lease.Node
}

func (v keptRow) state() string {
	switch {
	case v.lease == nil || v.lease.State == cluster.Starting:
		return keptWaiting
	case v.lease.State == cluster.Stopping:
		return keptDeleting
	case v.lease.State == cluster.Unreachable:
		return keptUnreachable
	}
	return keptReady
}

// seeKept keeps a volume or a reservation under its name while it is there.
func (t *turn) seeKept(payload any, ask string, over bool) {
	if name := volumeName(payload); name != "" {
		see(&t.working.volumes, name, ask, over)
	}
	if name := reservationName(payload); name != "" {
		see(&t.working.reservations, name, ask, over)
	}
}

func see(names *table.Map[string, string], name, ask string, over bool) {
	at, ok := names.Get(name)
	switch {
	case !over:
		names.Set(name, ask)
	case ok && at == ask:
		names.Delete(name)
	}
}

// keep asks for a volume or a reservation that is new, under an id with this prefix.
func (t *turn) keep(prefix, path, node string, spec *polderv1.TaskSpec, who string) (ask string, err error) {
	if n, ok := t.cluster.Node(node); ok && spec.Pool == "" {
		spec.Pool = n.Pool
	} else if node != "" && !ok {
		return "", noNode(node)
	}
	shape, err := shapeOf(spec, "")
	if err != nil {
		return "", err
	}
	a := cluster.AskSpec{ID: newAskID(prefix), Role: path, Count: 1, Submitted: t.now, Shape: shape, Payload: spec}
	t.asks[a.ID] = askExtra{Name: prefix, By: who}
	if err := t.lease(a, node); err != nil {
		delete(t.asks, a.ID)
		return "", err
	}
	t.hold(a.ID)
	return a.ID, nil
}

// lease queues such an ask, or claims its place on a node.
func (t *turn) lease(ask cluster.AskSpec, node string) error {
	if node == "" {
		_, err := t.step(cluster.Submit{Ask: ask})
		return err
	}
	effects, err := t.step(cluster.Commit{Tasks: []cluster.Claim{{Ask: ask, Node: node}}, AllOrNothing: true})
	if err != nil {
		return err
	}
	for _, r := range committed(effects) {
		if r.Conflict != nil {
			return &cluster.Refusal{Reason: reasonCore(r.Conflict)}
		}
	}
	return nil
}

// until returns when a volume or a reservation waits no longer, or has for a while.
func (l *leader) until(ctx context.Context, find func(*picture) (keptRow, bool), ended func(p *picture, ask string) error) error {
	late := time.After(untilMost)
	ask := ""
	for {
		p, next := l.board.lookAndNext()
		v, ok := find(p)
		switch {
		case !ok && ask != "":
			return ended(p, ask)
		case !ok || v.state() != keptWaiting:
			return nil
		}
		ask = v.ask
		select {
		case <-next:
		case <-late:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.ctx.Done():
			return errStopped
		}
	}
}

// endedWhy says how something ended that somebody waited for.
func (p *picture) endedWhy(ask string) string {
	if row, ok := p.tasks.Get(leaseOf(ask)); ok && row.Reason.Message != "" {
		return row.Reason.Message
	}
	return "it was deleted meanwhile"
}
