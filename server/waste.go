package server

import (
	"context"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/waste"
)

// Waste says who used what, and why nobody used the rest.
func (s roles) Waste(ctx context.Context, req *connect.Request[polderv1.WasteRequest]) (*connect.Response[polderv1.WasteResponse], error) {
	last := req.Msg.Last.AsDuration()
	if last < 0 || (req.Msg.Last != nil && !req.Msg.Last.IsValid()) {
		return nil, refused("InvalidArgument", "give a duration such as 1h, or none for all there is", "last: %s is no time to look back", last)
	}
	if _, err := s.Get(ctx, connect.NewRequest(&polderv1.RoleServiceGetRequest{Path: req.Msg.Role})); err != nil {
		return nil, err
	}
	var report waste.Report
	err := s.consult(ctx, func(t *turn) error {
		var since time.Time
		if last > 0 {
			since = t.now.Add(-last)
		}
		report = t.cluster.Waste(since, t.now)
		return nil
	})
	return connect.NewResponse(wasteProto(report, req.Msg.Role)), err
}

// wasteProto is the part of a report about a role and what is below it.
func wasteProto(r waste.Report, top string) *polderv1.WasteResponse {
	out := &polderv1.WasteResponse{From: timeProto(r.From), To: timeProto(r.To)}
	for i := range r.Rows {
		row := &r.Rows[i]
		if !under(row.Role, top) {
			continue
		}
		if row.Role == top {
			out.Summary = append(out.Summary, row.Sentence(r.To.Sub(r.From)))
		}
		out.Rows = append(out.Rows, rowProto(row))
	}
	return out
}

func rowProto(r *waste.Row) *polderv1.WasteRow {
	_, kind := resource.SplitName(r.Resource)
	scale := resource.Scale(kind)
	out := &polderv1.WasteRow{
		Role: r.Role, Resource: r.Resource, Guarantee: r.Guarantee.Text(scale), Borrowed: r.Borrowed.Text(scale), Used: r.Used.Text(scale),
		Lent: r.Lent.Text(scale), Idle: map[string]string{},
	}
	for reason, q := range r.Idle {
		if !q.IsZero() {
			out.Idle[waste.Reason(reason).String()] = q.Text(scale)
		}
	}
	return out
}
