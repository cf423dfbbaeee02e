package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"polder.dev/polder/auth"
)

// passed is a server that takes note of what it is sent.
type passed struct {
	got *http.Request
	err error
}

func (p *passed) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.err != nil {
		return nil, p.err
	}
	p.got = r
	return &http.Response{StatusCode: http.StatusAccepted, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("taken")), Request: r}, nil
}

// TestGatePassesOn: a task's request reaches the server with the task's credentials apart from the agent's; a task cannot say anything in the
// agent's place.
func TestGatePassesOn(t *testing.T) {
	server := &passed{}
	s := httptest.NewServer(gateHandler(server))
	defer s.Close()
	ask := func(header, value string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/api/v1/executor", strings.NewReader("call"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(header, value)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}
	if status, text := ask("Authorization", "Bearer own"); status != http.StatusAccepted || text != "taken" {
		t.Fatalf("it is answered %d: %s", status, text)
	}
	if h := server.got.Header; server.got.URL.Path != auth.GatePath+"/api/v1/executor" || h.Get("Authorization") != "" || h.Get(auth.GateAuthorization) != "Bearer own" {
		t.Errorf("the server gets %s with %v", server.got.URL, h)
	}
	ask(auth.GateAuthorization, "Bearer smuggled")
	if own := server.got.Header.Get(auth.GateAuthorization); own != "" {
		t.Errorf("a task without credentials sends %s", own)
	}
	server.err = errors.New("it is away")
	if status, text := ask("Authorization", "Bearer own"); status != http.StatusServiceUnavailable || !strings.Contains(text, "it is away") {
		t.Errorf("without a server it is answered %d: %s", status, text)
	}
}

// TestGateStays: an agent that is started again has its gate at the same address, for the tasks that outlived it.
func TestGateStays(t *testing.T) {
	c, dir := newCluster(t), t.TempDir()
	var addrs []string
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		a := c.agent(t, dir, c.token.Reveal())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		select {
		case <-c.hellos:
		case err := <-done:
			t.Fatal(err)
		}
		addrs = append(addrs, a.gateAddr())
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if addrs[0] == addrs[1] && addrs[0] != "" {
		return
	}
	l, err := net.Listen("tcp", addrs[0])
	if err == nil { // else somebody else took it meanwhile
		l.Close()
		t.Errorf("it listens at %q, then at %q", addrs[0], addrs[1])
	}
}
