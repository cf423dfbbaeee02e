// Package servertest runs a whole server in memory for the tests of what stands on it: doors, the console, commands.
//
// It is for tests only. A [World] ends with its test.
package servertest

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"polder.dev/polder/auth"
	"polder.dev/polder/server"
	"polder.dev/polder/store"
)

// World is a server that leads, on a memory store and a loopback port.
type World struct {
	Server  *server.Server
	Handler http.Handler // the API, for package door
	Addr    string       // host:port of the listener, TLS
	CA      *auth.CA
	Admin   string // the administrator's token
	Audit   *Trail
}

// Start starts a server; change may be nil. The logs go to standard error when POLDER_TEST_LOGS is set.
func Start(t testing.TB, change func(*server.Config)) *World {
	t.Helper()
	ca, err := auth.OpenCA(filepath.Join(t.TempDir(), "ca"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	memory := store.NewMemory()
	t.Cleanup(func() { memory.Close() })
	w := &World{CA: ca, Audit: &Trail{}}
	cfg := server.Config{
		Store: memory, CA: ca, Audit: w.Audit, Logger: slog.New(slog.NewTextHandler(logs(), nil)), Version: "test",
		Hosts: []string{"127.0.0.1", "localhost"}, RecoverWait: 2 * time.Second,
		AdminToken: func(s auth.Secret) error { w.Admin = s.Reveal(); return nil },
	}
	if change != nil {
		change(&cfg)
	}
	if w.Server, err = server.New(cfg); err != nil {
		t.Fatal(err)
	}
	w.Handler = w.Server.Handler()
	w.run(t)
	return w
}

func (w *World) run(t testing.TB) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.Addr = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Server.Run(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended: %v", err)
		}
	})
	select {
	case <-w.Server.Leading():
	case err := <-ended:
		ended <- err
		t.Fatalf("the server does not lead: %v", err)
	}
}

// HTTP is a client that trusts the server. Its connections end with the test.
func (w *World) HTTP(t testing.TB) *http.Client {
	t.Helper()
	config, err := auth.ClientTLS(w.CA.RootPEM())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func logs() io.Writer {
	if os.Getenv("POLDER_TEST_LOGS") != "" {
		return os.Stderr
	}
	return io.Discard
}

// Trail is an audit trail in memory. It is safe for concurrent use.
type Trail struct {
	mu      sync.Mutex
	entries []auth.Entry
}

// Record implements [auth.Auditor].
func (a *Trail) Record(_ context.Context, e auth.Entry) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entries = append(a.entries, e)
	return nil
}

// Entries returns what was recorded so far.
func (a *Trail) Entries() []auth.Entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.entries)
}
