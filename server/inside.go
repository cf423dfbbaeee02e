package server

import (
	"context"
	"net/http"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
)

// Inside is the API as doors in the server's process have it.
type Inside struct{ s *Server }

// ServeHTTP implements [http.Handler].
func (i Inside) ServeHTTP(w http.ResponseWriter, r *http.Request) { i.s.serve(w, r) }

// Commit is ClaimService.Commit for a message that is not written down and read again on the way: it is the server's from then on. The
// request says who calls, and is authenticated, permitted and audited like any other; its body is not looked at.
func (i Inside) Commit(r *http.Request, m *polderv1.CommitRequest) (*polderv1.CommitResponse, error) {
	l := i.s.leader.Load()
	if l == nil || i.s.current.Load() == nil {
		return nil, errAway
	}
	c := newCaller(r)
	if err := l.identify(c, routes[api.ClaimServiceCommitProcedure]); err != nil {
		return nil, apiError(err)
	}
	var res *connect.Response[polderv1.CommitResponse]
	err := guard{l}.unary(context.WithValue(r.Context(), callerKey{}, c), api.ClaimServiceCommitProcedure, m, func(ctx context.Context) (err error) {
		res, err = claims{l}.Commit(ctx, connect.NewRequest(m))
		return err
	})
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}
