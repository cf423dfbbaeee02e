package server

import (
	"context"
	"slices"
	"strings"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
)

// roles serves RoleService.
type roles struct{ *leader }

func (s roles) List(ctx context.Context, req *connect.Request[polderv1.RoleServiceListRequest]) (*connect.Response[polderv1.RoleServiceListResponse], error) {
	p, v := s.board.look(), s.viewer(callerOf(ctx))
	all := slices.Clone(s.trees.get(p.plan, s.cfg.Now()))
	// Sorted by path, a parent comes before what is below it, and a page can start after any path.
	slices.SortFunc(all, func(a, b effectiveRole) int { return strings.Compare(a.Path, b.Path) })
	out, next, err := pageOf(req.Msg, sorted(all, func(r effectiveRole) string { return r.Path }),
		func(r effectiveRole) bool { return under(r.Path, req.Msg.Under) && v.mayView(r.Path) },
		func(r effectiveRole) *polderv1.RoleStatus { return roleStatus(p, r) })
	return connect.NewResponse(&polderv1.RoleServiceListResponse{Roles: out, NextPageToken: next, Revision: p.revision}), err
}

func (s roles) Get(_ context.Context, req *connect.Request[polderv1.RoleServiceGetRequest]) (*connect.Response[polderv1.RoleStatus], error) {
	p := s.board.look()
	if req.Msg.Path == "" {
		return connect.NewResponse(roleStatus(p, effectiveRole{})), nil
	}
	for _, r := range s.trees.get(p.plan, s.cfg.Now()) {
		if r.Path == req.Msg.Path {
			return connect.NewResponse(roleStatus(p, r)), nil
		}
	}
	return nil, refused("NotFound", "list the roles there are", "the plan has no role %q", clip(req.Msg.Path, 200))
}

func roleStatus(p *picture, r effectiveRole) *polderv1.RoleStatus {
	v, ok := p.roleView(r.Path)
	if !ok {
		v = cluster.RoleView{}
	}
	return &polderv1.RoleStatus{
		Effective: r.proto(), Usage: amountsProto(v.Usage), Funded: amountsProto(v.Funded), Borrowed: amountsProto(v.Borrowed),
		Lent: amountsProto(v.Lent), Entitlement: amountsProto(v.Entitlement), Demand: amountsProto(v.Demand),
		Leaving: amountsProto(v.Leaving), Running: int32(v.Running), Pending: int32(v.Pending), Packages: packagesProto(v.Packages),
	}
}
