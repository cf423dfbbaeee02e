package door

import (
	"context"
	"net/http"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
)

// committer is a server that takes claims as they are.
type committer interface {
	Commit(r *http.Request, m *polderv1.CommitRequest) (*polderv1.CommitResponse, error)
}

// bare is a request without a body: it says who calls what.
func (t *transport) bare(ctx context.Context, procedure string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, procedure, nil)
	if err != nil {
		return nil, err
	}
	return t.incoming(ctx, r), nil
}

// claims hands what is committed over without writing it down and reading it again. Each task has a spec, and doors commit many.
type claims struct {
	api.ClaimServiceClient
	way *transport
	to  committer
}

// Commit implements [api.ClaimServiceClient]. The message is the server's from then on: whoever made it leaves it alone.
func (c claims) Commit(ctx context.Context, req *connect.Request[polderv1.CommitRequest]) (*connect.Response[polderv1.CommitResponse], error) {
	r, err := c.way.bare(ctx, api.ClaimServiceCommitProcedure)
	if err != nil {
		return nil, err
	}
	res, err := c.to.Commit(r, req.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}
