package server

import (
	"context"
	"errors"
	"strings"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
)

// auditRoles is how long the roles of an entry may be; what is longer was cut, and concerns more roles than it says.
const auditRoles = 1000

// auditDisorder is how far lines of the trail may be from the order of their times: calls overlap, and clocks are set.
const auditDisorder = time.Hour

// audits serves AuditService.
type audits struct{ *leader }

func (s audits) List(ctx context.Context, req *connect.Request[polderv1.AuditServiceListRequest]) (*connect.Response[polderv1.AuditServiceListResponse], error) {
	m := req.Msg
	trail, ok := s.cfg.Audit.(auth.TrailReader)
	if !ok {
		return nil, connect.NewError(connect.CodeUnimplemented, errors.New("the audit trail of this server is kept where it cannot be read from here"))
	}
	size, err := pageSize(m.PageSize)
	if err != nil {
		return nil, err
	}
	from, err := pageAfter(m.PageToken)
	if err != nil {
		return nil, err
	}
	switch auth.Outcome(m.Outcome) {
	case "", auth.Allowed, auth.Denied, auth.Failed:
	default:
		return nil, invalid("outcome", "%q is none of allowed, denied, failed", clip(m.Outcome, 40))
	}
	old := false // what is before it in the trail is older
	entries, next, err := trail.Read(ctx, from, size, func(e auth.Entry) bool {
		old = old || m.Since != nil && e.Time.Before(m.Since.AsTime().Add(-auditDisorder))
		return !old && audited(m, e)
	})
	if errors.Is(err, auth.ErrPlace) {
		return nil, invalid("page_token", "this is not a token of an earlier answer")
	}
	if err != nil {
		return nil, err
	}
	out := &polderv1.AuditServiceListResponse{}
	if next != "" && !old {
		out.NextPageToken = pageToken(next)
	}
	for _, e := range entries {
		out.Entries = append(out.Entries, &polderv1.AuditEntry{
			Time: timeProto(e.Time), Who: e.Who, Verb: string(e.Verb), Object: e.Object, Role: e.Role,
			Outcome: string(e.Outcome), Reason: e.Reason, Request: e.Request, Remote: e.Remote,
		})
	}
	return connect.NewResponse(out), nil
}

// audited reports whether a request asks for an entry. One that concerns several roles is shown below a role only when all of
// them are there.
func audited(m *polderv1.AuditServiceListRequest, e auth.Entry) bool {
	if m.Role != "" {
		if len(e.Role) >= auditRoles-4 { // a cut may take a whole letter
			return false
		}
		for _, path := range strings.Split(e.Role, ",") {
			if !under(path, m.Role) {
				return false
			}
		}
	}
	if m.Since != nil && e.Time.Before(m.Since.AsTime()) {
		return false
	}
	return (m.Who == "" || e.Who == m.Who) && (m.Outcome == "" || string(e.Outcome) == m.Outcome) &&
		(m.Find == "" || strings.Contains(strings.ToLower(strings.Join([]string{e.Who, e.Object, e.Role, e.Reason}, "\n")), strings.ToLower(m.Find)))
}
