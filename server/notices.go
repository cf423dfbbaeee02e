package server

import (
	"context"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
)

// notices serves NoticeService.
type notices struct{ *leader }

func isOpen(n cluster.Notice) bool { return n.State == cluster.NoticeOpen }

func (s notices) List(ctx context.Context, req *connect.Request[polderv1.NoticeServiceListRequest]) (*connect.Response[polderv1.NoticeServiceListResponse], error) {
	m, p, v := req.Msg, s.board.look(), s.viewer(callerOf(ctx))
	out, next, err := pageOf(m, p.notices.After, func(n cluster.Notice) bool {
		return (m.All || isOpen(n)) && under(n.Role, m.Role) && v.mayView(n.Role)
	}, func(n cluster.Notice) *polderv1.Notice { return noticeProto(&n) })
	return connect.NewResponse(&polderv1.NoticeServiceListResponse{Notices: out, NextPageToken: next, Revision: p.revision}), err
}

// Watch sends the open notices, then every change after that.
func (s notices) Watch(ctx context.Context, req *connect.Request[polderv1.NoticeServiceWatchRequest], stream *connect.ServerStream[polderv1.NoticeServiceWatchResponse]) error {
	c := callerOf(ctx)
	show := func(revision int64, n cluster.Notice, v *viewer) error {
		if !under(n.Role, req.Msg.Role) || !v.mayView(n.Role) {
			return nil
		}
		return stream.Send(&polderv1.NoticeServiceWatchResponse{Revision: revision, Notice: noticeProto(&n)})
	}
	var w *watcher
	var err error
	if req.Msg.FromRevision > 0 {
		if w, err = s.board.watchFrom(req.Msg.FromRevision); err != nil {
			return err
		}
	} else {
		var p *picture
		p, w = s.board.viewAndWatch()
		v := s.viewer(c)
		for _, n := range p.notices.All() {
			if isOpen(n) {
				if err := show(p.revision, n, v); err != nil {
					return err
				}
			}
		}
	}
	return s.follow(ctx, w, func(changes []change, v *viewer) error {
		for _, at := range changes {
			if n, ok := at.value.(cluster.Notice); ok {
				if err := show(at.revision, n, v); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// follow gives each every batch of changes until it fails or ctx ends. What the caller may view is looked up anew for every batch.
func (l *leader) follow(ctx context.Context, w *watcher, each func([]change, *viewer) error) error {
	for {
		changes, err := w.wait(ctx)
		if err != nil {
			return err
		}
		if err := each(changes, l.viewer(callerOf(ctx))); err != nil {
			return err
		}
	}
}

// Answer takes what a task, or a scheduler for it, says to its notice.
func (s notices) Answer(ctx context.Context, req *connect.Request[polderv1.AnswerRequest]) (*connect.Response[polderv1.AnswerResponse], error) {
	m := req.Msg
	released, err := kindAmounts(m.Released, "released")
	if err != nil {
		return nil, err
	}
	if m.Done == (len(released) > 0) {
		return nil, invalid("", "say done, or what is released: exactly one of the two")
	}
	out := &polderv1.AnswerResponse{}
	err = s.change(ctx, func(t *turn) error {
		v, _ := t.cluster.Task(m.Task)
		if _, err := t.step(cluster.Answer{Task: m.Task, Done: m.Done, Released: released}); err != nil {
			return err
		}
		if now, ok := t.cluster.Task(m.Task); ok && now.Notice != nil {
			v = now
		}
		out.Notice = noticeProto(v.Notice)
		return nil
	})
	return connect.NewResponse(out), err
}
