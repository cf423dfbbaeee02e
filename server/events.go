package server

import (
	"context"
	"iter"
	"strconv"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// events serves EventService.
type events struct{ *leader }

func (s events) List(ctx context.Context, req *connect.Request[polderv1.EventServiceListRequest]) (*connect.Response[polderv1.EventServiceListResponse], error) {
	m, p, v := req.Msg, s.board.look(), s.viewer(callerOf(ctx))
	wanted := func(e *polderv1.Event) bool {
		return (m.Subject == "" || e.Subject == m.Subject) && under(e.Role, m.Role) && v.mayView(e.Role)
	}
	if m.Newest < 0 {
		return nil, invalid("newest", "%d is less than nothing", m.Newest)
	}
	start := before(p, int(m.Newest), wanted)
	rows := func(after string) iter.Seq2[string, *polderv1.Event] {
		from, _ := strconv.ParseInt(after, 10, 64) // a token of ours, or none
		return func(yield func(string, *polderv1.Event) bool) {
			for revision, e := range p.events.After(max(from, start)) {
				if !yield(strconv.FormatInt(revision, 10), e) {
					return
				}
			}
		}
	}
	out, next, err := pageOf(m, rows, wanted, func(e *polderv1.Event) *polderv1.Event { return e })
	return connect.NewResponse(&polderv1.EventServiceListResponse{Events: out, NextPageToken: next, Revision: p.revision}), err
}

// before is the revision after which the newest n wanted events come; zero where n is.
func before(p *picture, n int, wanted func(*polderv1.Event) bool) int64 {
	if n == 0 {
		return 0
	}
	var last []int64
	for revision, e := range p.events.All() {
		if wanted(e) {
			last = append(last, revision)
		}
	}
	if len(last) <= n {
		return 0
	}
	return last[len(last)-n-1]
}

// Watch sends events as they happen, first those after a revision when one is given.
func (s events) Watch(ctx context.Context, req *connect.Request[polderv1.EventServiceWatchRequest], stream *connect.ServerStream[polderv1.Event]) error {
	return s.watch(ctx, req.Msg, func(list []*polderv1.Event) error {
		for _, e := range list {
			if err := stream.Send(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// watch sends them as many at once as there are.
func (s events) watch(ctx context.Context, m *polderv1.EventServiceWatchRequest, send func([]*polderv1.Event) error) error {
	_, w := s.board.viewAndWatch()
	if m.FromRevision > 0 {
		var err error
		if w, err = s.board.watchFrom(m.FromRevision); err != nil {
			return err
		}
	}
	return s.follow(ctx, w, func(changes []change, v *viewer) error {
		var list []*polderv1.Event
		for _, c := range changes {
			if e, ok := c.value.(*polderv1.Event); ok && under(e.Role, m.Role) && v.mayView(e.Role) {
				list = append(list, e)
			}
		}
		if len(list) == 0 {
			return nil
		}
		return send(list)
	})
}
