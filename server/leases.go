package server

import (
	"context"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
)

// leases serves LeaseService.
type leases struct{ *leader }

func (s leases) List(ctx context.Context, req *connect.Request[polderv1.LeaseServiceListRequest]) (*connect.Response[polderv1.LeaseServiceListResponse], error) {
	m, p, v := req.Msg, s.board.look(), s.viewer(callerOf(ctx))
	out, next, err := pageOf(m, p.tasks.After, func(t cluster.TaskView) bool {
		return !t.State.Terminal() && (!m.Borrowed || t.Funding == cluster.Borrowed) && (m.Node == "" || t.Node == m.Node) &&
			under(t.Role, m.Role) && v.mayView(t.Role)
	}, leaseProto)
	return connect.NewResponse(&polderv1.LeaseServiceListResponse{Leases: out, NextPageToken: next, Revision: p.revision}), err
}
