package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/fake"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/auth"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/store"
)

// cluster is a real listener with a real authority. It lets agents in and hands their first messages to the test.
type cluster struct {
	polderv1connect.UnimplementedAgentServiceHandler
	ca      *auth.CA
	book    *auth.Book
	token   auth.Secret
	address string
	hellos  chan *polderv1.Hello
	renewed chan struct{}
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	ca, err := auth.OpenCA(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	memory := store.NewMemory()
	t.Cleanup(func() { memory.Close() })
	book, err := auth.Open(t.Context(), store.Records{Reader: memory, Writer: memory}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	_, token, err := book.CreateJoin(t.Context(), ca, auth.JoinSpec{TTL: time.Hour, By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{ca: ca, book: book, token: token, hellos: make(chan *polderv1.Hello, 10), renewed: make(chan struct{}, 1)}
	c.serve(t)
	return c
}

func (c *cluster) serve(t *testing.T) {
	t.Helper()
	config, err := c.ca.ServerTLS([]string{"127.0.0.1"}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.address = l.Addr().String()
	mux := http.NewServeMux()
	mux.Handle(polderv1connect.NewAgentServiceHandler(c))
	s := &http.Server{Handler: mux, TLSConfig: config}
	var done sync.WaitGroup
	done.Go(func() { _ = s.ServeTLS(l, "", "") })
	t.Cleanup(func() { s.Close(); done.Wait() })
}

func (c *cluster) Join(ctx context.Context, r *connect.Request[polderv1.JoinRequest]) (*connect.Response[polderv1.JoinResponse], error) {
	_, chain, err := c.book.Join(ctx, c.ca, auth.NewSecret(r.Msg.Token), r.Msg.Csr)
	if err != nil {
		return nil, connect.NewError(connect.CodeUnauthenticated, err)
	}
	return connect.NewResponse(&polderv1.JoinResponse{Certificate: chain, Root: c.ca.RootPEM()}), nil
}

func (c *cluster) Renew(ctx context.Context, r *connect.Request[polderv1.RenewRequest]) (*connect.Response[polderv1.RenewResponse], error) {
	chain, err := c.book.Renew(ctx, c.ca, auth.Identity{Kind: auth.Agent, Name: "n1"}, r.Msg.Csr)
	if err != nil {
		return nil, connect.NewError(connect.CodePermissionDenied, err)
	}
	c.renewed <- struct{}{}
	return connect.NewResponse(&polderv1.RenewResponse{Certificate: chain}), nil
}

func (c *cluster) Session(ctx context.Context, s *connect.BidiStream[polderv1.AgentMessage, polderv1.ServerMessage]) error {
	m, err := s.Receive()
	if err != nil {
		return err
	}
	if err := s.Send(&polderv1.ServerMessage{Body: &polderv1.ServerMessage_Welcome{Welcome: &polderv1.Welcome{Epoch: 1}}}); err != nil {
		return err
	}
	c.hellos <- m.GetHello()
	<-ctx.Done()
	return nil
}

func (c *cluster) agent(t *testing.T, dir, token string) *Agent {
	t.Helper()
	a, err := New(Config{
		Node: "n1", Dir: dir, Server: c.address, Token: token, Runtimes: []runtime.Runtime{fake.New(nil)},
		Capacity: resource.Resources{"cpu": 1000},
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestJoinOverTLS(t *testing.T) {
	c, dir := newCluster(t), t.TempDir()
	for _, token := range []string{c.token.Reveal(), ""} { // the second time the certificate is enough
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.agent(t, dir, token).Run(ctx) }()
		select {
		case h := <-c.hellos:
			if h.Node != "n1" || h.Capacity["cpu"] != "1" || h.Capacity["memory"] == "" {
				t.Errorf("hello %v", h)
			}
		case err := <-done:
			t.Fatal(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "credentials", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("credentials: %v, %v", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v, %v", info.Mode(), err)
	}
}

// TestSeveralServers joins, and later connects, at the one of its servers that answers.
func TestSeveralServers(t *testing.T) {
	c, dir := newCluster(t), t.TempDir()
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	c.address = dead.Addr().String() + ", " + c.address
	for _, token := range []string{c.token.Reveal(), ""} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.agent(t, dir, token).Run(ctx) }()
		select {
		case <-c.hellos:
		case err := <-done:
			t.Fatal(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestJoinRefused(t *testing.T) {
	c, other := newCluster(t), newCluster(t)
	secret := c.token.Reveal()
	wrong := secret[:len(secret)-4] + strings.Map(func(r rune) rune {
		if r == 'a' {
			return 'b'
		}
		return 'a'
	}, secret[len(secret)-4:])
	for name, token := range map[string]string{"none": "", "malformed": "polder-x", "wrong secret": wrong, "of another cluster": other.token.Reveal()} {
		t.Run(name, func(t *testing.T) {
			if err := c.agent(t, t.TempDir(), token).Run(t.Context()); !errors.Is(err, ErrRefused) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRenew(t *testing.T) {
	c, dir := newCluster(t), t.TempDir()
	config, err := c.agent(t, dir, c.token.Reveal()).c.resolve()
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDialer(config)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if err := d.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	late := newTestClock()
	late.jump(80 * 24 * time.Hour)
	d.c.Clock = late
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { d.renew(ctx) })
	<-c.renewed
	cancel()
	done.Wait()
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Node: "n1", Dir: "d", Server: "localhost:1", Runtimes: []runtime.Runtime{fake.New(nil)}}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]func(*Config){
		"node name":        func(c *Config) { c.Node = "a/b" },
		"no directory":     func(c *Config) { c.Dir = "" },
		"no server":        func(c *Config) { c.Server = "" },
		"only https":       func(c *Config) { c.Server = "http://localhost:1" },
		"host:port":        func(c *Config) { c.Server = "localhost:1,,localhost:2" },
		"no runtime":       func(c *Config) { c.Runtimes = nil },
		"given twice":      func(c *Config) { c.Runtimes = append(c.Runtimes, c.Runtimes...) },
		"attribute \"Z\"":  func(c *Config) { c.Attributes = map[string]string{"Z": "a"} },
		"decides the pool": func(c *Config) { c.Capacity = resource.Resources{"gpu-pool/cpu": 1} },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestDetect(t *testing.T) {
	r, err := Detect(t.TempDir())
	if err != nil || r["cpu"] <= 0 || r["memory"] <= 0 || r["disk"] <= 0 {
		t.Errorf("detected %v, %v", r, err)
	}
}
