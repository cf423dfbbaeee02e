package pool

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"connectrpc.com/connect"
	"sigs.k8s.io/yaml"

	api "polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/auth"
)

// Address says which server, how to know it, and who is calling.
type Address struct {
	// Server is host:port.
	Server string `json:"server"`
	// CA is the cluster's root certificate: PEM text, or a file.
	CA string `json:"ca,omitempty"`
	// TokenFile holds the token.
	TokenFile string `json:"tokenFile,omitempty"`
	// Docker is the Docker door's address; it is not used here.
	Docker string `json:"docker,omitempty"`
}

// ReadAddress reads a context file, as "polder up" writes one. Relative paths in it are relative to the file.
func ReadAddress(path string) (Address, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Address{}, fmt.Errorf("context file: %w; start \"polder up\", or name another with --context", err)
	}
	var a Address
	if err := yaml.UnmarshalStrict(data, &a); err != nil {
		return a, fmt.Errorf("context file %s: %w", path, err)
	}
	if a.Server == "" {
		return a, fmt.Errorf("context file %s: no server; add the line \"server: host:port\"", path)
	}
	a.TokenFile = under(filepath.Dir(path), a.TokenFile)
	if !strings.Contains(a.CA, "-----BEGIN") {
		a.CA = under(filepath.Dir(path), a.CA)
	}
	return a, nil
}

func under(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// Client is the native API.
type Client struct {
	http       connect.HTTPClient
	url, token string

	Plans   api.PlanServiceClient
	Roles   api.RoleServiceClient
	Nodes   api.NodeServiceClient
	Asks    api.AskServiceClient
	Claims  api.ClaimServiceClient
	Tasks   api.TaskServiceClient
	Leases  api.LeaseServiceClient
	Notices api.NoticeServiceClient
	Access  api.AccessServiceClient
	Doors   api.DoorServiceClient
	Volumes api.VolumeServiceClient
}

// Dial makes a client. Nothing is sent yet.
func Dial(a Address) (*Client, error) {
	ca := []byte(a.CA)
	if !strings.Contains(a.CA, "-----BEGIN") {
		var err error
		if ca, err = os.ReadFile(a.CA); err != nil {
			return nil, fmt.Errorf("the cluster's CA: %w", err)
		}
	}
	config, err := auth.ClientTLS(ca)
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(a.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
	return NewClient(h, "https://"+a.Server, strings.TrimSpace(string(token))), nil
}

// NewClient is a client with a token at a URL.
func NewClient(h connect.HTTPClient, url, token string) *Client {
	o := connect.WithInterceptors(bearer(token))
	return &Client{
		http: h, url: url, token: token,
		Plans: api.NewPlanServiceClient(h, url, o), Roles: api.NewRoleServiceClient(h, url, o), Nodes: api.NewNodeServiceClient(h, url, o),
		Asks: api.NewAskServiceClient(h, url, o), Claims: api.NewClaimServiceClient(h, url, o), Tasks: api.NewTaskServiceClient(h, url, o),
		Leases: api.NewLeaseServiceClient(h, url, o), Notices: api.NewNoticeServiceClient(h, url, o), Access: api.NewAccessServiceClient(h, url, o),
		Doors: api.NewDoorServiceClient(h, url, o), Volumes: api.NewVolumeServiceClient(h, url, o),
	}
}

// As is the same way to the API for somebody else: who has the token.
func (c *Client) As(token string) *Client { return NewClient(c.http, c.url, token) }

// Token is what the client calls with.
func (c *Client) Token() string { return c.token }

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
