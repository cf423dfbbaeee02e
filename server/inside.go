package server

import (
	"context"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/auth"
)

// Inside is the API as doors in the server's process have it. What doors commit, and what they watch, is handed over as it is, neither
// written down nor read again on the way. The request says who calls, and is authenticated, permitted and audited like any other; its
// body is not looked at.
type Inside struct{ s *Server }

// ServeHTTP implements [http.Handler].
func (i Inside) ServeHTTP(w http.ResponseWriter, r *http.Request) { i.s.serve(w, r) }

// Commit is ClaimService.Commit. The message is the server's from then on.
func (i Inside) Commit(r *http.Request, m *polderv1.CommitRequest) (*polderv1.CommitResponse, error) {
	l, ctx, err := i.admit(r, api.ClaimServiceCommitProcedure)
	if err != nil {
		return nil, err
	}
	var res *connect.Response[polderv1.CommitResponse]
	err = guard{l}.unary(ctx, api.ClaimServiceCommitProcedure, m, func(ctx context.Context) (err error) {
		res, err = claims{l}.Commit(ctx, connect.NewRequest(m))
		return err
	})
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

// WatchNodes is ClaimService.Watch. Send is called in the caller's goroutine; what it is given is its own.
func (i Inside) WatchNodes(r *http.Request, m *polderv1.ClaimServiceWatchRequest, send func(*polderv1.ClaimServiceWatchResponse) error) error {
	return i.watch(r, api.ClaimServiceWatchProcedure, m, func(ctx context.Context, l *leader) error { return claims{l}.watch(ctx, m, send) })
}

// WatchEvents is EventService.Watch. Send is called in the caller's goroutine; what it is given others have, too.
func (i Inside) WatchEvents(r *http.Request, m *polderv1.EventServiceWatchRequest, send func([]*polderv1.Event) error) error {
	return i.watch(r, api.EventServiceWatchProcedure, m, func(ctx context.Context, l *leader) error { return events{l}.watch(ctx, m, send) })
}

// watch lets a stream of messages of the server be followed if its caller may.
func (i Inside) watch(r *http.Request, procedure string, m proto.Message, follow func(context.Context, *leader) error) error {
	l, ctx, err := i.admit(r, procedure)
	if err != nil {
		return err
	}
	return guard{l}.stream(ctx, procedure, func(ctx context.Context) (*auth.Entry, error) {
		entry, err := guard{l}.authorise(ctx, callerOf(ctx), procedure, m)
		if err == nil {
			err = follow(ctx, l)
		}
		return entry, err
	})
}

// admit finds the leader, and out who calls.
func (i Inside) admit(r *http.Request, procedure string) (*leader, context.Context, error) {
	l := i.s.leader.Load()
	if l == nil || i.s.current.Load() == nil {
		return nil, nil, errAway
	}
	c := newCaller(r)
	c.control = http.NewResponseController(nil) // there is nothing to be late with
	if err := l.identify(c, routes[procedure]); err != nil {
		return nil, nil, apiError(err)
	}
	return l, context.WithValue(r.Context(), callerKey{}, c), nil
}
