package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"connectrpc.com/connect"

	"polder.dev/polder/agent/runtime/volume"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/role"
	"polder.dev/polder/store"
)

// asks serves AskService.
type asks struct{ *leader }

// draft is an ask on its way in: what to queue, or why not.
type draft struct {
	spec    cluster.AskSpec
	name    string
	wire    []byte   // its spec as it is written down
	volumes []string // that it mounts
	list    string   // where in the request it is
	index   int
	refused error
}

// at is the path of a field of the ask in the request. It is asked for when something is wrong.
func (d *draft) at(field string) string { return role.JoinKey(role.JoinIndex(d.list, d.index), field) }

// newDraft reads an ask that nobody else has yet. The picture says where the volumes are that it mounts.
func newDraft(p *picture, a *polderv1.AskSpec, list string, index int) draft {
	d := draft{name: a.GetName(), list: list, index: index}
	count := max(1, a.GetCount())
	switch {
	case a.GetTask().GetVolume() != nil || a.GetTask().GetRuntime() == volume.Name:
		d.refused = invalid(d.at("task"), "volumes are made with VolumeService.Create, or polder volume create")
	case a.GetTask().GetReserves() != nil || a.GetTask().GetRuntime() == reservationRuntime:
		d.refused = invalid(d.at("task"), "reservations are made with ReservationService.Create, or polder reservation create")
	case a.GetName() != "" && !validAskName(a.GetName()):
		d.refused = invalid(d.at("name"), "%q: use up to 40 lower-case letters, digits and '-', with a letter or digit at both ends", clip(a.GetName(), 80))
	case count > maxAskCount:
		d.refused = invalid(d.at("count"), "%d tasks, at most %d in one ask", count, maxAskCount)
	}
	if d.refused == nil && len(a.GetTask().GetMounts()) > 0 {
		d.volumes, d.refused = p.place(a.Task, d.at("task"))
	}
	if d.refused == nil && a.GetTask() != nil {
		d.refused = p.carve(a.Task, a.GetRole(), d.at("task"))
	}
	shape := d.read(a.GetTask())
	d.spec = cluster.AskSpec{ID: newAskID(d.name), Role: a.GetRole(), Count: int(count), Gang: a.GetGang(), Earmark: a.GetEarmark(), Shape: shape, Payload: a.GetTask()}
	return d
}

// read checks what is to run and writes it down.
func (d *draft) read(s *polderv1.TaskSpec) cluster.Shape {
	var unwritten error // for text that is not UTF-8
	if s != nil {
		d.wire, unwritten = marshalSpec(s)
	}
	shape, err := shapeOfSize(s, len(d.wire), "")
	if err != nil { // once more, with the path
		_, err = shapeOfSize(s, len(d.wire), d.at("task"))
	} else if unwritten != nil {
		err = invalid(d.at("task"), "%v", unwritten)
	}
	if d.refused == nil {
		d.refused = err
	}
	return shape
}

// checkTreatment refuses a task that wants more notice or more undisturbed time than its role grants.
func (d *draft) checkTreatment(tree *role.Tree) error {
	id, ok := tree.WorkRole(d.spec.Role)
	if !ok {
		return nil // the cluster says so better
	}
	r := &tree.Roles[id]
	for _, f := range []struct {
		field string
		own   *time.Duration
		most  time.Duration
	}{{"reclaim_grace", d.spec.Shape.ReclaimGrace, r.ReclaimGrace}, {"min_runtime", d.spec.Shape.MinRuntime, r.MinRuntime}} {
		if f.own != nil && *f.own > f.most {
			return invalid(role.JoinKey(d.at("task"), f.field), "%v is longer than the %v of role %s; ask for less, or have the role's raised",
				*f.own, f.most, d.spec.Role)
		}
	}
	return nil
}

// Submit queues asks and answers when they are durable.
func (s asks) Submit(ctx context.Context, req *connect.Request[polderv1.SubmitRequest]) (*connect.Response[polderv1.SubmitResponse], error) {
	who := callerOf(ctx).id.String()
	key, hash := "", ""
	if k := req.Msg.IdempotencyKey; k != "" && !req.Msg.DryRun {
		if len(k) > 256 {
			return nil, invalid("idempotency_key", "%d bytes, at most 256", len(k))
		}
		if len(req.Msg.Asks) > maxKeyedAsks {
			return nil, invalid("asks", "%d asks, at most %d with one idempotency_key; send several requests", len(req.Msg.Asks), maxKeyedAsks)
		}
		var err error
		if key = answerKey(who, k); err == nil {
			hash, err = digestOf(req.Msg)
		}
		if err != nil {
			return nil, err
		}
	}
	var drafts []draft
	p := s.board.look()
	for i, a := range req.Msg.Asks {
		drafts = append(drafts, newDraft(p, a, "asks", i))
	}
	var out *polderv1.SubmitResponse
	run := s.change
	if req.Msg.DryRun {
		run = s.consult
	}
	err := run(ctx, func(t *turn) error {
		var err error
		if out, err = t.answered(key, hash); out != nil || err != nil {
			return err
		}
		out = &polderv1.SubmitResponse{}
		for _, d := range drafts {
			out.Results = append(out.Results, t.submit(d, who, req.Msg.DryRun))
		}
		return t.answer(key, hash, out)
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(out), nil
}

// submit queues one ask; a dry run leaves no trace.
func (t *turn) submit(d draft, who string, dry bool) *polderv1.SubmitResult {
	err := d.refused
	if err == nil {
		err = d.checkTreatment(t.cluster.Tree())
	}
	if err == nil {
		err = t.stillThere(&d)
	}
	d.spec.Submitted = t.now
	if err == nil && dry {
		err = t.tryOut(d.spec)
	} else if err == nil {
		t.asks[d.spec.ID] = askExtra{Name: d.name, By: who, wire: d.wire, mounts: d.volumes}
		_, err = t.step(cluster.Submit{Ask: d.spec})
		err = t.withVolumes(&d, err)
		t.hold(d.spec.ID)
	}
	if err != nil {
		delete(t.asks, d.spec.ID)
		return &polderv1.SubmitResult{Refused: reasonOf(err)}
	}
	view := cluster.AskView{AskSpec: d.spec, Pending: d.spec.Count, State: "open"}
	return &polderv1.SubmitResult{Ask: askProto(askRow{view, askExtra{Name: d.name, By: who}})}
}

// hold keeps the launches of a new ask back until this turn's write is durable.
func (t *turn) hold(ask string) {
	t.held.open(ask)
	t.batch.then(func() { t.held.release(ask) })
}

// tryOut submits and withdraws an ask without letting the cluster decide in between; nobody learns of it.
func (t *turn) tryOut(spec cluster.AskSpec) error {
	if _, err := t.cluster.Step(cluster.Submit{Ask: spec}, t.now); err != nil {
		return err
	}
	_, err := t.cluster.Step(cluster.Cancel{Ask: spec.ID}, t.now)
	return err
}

// reasonOf is why something was refused.
func reasonOf(err error) *polderv1.Reason {
	var r *cluster.Refusal
	if errors.As(err, &r) {
		return reasonProto(r.Reason)
	}
	return &polderv1.Reason{Code: "Internal", Message: err.Error()}
}

// answered returns what a request with the same key was told before. The same key with another request is an error.
func (t *turn) answered(key, hash string) (*polderv1.SubmitResponse, error) {
	r, ok := t.answers.byKey[key]
	if key == "" || !ok {
		return nil, nil
	}
	if r.Request != hash {
		return nil, invalid("idempotency_key", "it was used for another request before; choose a new one for each")
	}
	out := &polderv1.SubmitResponse{}
	if err := unmarshalJSON(r.Response, out); err != nil {
		return nil, err
	}
	for _, result := range out.Results {
		if row, ok := t.working.asks.Get(result.GetAsk().GetId()); ok {
			result.Ask = askProto(row)
		}
	}
	return out, nil
}

// Bounds on an answer that is kept: its record must fit into a transaction whatever was asked.
const (
	maxKeyedAsks = 1000
	maxRefusal   = 256 // bytes of each text
)

// brief is what is kept of an answer: the ids of the asks and why others were refused. The rest is looked up again.
func brief(r *polderv1.SubmitResponse) *polderv1.SubmitResponse {
	out := &polderv1.SubmitResponse{}
	for _, full := range r.Results {
		short := &polderv1.SubmitResult{}
		if full.Ask != nil {
			short.Ask = &polderv1.Ask{Id: full.Ask.Id}
		}
		if why := full.Refused; why != nil {
			short.Refused = &polderv1.Reason{Code: why.Code, Message: clip(why.Message, maxRefusal), UnblockedBy: clip(why.UnblockedBy, maxRefusal)}
		}
		out.Results = append(out.Results, short)
	}
	return out
}

// answer writes down what a request with a key is told.
func (t *turn) answer(key, hash string, out *polderv1.SubmitResponse) error {
	if key == "" {
		return nil
	}
	text, err := messageJSON(brief(out))
	if err != nil {
		return err
	}
	r := answerRecord{hash, text, t.now}
	value, err := encodeRecord(r)
	if err != nil {
		return err
	}
	t.batch.add(store.Put(key, value))
	if old, ok := t.answers.load(key, r); ok {
		t.batch.add(store.Delete(old))
	}
	return nil
}

// Cancel withdraws asks. Of one that is over there is nothing to withdraw.
func (s asks) Cancel(ctx context.Context, req *connect.Request[polderv1.CancelRequest]) (*connect.Response[polderv1.CancelResponse], error) {
	out := &polderv1.CancelResponse{}
	err := s.change(ctx, func(t *turn) error {
		for _, id := range req.Msg.Ids {
			v, ok := t.cluster.Ask(id)
			if !ok {
				continue // it ended since it was authorised, or before
			}
			if err := noProcess(v.Payload, "ask "+id); err != nil {
				return err
			}
			if _, err := t.step(cluster.Cancel{Ask: id, KeepRunning: req.Msg.KeepRunning}); err != nil {
				return err
			}
			out.Withdrawn += uint32(v.Pending)
			if !req.Msg.KeepRunning {
				out.Stopping += uint32(v.Running)
			}
		}
		return nil
	})
	return connect.NewResponse(out), err
}

func (s asks) List(ctx context.Context, req *connect.Request[polderv1.AskServiceListRequest]) (*connect.Response[polderv1.AskServiceListResponse], error) {
	m := req.Msg
	if !slices.Contains([]string{"", "open", "finished", "cancelled"}, m.State) {
		return nil, invalid("state", "%q is none of open, finished, cancelled", clip(m.State, 40))
	}
	p, v := s.board.look(), s.viewer(callerOf(ctx))
	out, next, err := pageOf(m, p.asks.After, func(a askRow) bool {
		return (m.State == "" || a.State == m.State) && (!m.Waiting || a.Pending > 0) && (m.Volumes || !runsNothing(a.Payload)) && under(a.Role, m.Role) && v.mayView(a.Role)
	}, func(a askRow) *polderv1.Ask { return s.askFor(callerOf(ctx), a) })
	return connect.NewResponse(&polderv1.AskServiceListResponse{Asks: out, NextPageToken: next, Revision: p.revision}), err
}

func (s asks) Get(ctx context.Context, req *connect.Request[polderv1.AskServiceGetRequest]) (*connect.Response[polderv1.Ask], error) {
	row, ok := s.board.look().asks.Get(req.Msg.Id)
	if !ok {
		return nil, noAsk(req.Msg.Id)
	}
	return connect.NewResponse(s.askFor(callerOf(ctx), row)), nil
}

// Explain says why an ask or a task is where it is; of one that is over, how it ended.
func (s asks) Explain(ctx context.Context, req *connect.Request[polderv1.ExplainRequest]) (*connect.Response[polderv1.ExplainResponse], error) {
	out := &polderv1.ExplainResponse{}
	err := s.consult(ctx, func(t *turn) error {
		if reason, details, ok := t.cluster.Explain(req.Msg.Id); ok {
			out.Reason, out.Details = reasonProto(reason), slices.Clone(details)
			return nil
		}
		if row, ok := t.working.tasks.Get(req.Msg.Id); ok {
			out.Reason = &polderv1.Reason{Code: "Ended", Message: row.Task + " is over: " + row.State.String()}
			if row.Reason.Message != "" {
				out.Reason.Message += ", " + row.Reason.Message
			}
			return nil
		}
		row, ok := t.working.asks.Get(req.Msg.Id)
		if !ok {
			return noAsk(req.Msg.Id)
		}
		out.Reason = &polderv1.Reason{Code: "Ended", Message: row.ID + " is " + row.State}
		return nil
	})
	return connect.NewResponse(out), err
}

func askProto(a askRow) *polderv1.Ask {
	out := &polderv1.Ask{
		Id:        a.ID,
		Spec:      &polderv1.AskSpec{Name: a.Name, Role: a.Role, Count: uint32(a.Count), Gang: a.Gang, Earmark: a.Earmark, Task: specOf(a.Payload)},
		Submitted: timeProto(a.Submitted), SubmittedBy: a.By, Pending: uint32(a.Pending), Running: uint32(a.Running),
		Succeeded: uint32(a.Succeeded), Failed: uint32(a.Failed), Reason: reasonProto(a.AskView.Reason), State: a.State,
	}
	for _, node := range sortedKeys(a.Kept) {
		out.Kept = append(out.Kept, &polderv1.KeptPlaces{Node: node, Count: uint32(a.Kept[node])})
	}
	return out
}
