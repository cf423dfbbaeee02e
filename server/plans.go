package server

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
	"polder.dev/polder/planfile"
	"polder.dev/polder/store"
)

// plans serves PlanService.
type plans struct{ *leader }

func (s plans) Get(_ context.Context, req *connect.Request[polderv1.PlanServiceGetRequest]) (*connect.Response[polderv1.PlanServiceGetResponse], error) {
	r, ok := s.board.look().planAt(req.Msg.Revision)
	if !ok {
		return nil, refused("NotFound", "see the history", "there is no plan revision %d; the last %d are kept", req.Msg.Revision, keepPlans)
	}
	text, err := planfile.Marshal(r.Plan)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&polderv1.PlanServiceGetResponse{Revision: r.proto(), Yaml: string(text)}), nil
}

func (r planRecord) proto() *polderv1.PlanRevision {
	return &polderv1.PlanRevision{Revision: r.Revision, Applied: timeProto(r.Applied), AppliedBy: r.By, Comment: r.Comment}
}

func (s plans) Validate(ctx context.Context, req *connect.Request[polderv1.ValidateRequest]) (*connect.Response[polderv1.ValidateResponse], error) {
	plan, problems, err := readPlan(req.Msg.Plan)
	if err != nil {
		return nil, err
	}
	if plan != nil && s.viewer(callerOf(ctx)).mayView("") {
		problems = s.warnings(plan)
	}
	return connect.NewResponse(&polderv1.ValidateResponse{Problems: problems}), nil
}

// readPlan parses a plan; what is wrong with it is returned as problems.
func readPlan(text string) (*role.Plan, []*polderv1.PlanProblem, error) {
	plan, err := planfile.Parse([]byte(text))
	var bad *planfile.Error
	if !errors.As(err, &bad) {
		return plan, nil, err
	}
	var out []*polderv1.PlanProblem
	for _, p := range bad.Problems {
		out = append(out, &polderv1.PlanProblem{Path: p.Path, Line: int32(p.Line), Message: p.Message, Fatal: true})
	}
	return nil, out, nil
}

// warnings are what keeps a plan from being kept at present although it is valid: top roles are guaranteed more than the
// nodes have, or packages fit on none.
func (s plans) warnings(plan *role.Plan) []*polderv1.PlanProblem {
	have := resource.Resources{}
	p := s.board.look()
	for _, n := range p.nodes.All() {
		pool := plan.PoolOf(n.Attributes)
		for kind, a := range n.Capacity {
			name := resource.JoinName(pool, kind)
			have[name] = have[name].Add(a)
		}
	}
	promised := resource.Resources{}
	for _, r := range effectiveRoles(plan, s.cfg.Now()) {
		if r.Depth == 1 {
			for name, a := range r.guarantee {
				promised[name] = promised[name].Add(a)
			}
		}
	}
	out := s.unpackable(plan)
	for _, name := range promised.Names() {
		if promised[name] > have[name] {
			out = append(out, &polderv1.PlanProblem{Path: "roles", Message: "guarantees add up to " + name + "=" +
				resource.FormatValue(name, promised[name]) + ", the nodes have " + name + "=" + resource.FormatValue(name, have[name]) +
				"; until there are more, guarantees are scaled down by priority"})
		}
	}
	return out
}

func (s plans) Apply(ctx context.Context, req *connect.Request[polderv1.ApplyRequest]) (*connect.Response[polderv1.ApplyResponse], error) {
	plan, err := planfile.Parse([]byte(req.Msg.Plan))
	if err != nil {
		return nil, err
	}
	if len(req.Msg.Comment) > 1024 {
		return nil, invalid("comment", "%d bytes, at most 1024", len(req.Msg.Comment))
	}
	r := planRecord{Plan: plan, By: callerOf(ctx).id.String(), Comment: req.Msg.Comment}
	err = s.change(ctx, func(t *turn) error {
		if now := t.working.plan.Revision; now != req.Msg.BaseRevision {
			return stalePlan(req.Msg.BaseRevision, now)
		}
		r.Revision, r.Applied = t.working.plan.Revision+1, t.now
		return t.setPlan(r)
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&polderv1.ApplyResponse{Revision: r.proto(), Warnings: s.warnings(plan)}), nil
}

// maxPlanBytes bounds a plan's record; two revisions fit into a transaction.
const maxPlanBytes = 2<<20 - 64<<10

// setPlan puts a plan in force and writes it down.
func (t *turn) setPlan(r planRecord) error {
	value, err := encodeRecord(r)
	if err != nil {
		return err
	}
	if len(value) > maxPlanBytes {
		return invalid("plan", "it takes %d bytes to keep, at most %d", len(value), maxPlanBytes)
	}
	if _, err := t.step(cluster.SetPlan{Plan: r.Plan, Revision: r.Revision}); err != nil {
		return err
	}
	t.batch.add(store.Put(planKey(r.Revision), value))
	if old := r.Revision - keepPlans; old > 0 {
		t.batch.add(store.Delete(planKey(old)))
	}
	t.working.addPlan(r)
	t.rolesDirty = true
	return nil
}

func (s plans) History(_ context.Context, req *connect.Request[polderv1.HistoryRequest]) (*connect.Response[polderv1.HistoryResponse], error) {
	history := s.board.look().history
	newestFirst := func(after string) iter.Seq2[string, planRecord] {
		before, err := strconv.ParseInt(after, 10, 64)
		return func(yield func(string, planRecord) bool) {
			for _, r := range slices.Backward(history) {
				if err == nil && r.Revision >= before {
					continue
				}
				if !yield(strconv.FormatInt(r.Revision, 10), r) {
					return
				}
			}
		}
	}
	out, next, err := pageOf(req.Msg, newestFirst, func(planRecord) bool { return true }, planRecord.proto)
	return connect.NewResponse(&polderv1.HistoryResponse{Revisions: out, NextPageToken: next}), err
}

func (s plans) Show(ctx context.Context, req *connect.Request[polderv1.ShowRequest]) (*connect.Response[polderv1.ShowResponse], error) {
	at, err := timeCore(req.Msg.At, "at")
	if err != nil {
		return nil, err
	}
	if at.IsZero() {
		at = s.cfg.Now()
	}
	plan, v := s.board.look().plan.Plan, s.viewer(callerOf(ctx))
	out := &polderv1.ShowResponse{At: timeProto(at), Windows: role.OpenWindows(plan, at)}
	if next, ok := role.NextChange(plan, at); ok {
		out.NextChange = timeProto(next)
	}
	for _, r := range effectiveRoles(plan, at) {
		if v.mayView(r.Path) {
			out.Roles = append(out.Roles, r.proto())
		}
	}
	return connect.NewResponse(out), nil
}

// effectiveRole is a role at an instant with its amounts by name.
type effectiveRole struct {
	role.Role
	guarantee, unit, limit, lend, borrow, warm resource.Resources
	bound                                      time.Duration
}

// effectiveRoles lists the roles of a plan at an instant, parents first, without the root and the leaves for work on inner
// roles.
func effectiveRoles(plan *role.Plan, at time.Time) []effectiveRole {
	kinds := resource.NewKinds()
	if err := plan.Intern(kinds); err != nil {
		return nil // a valid plan names no kind that cannot be
	}
	tree := role.Effective(plan, at, kinds)
	delay := role.SettingsAt(plan, at).ReclaimDelay
	var out []effectiveRole
	for id, r := range tree.Roles {
		if id == int(role.Root) || role.Display(r.Path) != r.Path {
			continue
		}
		e := effectiveRole{Role: r, bound: tree.ReclaimBound(role.ID(id), delay),
			guarantee: resource.Resources{}, unit: resource.Resources{}, limit: resource.Resources{}, lend: resource.Resources{}, borrow: resource.Resources{}, warm: resource.Resources{}}
		for pool, q := range r.Quotas {
			e.add(kinds, pool, q)
		}
		out = append(out, e)
	}
	return out
}

// add takes over what the role has in a pool, without what goes without saying: no guarantee, no limit.
func (e *effectiveRole) add(kinds *resource.Kinds, pool string, q role.Quota) {
	for k := range kinds.Len() {
		name := resource.JoinName(pool, kinds.Name(resource.Kind(k)))
		if q.Guarantee[k] > 0 {
			e.guarantee[name], e.lend[name] = q.Guarantee[k], q.Lend[k]
		}
		if q.Limit[k] != resource.Unlimited {
			e.limit[name] = q.Limit[k]
		}
		if q.Borrow[k] != resource.Unlimited {
			e.borrow[name] = q.Borrow[k]
		}
		if q.Warm[k] > 0 {
			e.warm[name] = q.Warm[k]
		}
		if q.Unit.At(k) > 0 {
			e.unit[name] = q.Unit[k]
		}
	}
}

func (e effectiveRole) proto() *polderv1.EffectiveRole {
	return &polderv1.EffectiveRole{
		Path: e.Path, Guarantee: amountsProto(e.guarantee), Limit: amountsProto(e.limit), Lend: amountsProto(e.lend),
		Borrow: amountsProto(e.borrow), Weight: float64(e.Weight) / 1000, Priority: int32(e.Priority),
		ReclaimGrace: durationpb.New(e.ReclaimGrace), LendGrace: durationpb.New(e.LendGrace),
		MinRuntime: durationpb.New(e.MinRuntime), Warm: amountsProto(e.warm), ReclaimBound: durationpb.New(e.bound), Unit: amountsProto(e.unit),
	}
}

// treeCache keeps the effective roles of the plan in force until the calendar or somebody changes them.
type treeCache struct {
	mu       sync.Mutex // guards everything below
	revision int64
	until    time.Time
	roles    []effectiveRole
}

func (c *treeCache) get(r planRecord, now time.Time) []effectiveRole {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.revision != r.Revision || !now.Before(c.until) {
		next, ok := role.NextChange(r.Plan, now)
		if !ok {
			next = now.Add(time.Hour)
		}
		c.revision, c.until, c.roles = r.Revision, next, effectiveRoles(r.Plan, now)
	}
	return c.roles
}
