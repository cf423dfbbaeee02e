package start

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"connectrpc.com/connect"

	"polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/auth"
	"polder.dev/polder/cmd/polder/cli"
)

// apiClient is the administrator's way to the server this process started.
type apiClient struct {
	access  polderv1connect.AccessServiceClient
	nodes   polderv1connect.NodeServiceClient
	plans   polderv1connect.PlanServiceClient
	roles   polderv1connect.RoleServiceClient
	asks    polderv1connect.AskServiceClient
	tasks   polderv1connect.TaskServiceClient
	notices polderv1connect.NoticeServiceClient
	events  polderv1connect.EventServiceClient
}

// dialAdmin reads the CA and the token a server left in its directory.
func dialAdmin(dir, addr string) (*apiClient, error) {
	c, err := cli.ReadContext(filepath.Join(dir, contextFile))
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("administrator's token: %w; it was written on the first start, and a new one needs a new directory", err)
	}
	config, err := auth.ClientTLS([]byte(c.CA))
	if err != nil {
		return nil, err
	}
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
	url, opt := "https://"+addr, connect.WithInterceptors(bearer(strings.TrimSpace(string(token))))
	return &apiClient{
		access: polderv1connect.NewAccessServiceClient(h, url, opt), nodes: polderv1connect.NewNodeServiceClient(h, url, opt),
		plans: polderv1connect.NewPlanServiceClient(h, url, opt), roles: polderv1connect.NewRoleServiceClient(h, url, opt),
		asks: polderv1connect.NewAskServiceClient(h, url, opt), tasks: polderv1connect.NewTaskServiceClient(h, url, opt),
		notices: polderv1connect.NewNoticeServiceClient(h, url, opt), events: polderv1connect.NewEventServiceClient(h, url, opt),
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
