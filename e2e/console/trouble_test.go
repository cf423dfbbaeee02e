package console

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
)

// moody is a server that keeps changes for nobody: whoever follows events is told that what they missed is gone. Once the token
// is over, it knows nobody.
type moody struct {
	api.UnimplementedEventServiceHandler
	api.UnimplementedAccessServiceHandler
	reads atomic.Int64
	over  atomic.Bool
}

func (m *moody) known() error {
	if m.over.Load() {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("the token has expired; log in again"))
	}
	return nil
}

func (m *moody) WhoAmI(context.Context, *connect.Request[polderv1.WhoAmIRequest]) (*connect.Response[polderv1.WhoAmIResponse], error) {
	return connect.NewResponse(&polderv1.WhoAmIResponse{Kind: "user", Name: "ann", Cluster: "moody"}), m.known()
}

func (m *moody) List(context.Context, *connect.Request[polderv1.EventServiceListRequest]) (*connect.Response[polderv1.EventServiceListResponse], error) {
	text := "read once"
	if m.reads.Add(1) > 1 {
		text = "read again"
	}
	return connect.NewResponse(&polderv1.EventServiceListResponse{Revision: m.reads.Load(), Events: []*polderv1.Event{{Revision: m.reads.Load(), Kind: "Test", Message: text}}}), m.known()
}

// Watch tells the first that it fell behind, and later ones one thing more.
func (m *moody) Watch(ctx context.Context, r *connect.Request[polderv1.EventServiceWatchRequest], s *connect.ServerStream[polderv1.Event]) error {
	if m.reads.Load() == 1 {
		return connect.NewError(connect.CodeOutOfRange, errors.New("changes after 1 are no longer kept; list again"))
	}
	if err := s.Send(&polderv1.Event{Revision: 100, Kind: "Test", Message: "read on"}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// TestFallenBehind: a page whose stream is told that it fell behind reads everything again by itself, and one whose token is over
// asks for another, with the way back.
func TestFallenBehind(t *testing.T) {
	m := &moody{}
	mux := http.NewServeMux()
	mux.Handle(api.NewEventServiceHandler(m))
	mux.Handle(api.NewAccessServiceHandler(m))
	p := before(t, mux)
	b := p.open(t, false)
	b.visit("/events?find=read")
	b.fill("#token", "anything")
	b.press("Log in")
	b.sees("main", "read again")
	b.sees("main", "read on")
	m.over.Store(true)
	b.visit("/events?find=read")
	b.sees("main", "Log in with your token")
	var at string
	b.eval(`location.search`, &at)
	if !strings.Contains(at, "events") {
		t.Errorf("after the login it would not go back: %s", at)
	}
}
