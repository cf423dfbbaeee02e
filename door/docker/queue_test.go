package docker

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/door"
)

// hoping is a pool whose one ask waits. What it says of itself is what was expected when somebody decided about it last.
type hoping struct {
	api.UnimplementedAskServiceHandler
	stale, expected time.Time // expected is what the pool expects now, the zero time nothing
	cancelled       bool
}

func (h *hoping) Get(context.Context, *connect.Request[polderv1.AskServiceGetRequest]) (*connect.Response[polderv1.Ask], error) {
	return connect.NewResponse(&polderv1.Ask{Pending: 1, Reason: &polderv1.Reason{Message: "borrowers are asked back", Expected: timestamppb.New(h.stale)}}), nil
}

func (h *hoping) Explain(context.Context, *connect.Request[polderv1.ExplainRequest]) (*connect.Response[polderv1.ExplainResponse], error) {
	r := &polderv1.Reason{Message: "no node has room"}
	if !h.expected.IsZero() {
		r.Expected = timestamppb.New(h.expected)
	}
	return connect.NewResponse(&polderv1.ExplainResponse{Reason: r}), nil
}

func (h *hoping) Cancel(context.Context, *connect.Request[polderv1.CancelRequest]) (*connect.Response[polderv1.CancelResponse], error) {
	h.cancelled = true
	return connect.NewResponse(&polderv1.CancelResponse{}), nil
}

// TestPatient: a start waits for room a little, and as long as the pool expects any; not because it did so once.
func TestPatient(t *testing.T) {
	for expects, want := range map[time.Duration]time.Duration{0: patience, time.Minute: time.Minute + patience} {
		synctest.Test(t, func(t *testing.T) {
			h := &hoping{stale: time.Now().Add(time.Hour)}
			if expects > 0 {
				h.expected = time.Now().Add(expects)
			}
			mux := http.NewServeMux()
			mux.Handle(api.NewAskServiceHandler(h))
			d, began := New(door.Open(mux, "docker"), Options{Version: "test"}), time.Now()
			err := d.patient(t.Context(), place{id: "c"}, "ask", nil)
			if took := time.Since(began); took < want || took > want+time.Second || err == nil || !strings.Contains(err.Error(), "no node has room") || !h.cancelled {
				t.Errorf("expecting room in %v, it waits %v and ends with %v, withdrawn: %v", expects, took, err, h.cancelled)
			}
		})
	}
}
