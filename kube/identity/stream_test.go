package identity

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// follow serves something that lasts behind the gate, for a caller, and returns a connection to it that got its first line.
func (w *world) follow(t *testing.T, caller user.Info, resource string, serve http.HandlerFunc) *bufio.Reader {
	t.Helper()
	lasts := func(*http.Request, *request.RequestInfo) bool { return true }
	follow := w.gate.Follow(serve, authorizer.AuthorizerFunc(w.gate.Authorize), lasts)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ctx := request.WithUser(r.Context(), caller)
		ctx = request.WithRequestInfo(ctx, &request.RequestInfo{IsResourceRequest: true, Verb: "get", Namespace: "corp", Resource: "pods", Subresource: resource})
		follow.ServeHTTP(rw, r.WithContext(ctx))
	}))
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "open\n" {
			return in
		}
	}
}

// quicken has permissions looked at all the time, and every answer of the pool believed once.
func (w *world) quicken() {
	var calls atomic.Int64
	w.now = func() time.Time { return time.Unix(0, calls.Add(1)*int64(TTL)) }
	w.gate.every = time.Millisecond
}

func log(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, "open\n")
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

// shell takes the connection over, as for exec: it does not look at the request any more.
func shell(w http.ResponseWriter, r *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "open\n")
	_, _ = io.Copy(io.Discard, conn)
}

// TestStreamsEndWithTheirPermission, and with the token of who opened them.
func TestStreamsEndWithTheirPermission(t *testing.T) {
	for name, c := range map[string]struct {
		resource string
		serve    http.HandlerFunc
		end      func(w *world, t *testing.T, token string)
	}{
		"a log whose rule goes":   {"log", log, func(w *world, t *testing.T, _ string) { w.permit(t, rule("user:alice", "corp", "view")) }},
		"a shell whose rule goes": {"exec", shell, func(w *world, t *testing.T, _ string) { w.permit(t, rule("user:alice", "corp", "view")) }},
		"a shell whose token goes": {"exec", shell, func(w *world, t *testing.T, id string) {
			if _, err := w.client.Access.RevokeToken(t.Context(), connect.NewRequest(&polderv1.RevokeTokenRequest{Id: id})); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.quicken()
			secret, id := w.token(t, "alice")
			w.permit(t, rule("user:alice", "corp", "view", "logs", "exec"))
			in := w.follow(t, w.login(t, secret), c.resource, c.serve)
			c.end(w, t, id)
			if rest, _ := io.ReadAll(in); len(rest) > 0 { // until it is cut
				t.Errorf("it said %q", rest)
			}
		})
	}
}

// TestStreamsStay as long as their permission does, and others' are nobody's business.
func TestStreamsStay(t *testing.T) {
	w := newWorld(t)
	w.quicken()
	secret, _ := w.token(t, "alice")
	w.permit(t, rule("user:alice", "corp", "logs"))
	var asked atomic.Int64
	counted := authorizer.AuthorizerFunc(func(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		asked.Add(1)
		return w.gate.Authorize(ctx, a)
	})
	u := w.login(t, secret)
	ctx := request.WithUser(t.Context(), u)
	ctx = request.WithRequestInfo(ctx, &request.RequestInfo{IsResourceRequest: true, Verb: "get", Namespace: "corp", Resource: "pods", Subresource: "log"})
	ended := false
	serve := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for asked.Load() < 5 && r.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		ended = r.Context().Err() != nil
	})
	lasts := func(*http.Request, *request.RequestInfo) bool { return true }
	w.gate.Follow(serve, counted, lasts).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil).WithContext(ctx))
	if ended {
		t.Error("a log that may be read was cut off")
	}
	other := false
	ctx = request.WithUser(ctx, &user.DefaultInfo{Name: "system:kube-scheduler"})
	w.gate.Follow(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, wrapped := rw.(*stream); other = !wrapped }), counted, lasts).
		ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil).WithContext(ctx))
	if !other {
		t.Error("a stream of one of Kubernetes' own is followed")
	}
}
