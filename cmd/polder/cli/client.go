package cli

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"polder.dev/polder/api/polder/v1/polderv1connect"
)

// client holds one connection's services.
type client struct {
	plan   polderv1connect.PlanServiceClient
	role   polderv1connect.RoleServiceClient
	node   polderv1connect.NodeServiceClient
	ask    polderv1connect.AskServiceClient
	task   polderv1connect.TaskServiceClient
	lease  polderv1connect.LeaseServiceClient
	notice polderv1connect.NoticeServiceClient
	event  polderv1connect.EventServiceClient
	access polderv1connect.AccessServiceClient
	audits polderv1connect.AuditServiceClient
	door   polderv1connect.DoorServiceClient
	volume polderv1connect.VolumeServiceClient

	reservation polderv1connect.ReservationServiceClient
}

// dial prepares the clients; the first call connects.
func (a *app) dial() (*client, error) {
	t, err := a.resolve()
	if err != nil {
		return nil, err
	}
	h := t.http()
	opt := connect.WithInterceptors(credentials{t.token, a.conn.requestTimeout})
	return &client{
		plan:        polderv1connect.NewPlanServiceClient(h, t.url, opt),
		role:        polderv1connect.NewRoleServiceClient(h, t.url, opt),
		node:        polderv1connect.NewNodeServiceClient(h, t.url, opt),
		ask:         polderv1connect.NewAskServiceClient(h, t.url, opt),
		task:        polderv1connect.NewTaskServiceClient(h, t.url, opt),
		lease:       polderv1connect.NewLeaseServiceClient(h, t.url, opt),
		notice:      polderv1connect.NewNoticeServiceClient(h, t.url, opt),
		event:       polderv1connect.NewEventServiceClient(h, t.url, opt),
		volume:      polderv1connect.NewVolumeServiceClient(h, t.url, opt),
		reservation: polderv1connect.NewReservationServiceClient(h, t.url, opt),
		access:      polderv1connect.NewAccessServiceClient(h, t.url, opt),
		audits:      polderv1connect.NewAuditServiceClient(h, t.url, opt),
		door:        polderv1connect.NewDoorServiceClient(h, t.url, opt),
	}, nil
}

// http is a client that trusts the server's authority and nobody a redirect names. Of several servers it speaks to the one that leads.
func (t target) http() *http.Client {
	var transport http.RoundTripper = &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: t.roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true, // exec streams both ways, which HTTP/1.1 cannot
	}
	if len(t.hosts) > 1 {
		transport = &leading{next: transport, hosts: t.hosts}
	}
	return &http.Client{
		Transport: transport,
		// A redirect would carry the token to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// credentials puts the token on every call and a deadline on every call that is not a stream.
type credentials struct {
	token   string
	timeout time.Duration
}

func (c credentials) sign(h http.Header) {
	if c.token != "" {
		h.Set("Authorization", "Bearer "+c.token)
	}
}

func (c credentials) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if c.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, c.timeout)
			defer cancel()
		}
		c.sign(req.Header())
		return next(ctx, req)
	}
}

func (c credentials) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		c.sign(conn.RequestHeader())
		return conn
	}
}

func (c credentials) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// do calls a unary method with a plain message and returns the plain answer.
func do[Req, Res any](ctx context.Context, method func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error), msg *Req) (*Res, error) {
	res, err := method(ctx, connect.NewRequest(msg))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

// request wraps a plain message for a method that answers with a stream.
func request[T any](msg *T) *connect.Request[T] { return connect.NewRequest(msg) }
