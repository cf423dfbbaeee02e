package server

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/role"
)

func (s plans) Preview(ctx context.Context, req *connect.Request[polderv1.PreviewRequest]) (*connect.Response[polderv1.PreviewResponse], error) {
	at, err := timeCore(req.Msg.At, "at")
	if err != nil {
		return nil, err
	}
	now := s.board.look().plan
	plan, problems := now.Plan, []*polderv1.PlanProblem(nil)
	if req.Msg.Plan != "" || at.IsZero() {
		if plan, problems, err = readPlan(req.Msg.Plan); err != nil {
			return nil, err
		}
	}
	out := &polderv1.PreviewResponse{Problems: problems, BaseRevision: now.Revision}
	if plan == nil {
		return connect.NewResponse(out), nil
	}
	out.Problems = s.warnings(plan)
	out.Changes = planChanges(now.Plan, plan)
	if !at.IsZero() {
		out.Changes = treeChanges(effectiveRoles(now.Plan, s.cfg.Now()), effectiveRoles(plan, at))
		out.Windows = role.OpenWindows(plan, at)
	}
	if !slices.Equal(slices.Sorted(slices.Values(now.Plan.PoolNames())), slices.Sorted(slices.Values(plan.PoolNames()))) {
		out.Problems = append(out.Problems, &polderv1.PlanProblem{Path: "pools", Message: "who would be asked back is not known before nodes have moved to the new pools"})
		return connect.NewResponse(out), nil
	}
	sent, err := s.previewNotices(ctx, plan, at)
	for i := range sent {
		out.Notices = append(out.Notices, noticeProto(&sent[i]))
	}
	return connect.NewResponse(out), err
}

// previewNotices asks the cluster whom a plan would ask back, now or at an instant.
func (s plans) previewNotices(ctx context.Context, plan *role.Plan, at time.Time) (sent []cluster.Notice, err error) {
	err = s.consult(ctx, func(t *turn) error {
		if at.IsZero() {
			at = t.now
		}
		sent = t.cluster.PreviewPlan(plan, at, t.now)
		return nil
	})
	return sent, err
}

// planChanges are the fields that are written differently in two plans.
func planChanges(before, after *role.Plan) (out []*polderv1.PlanChange) {
	for _, c := range role.Diff(before, after) {
		path, field := splitChange(c.Path)
		out = append(out, &polderv1.PlanChange{Path: path, Field: field, From: c.From, To: c.To})
	}
	return out
}

// splitChange cuts the last word off the path of a change.
func splitChange(path string) (string, string) {
	if i := strings.LastIndexByte(path, '.'); i > 0 && !strings.HasSuffix(path, "]") {
		return path[:i], path[i+1:]
	}
	return path, ""
}

// treeFields are what a role has at an instant, in the words of the plan.
var treeFields = []struct {
	name string
	text func(*effectiveRole) string
}{
	{"guarantee", func(e *effectiveRole) string { return e.guarantee.String() }},
	{"unit", func(e *effectiveRole) string { return e.unit.String() }},
	{"limit", func(e *effectiveRole) string { return e.limit.String() }},
	{"weight", func(e *effectiveRole) string { return role.Weight(e.Weight).String() }},
	{"priority", func(e *effectiveRole) string { return strconv.Itoa(e.Priority) }},
	{"lend", func(e *effectiveRole) string {
		if e.lend.String() == e.guarantee.String() {
			return "100%" // follows the guarantee
		}
		return e.lend.String()
	}},
	{"borrow", func(e *effectiveRole) string { return e.borrow.String() }},
	{"reclaimGrace", func(e *effectiveRole) string { return e.ReclaimGrace.String() }},
	{"lendGrace", func(e *effectiveRole) string { return e.LendGrace.String() }},
	{"minRuntime", func(e *effectiveRole) string { return e.MinRuntime.String() }},
	{"warm", func(e *effectiveRole) string { return e.warm.String() }},
}

// treeChanges are the fields that roles have differently in two trees; of a role that only one of them has, what it has.
func treeChanges(before, after []effectiveRole) (out []*polderv1.PlanChange) {
	was, is := rolesByPath(before), rolesByPath(after)
	var paths []string
	for _, e := range slices.Concat(before, after) {
		paths = append(paths, e.Path)
	}
	slices.Sort(paths)
	for _, path := range slices.Compact(paths) {
		for _, f := range treeFields {
			c := &polderv1.PlanChange{Path: path, Field: f.name}
			if e := was[path]; e != nil {
				c.From = f.text(e)
			}
			if e := is[path]; e != nil {
				c.To = f.text(e)
			}
			if c.From != c.To {
				out = append(out, c)
			}
		}
	}
	return out
}

func rolesByPath(roles []effectiveRole) map[string]*effectiveRole {
	out := make(map[string]*effectiveRole, len(roles))
	for i := range roles {
		out[roles[i].Path] = &roles[i]
	}
	return out
}
