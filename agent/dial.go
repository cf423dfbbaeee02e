package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/auth"
)

// ErrRefused is a server that will not let this agent join, however often it asks.
var ErrRefused = errors.New("the server refused this agent")

const (
	// maxMessage bounds what the server may send in one message.
	maxMessage  = 16 << 20
	callLimit   = 30 * time.Second
	pingAfter   = 15 * time.Second // of silence on a connection
	pingTimeout = 10 * time.Second
)

// dialer is the usual [Link]: it keeps the node's credentials, joins with them and renews them.
type dialer struct {
	c           Config
	credentials *auth.Credentials

	servers []string

	mu     sync.Mutex // guards all below
	at     int        // of servers, the one in use
	http   *http.Client
	client polderv1connect.AgentServiceClient // nil until the next Join
}

func newDialer(c Config) (*dialer, error) {
	id := auth.Identity{Kind: auth.Agent, Name: c.Node}
	credentials, err := auth.OpenCredentials(filepath.Join(c.Dir, "credentials"), id)
	if err != nil {
		return nil, err
	}
	return &dialer{c: c, credentials: credentials, servers: servers(c.Server)}, nil
}

// turn goes on to the next server, whose turn it is when the one in use does not lead or does not answer. It reports whether
// every server has had its turn.
func (d *dialer) turn() (round bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = (d.at + 1) % len(d.servers)
	if len(d.servers) > 1 {
		d.client = nil
	}
	return d.at == 0
}

func (d *dialer) server() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.servers[d.at]
}

// rpcNow is the client of the server in use.
func (d *dialer) rpcNow() (polderv1connect.AgentServiceClient, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client == nil {
		return nil, errors.New("no server is connected now")
	}
	return d.client, nil
}

// Join gets a certificate with the token if there is none, and a newer one when it is time.
func (d *dialer) Join(ctx context.Context) error {
	if !d.credentials.Joined() {
		if err := d.join(ctx); err != nil {
			return err
		}
		d.c.Logger.Info("joined the cluster", "server", d.server())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client != nil {
		return nil
	}
	if d.http == nil {
		config, err := d.credentials.TLS()
		if err != nil {
			return err
		}
		d.http = newHTTP(config)
	}
	d.client = rpc(d.http, d.servers[d.at])
	return nil
}

// close hangs up. Streams that are open end with their own contexts.
func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.http != nil {
		d.http.CloseIdleConnections()
	}
}

func (d *dialer) join(ctx context.Context) error {
	if d.c.Token == "" {
		return fmt.Errorf("%w: node %s has not joined and has no join token; create one with \"polder token create NAME --join\"", ErrRefused, d.c.Node)
	}
	token, err := auth.ParseJoinToken(d.c.Token)
	if err != nil {
		return fmt.Errorf("%w: join token: %w", ErrRefused, err)
	}
	csr, err := d.credentials.Request()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	once := newHTTP(auth.JoinTLS(token))
	defer once.CloseIdleConnections()
	server := d.server()
	answer, err := rpc(once, server).Join(ctx, connect.NewRequest(&polderv1.JoinRequest{
		Token: d.c.Token, Node: d.c.Node, Csr: csr,
	}))
	if err != nil {
		return joinError(server, err)
	}
	return d.credentials.Accept(answer.Msg.Certificate, token.Digest)
}

// joinError tells a refusal from a server that does not answer now.
func joinError(server string, err error) error {
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeInvalidArgument, connect.CodeAlreadyExists:
		return fmt.Errorf("%w: joining %s: %w", ErrRefused, server, err)
	}
	if errors.Is(err, auth.ErrForeignCertificate) {
		return fmt.Errorf("%w: joining %s: %w", ErrRefused, server, err)
	}
	return fmt.Errorf("joining %s: %w", server, err)
}

// Session opens the session's stream.
func (d *dialer) Session(ctx context.Context) (Stream[polderv1.AgentMessage, polderv1.ServerMessage], error) {
	client, err := d.rpcNow()
	if err != nil {
		return nil, err
	}
	return client.Session(ctx), nil
}

// Relay opens a relay's stream.
func (d *dialer) Relay(ctx context.Context) (Stream[polderv1.RelayUp, polderv1.RelayDown], error) {
	client, err := d.rpcNow()
	if err != nil {
		return nil, err
	}
	return client.Relay(ctx), nil
}

// renew replaces the certificate at two thirds of its life, until ctx is done. A refusal is tried again: the certificate
// there is still good for a while.
func (d *dialer) renew(ctx context.Context) {
	for {
		due := d.credentials.RenewAt()
		wait := due.Sub(d.c.Clock.Now())
		if d.credentials.Joined() && wait <= 0 {
			if err := d.renewOnce(ctx); err != nil {
				d.c.Logger.Warn("the certificate could not be renewed yet", "ends", due, "error", err)
			} else {
				d.c.Logger.Info("renewed the certificate")
			}
		}
		// Not longer than an hour, because the wall clock may be set meanwhile.
		if pause(ctx, min(max(wait, d.c.Jitter(time.Minute)), time.Hour)) != nil {
			return
		}
	}
}

func (d *dialer) renewOnce(ctx context.Context) error {
	csr, err := d.credentials.Request()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	client, err := d.rpcNow()
	if err != nil {
		return err
	}
	answer, err := client.Renew(ctx, connect.NewRequest(&polderv1.RenewRequest{Csr: csr}))
	if err != nil {
		return err
	}
	return d.credentials.Accept(answer.Msg.Certificate, "")
}

// newHTTP makes a client whose connections notice when the other end is gone without a word.
func newHTTP(config *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:     config,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}}
}

// rpc asks the server not to pack what it sends: most of it is small, and packing costs more than sending.
func rpc(client *http.Client, server string) polderv1connect.AgentServiceClient {
	return polderv1connect.NewAgentServiceClient(client, server, connect.WithReadMaxBytes(maxMessage), connect.WithAcceptCompression("gzip", nil, nil))
}
