package server

import (
	"context"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
)

// snapshotPart is how many nodes go into one message of a snapshot.
const snapshotPart = 500

// claims serves ClaimService.
type claims struct{ *leader }

// Watch sends every node, then every change after that.
func (s claims) Watch(ctx context.Context, req *connect.Request[polderv1.ClaimServiceWatchRequest], stream *connect.ServerStream[polderv1.ClaimServiceWatchResponse]) error {
	return s.watch(ctx, req.Msg, stream.Send)
}

// nodeSender takes nodes for whoever watches them.
type nodeSender func(*polderv1.ClaimServiceWatchResponse) error

func (s claims) watch(ctx context.Context, m *polderv1.ClaimServiceWatchRequest, send nodeSender) error {
	var w *watcher
	var err error
	if m.FromRevision > 0 {
		w, err = s.board.watchFrom(m.FromRevision)
	} else {
		var p *picture
		p, w = s.board.viewAndWatch()
		err = sendNodes(p, m.Pool, send)
	}
	for err == nil {
		var changes []change
		if changes, err = w.wait(ctx); err == nil {
			err = sendChanges(changes, m.Pool, send)
		}
	}
	return err
}

func sendNodes(p *picture, pool string, send nodeSender) error {
	part := &polderv1.ClaimServiceWatchResponse{Revision: p.revision}
	for _, n := range p.nodes.All() {
		if pool != "" && n.Pool != pool {
			continue
		}
		if part.Nodes = append(part.Nodes, nodeProto(n)); len(part.Nodes) == snapshotPart {
			if err := send(part); err != nil {
				return err
			}
			part = &polderv1.ClaimServiceWatchResponse{Revision: p.revision}
		}
	}
	part.SnapshotComplete = true
	return send(part)
}

// sendChanges sends the nodes among the changes, each as it was last. A node that is in another pool now is as good as gone.
func sendChanges(changes []change, pool string, send nodeSender) error {
	last := map[string]nodeChange{}
	var revision int64
	for _, c := range changes {
		if n, ok := c.value.(nodeChange); ok {
			last[n.name], revision = n, c.revision
		}
	}
	if len(last) == 0 {
		return nil
	}
	out := &polderv1.ClaimServiceWatchResponse{Revision: revision}
	for _, name := range sortedKeys(last) {
		n := last[name]
		if n.removed || pool != "" && n.row.Pool != pool {
			out.Removed = append(out.Removed, name)
		} else {
			out.Nodes = append(out.Nodes, nodeProto(n.row))
		}
	}
	return send(out)
}

// Commit claims places that the caller chose itself.
func (s claims) Commit(ctx context.Context, req *connect.Request[polderv1.CommitRequest]) (*connect.Response[polderv1.CommitResponse], error) {
	who := callerOf(ctx).id.String()
	event := cluster.Commit{AllOrNothing: req.Msg.AllOrNothing, LeaveDemand: req.Msg.LeaveDemand}
	for _, g := range req.Msg.GiveUp {
		event.GiveUp = append(event.GiveUp, cluster.Kept{Ask: g.GetAsk(), Node: g.GetNode(), Count: int(min(g.GetCount(), maxAskCount))})
	}
	drafts := make([]draft, 0, len(req.Msg.Tasks))
	p := s.board.look()
	for i, c := range req.Msg.Tasks {
		d := newDraft(p, &polderv1.AskSpec{Name: c.GetName(), Role: c.GetRole(), Task: c.GetTask()}, "tasks", i)
		if d.refused != nil {
			return nil, d.refused
		}
		if err := d.checkTreatment(p.tree); err != nil {
			return nil, err
		}
		drafts = append(drafts, d)
	}
	out := &polderv1.CommitResponse{}
	event.Tasks = make([]cluster.Claim, 0, len(drafts))
	err := s.change(ctx, func(t *turn) error {
		for i := range drafts {
			if err := t.stillThere(&drafts[i]); err != nil {
				return err
			}
		}
		for i, d := range drafts {
			d.spec.Submitted = t.now
			t.asks[d.spec.ID] = askExtra{Name: d.name, By: who, wire: d.wire, mounts: d.volumes}
			event.Tasks = append(event.Tasks, cluster.Claim{Ask: d.spec, Node: req.Msg.Tasks[i].GetNode()})
		}
		effects, err := t.step(event)
		if err != nil {
			return err
		}
		out.Results, out.Revision = committed(effects), t.working.revision
		for _, d := range drafts {
			if _, ok := t.cluster.Ask(d.spec.ID); !ok {
				delete(t.asks, d.spec.ID)
			}
		}
		return nil
	})
	return connect.NewResponse(out), err
}

func committed(effects []cluster.Effect) []*polderv1.CommitResult {
	var out []*polderv1.CommitResult
	funding := map[string]string{}
	for _, e := range effects {
		if l, ok := e.(cluster.Launch); ok {
			funding[l.Task.Task] = l.Task.Funding
		}
	}
	for _, e := range effects {
		c, ok := e.(cluster.Committed)
		if !ok {
			continue
		}
		for _, r := range c.Results {
			result := &polderv1.CommitResult{Task: r.Task, Ask: r.Ask, Funding: funding[r.Task]}
			if r.Conflict != nil {
				result.Conflict = reasonProto(*r.Conflict)
			}
			out = append(out, result)
		}
	}
	return out
}
