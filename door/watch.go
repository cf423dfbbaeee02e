package door

import (
	"context"
	"errors"
	"io"
	"net/http"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
)

// watched is a server that hands over what it tells watchers as it is.
type watched interface {
	WatchNodes(r *http.Request, m *polderv1.ClaimServiceWatchRequest, send func(*polderv1.ClaimServiceWatchResponse) error) error
	WatchEvents(r *http.Request, m *polderv1.EventServiceWatchRequest, send func([]*polderv1.Event) error) error
}

// WatchNodes calls f, in the caller's goroutine, with what ClaimService.Watch says, until f fails, ctx ends or the server ends it. It never
// returns nil. A server in this process hands its messages over as they are.
func (a *API) WatchNodes(ctx context.Context, m *polderv1.ClaimServiceWatchRequest, f func(*polderv1.ClaimServiceWatchResponse) error) error {
	if a.watched == nil {
		return each(ctx, m, a.Claims.Watch, f)
	}
	r, err := a.way.bare(ctx, api.ClaimServiceWatchProcedure)
	if err == nil {
		err = a.watched.WatchNodes(r, m, f)
	}
	return err
}

// WatchEvents calls f, in the caller's goroutine, with what EventService.Watch says, as many events at once as there are, until f fails, ctx
// ends or the server ends it. It never returns nil. The events are others', too: f leaves them as they are.
func (a *API) WatchEvents(ctx context.Context, m *polderv1.EventServiceWatchRequest, f func([]*polderv1.Event) error) error {
	if a.watched == nil {
		return each(ctx, m, a.Events.Watch, func(e *polderv1.Event) error { return f([]*polderv1.Event{e}) })
	}
	r, err := a.way.bare(ctx, api.EventServiceWatchProcedure)
	if err == nil {
		err = a.watched.WatchEvents(r, m, f)
	}
	return err
}

// each calls f with every message of a stream.
func each[Req, Res any](ctx context.Context, m *Req, watch func(context.Context, *connect.Request[Req]) (*connect.ServerStreamForClient[Res], error), f func(*Res) error) error {
	stream, err := watch(ctx, connect.NewRequest(m))
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		if err := f(stream.Msg()); err != nil {
			return err
		}
	}
	return errors.Join(stream.Err(), io.EOF)
}
