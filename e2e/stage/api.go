package stage

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"sigs.k8s.io/yaml"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/auth"
)

// API is the administrator's way to the server. It goes on working over restarts of the server.
type API struct {
	Access  polderv1connect.AccessServiceClient
	Nodes   polderv1connect.NodeServiceClient
	Plans   polderv1connect.PlanServiceClient
	Asks    polderv1connect.AskServiceClient
	Tasks   polderv1connect.TaskServiceClient
	Volumes polderv1connect.VolumeServiceClient
	// Reservations are what tasks and volumes are carved out of.
	Reservations polderv1connect.ReservationServiceClient
}

// again is the pause between tries, timeout the longest one may take.
const (
	again   = 100 * time.Millisecond
	timeout = 10 * time.Second
)

// dial reads the address, the CA and the token that a server left in its directory.
func dial(dir string) (*API, error) {
	data, err := os.ReadFile(filepath.Join(dir, "context.yaml"))
	if err != nil {
		return nil, err
	}
	var c struct{ Server, CA, TokenFile string }
	if err := yaml.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	token, err := os.ReadFile(filepath.Join(dir, c.TokenFile))
	if err != nil {
		return nil, err
	}
	config, err := auth.ClientTLS([]byte(c.CA))
	if err != nil {
		return nil, err
	}
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
	url, opt := "https://"+c.Server, connect.WithInterceptors(bearer(strings.TrimSpace(string(token))))
	return &API{
		Access: polderv1connect.NewAccessServiceClient(h, url, opt), Nodes: polderv1connect.NewNodeServiceClient(h, url, opt),
		Plans: polderv1connect.NewPlanServiceClient(h, url, opt), Asks: polderv1connect.NewAskServiceClient(h, url, opt),
		Tasks: polderv1connect.NewTaskServiceClient(h, url, opt), Volumes: polderv1connect.NewVolumeServiceClient(h, url, opt),
		Reservations: polderv1connect.NewReservationServiceClient(h, url, opt),
	}, nil
}

// bearer puts a token on every call.
type bearer string

// WrapUnary implements [connect.Interceptor].
func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		r.Header().Set("Authorization", "Bearer "+string(b))
		return next(ctx, r)
	}
}

// WrapStreamingClient implements [connect.Interceptor].
func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, s connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, s)
		conn.RequestHeader().Set("Authorization", "Bearer "+string(b))
		return conn
	}
}

// WrapStreamingHandler implements [connect.Interceptor]; there is nothing to wrap.
func (b bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// Retry calls f until it succeeds or ctx is done: the server may be away. What the server refuses for a reason is not tried
// again.
func Retry(ctx context.Context, f func(context.Context) error) error {
	for {
		try, cancel := context.WithTimeout(ctx, timeout)
		err := f(try)
		cancel()
		switch connect.CodeOf(err) {
		case connect.CodeInvalidArgument, connect.CodeNotFound, connect.CodePermissionDenied, connect.CodeFailedPrecondition, connect.CodeUnimplemented:
			if err != nil {
				return err
			}
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; the last try: %w", context.Cause(ctx), err)
		case <-time.After(again):
		}
	}
}

// Submit asks for n tasks and returns the ask's id. key makes tries of one request one request.
func (a *API) Submit(ctx context.Context, key string, spec *polderv1.AskSpec) (id string, err error) {
	err = Retry(ctx, func(ctx context.Context) error {
		res, err := a.Asks.Submit(ctx, connect.NewRequest(&polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{spec}, IdempotencyKey: key}))
		if err != nil {
			return err
		}
		if r := res.Msg.Results[0].Refused; r != nil {
			return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("ask refused: %s", r.Message))
		}
		id = res.Msg.Results[0].Ask.Id
		return nil
	})
	return id, err
}

// Cancel withdraws asks and stops what runs of them.
func (a *API) Cancel(ctx context.Context, ids ...string) error {
	return Retry(ctx, func(ctx context.Context) error {
		_, err := a.Asks.Cancel(ctx, connect.NewRequest(&polderv1.CancelRequest{Ids: ids}))
		if connect.CodeOf(err) == connect.CodeNotFound {
			return nil // it is over
		}
		return err
	})
}

// OpenAsks lists the asks of which something runs or waits.
func (a *API) OpenAsks(ctx context.Context) (out []*polderv1.Ask, err error) {
	req := &polderv1.AskServiceListRequest{State: "open"}
	for {
		var res *connect.Response[polderv1.AskServiceListResponse]
		err = Retry(ctx, func(ctx context.Context) (err error) {
			res, err = a.Asks.List(ctx, connect.NewRequest(req))
			return err
		})
		if err != nil {
			return nil, err
		}
		out = append(out, res.Msg.Asks...)
		if req.PageToken = res.Msg.NextPageToken; req.PageToken == "" {
			return out, nil
		}
	}
}

// apply puts a plan in force.
func (a *API) apply(ctx context.Context, plan string) error {
	return Retry(ctx, func(ctx context.Context) error {
		now, err := a.Plans.Get(ctx, connect.NewRequest(&polderv1.PlanServiceGetRequest{}))
		if err != nil {
			return err
		}
		_, err = a.Plans.Apply(ctx, connect.NewRequest(&polderv1.ApplyRequest{Plan: plan, BaseRevision: now.Msg.Revision.GetRevision()}))
		return err
	})
}

// joinToken makes a token for one node.
func (a *API) joinToken(ctx context.Context, node string) (secret string, err error) {
	err = Retry(ctx, func(ctx context.Context) error {
		res, err := a.Access.CreateToken(ctx, connect.NewRequest(&polderv1.CreateTokenRequest{Kind: "join", Name: node, ValidFor: durationpb.New(time.Hour)}))
		if err == nil {
			secret = res.Msg.Secret
		}
		return err
	})
	return secret, err
}

// ReadyNodes counts the nodes that work.
func (a *API) ReadyNodes(ctx context.Context) (int, error) {
	res, err := a.Nodes.List(ctx, connect.NewRequest(&polderv1.NodeServiceListRequest{State: "ready"}))
	if err != nil {
		return 0, err
	}
	return len(res.Msg.Nodes), nil
}
