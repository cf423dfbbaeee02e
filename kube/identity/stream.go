package identity

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// Follow serves requests with next, and cuts those off that last, such as watches, logs and shells, when who called may not call them any
// more. Everybody else's permissions are looked at when they call only, as always in Kubernetes. rules are all there are, the gate's among
// them. It belongs behind what finds out who calls.
func (g *Gate) Follow(next http.Handler, rules authorizer.Authorizer, lasts request.LongRunningRequestCheck) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, _ := request.RequestInfoFrom(r.Context())
		u, _ := request.UserFrom(r.Context())
		if info == nil || !Known(u) || !lasts(r, info) {
			next.ServeHTTP(w, r)
			return
		}
		what, err := filters.GetAuthorizerAttributes(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		s := &stream{ResponseWriter: w}
		guard := make(chan struct{})
		go func() {
			defer close(guard)
			if g.lost(ctx, u, rules, what) {
				cancel()
				s.cut()
			}
		}()
		defer func() { cancel(); <-guard }()
		next.ServeHTTP(s, r.WithContext(ctx))
	})
}

// lost waits until a caller may not do what it does; false is that ctx is done. While the pool does not answer nothing is lost.
func (g *Gate) lost(ctx context.Context, u user.Info, rules authorizer.Authorizer, what authorizer.Attributes) bool {
	id := u.GetExtra()[callerKey][0]
	who := g.callers.find(id)
	tick := time.NewTicker(g.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		if who == nil {
			return true // it called more than a minute ago, and nothing is known of it: let it call again
		}
		if _, err := g.callers.ask(ctx, id, who.client.Token()); err != nil {
			if connect.CodeOf(err) == connect.CodeUnauthenticated {
				return true
			}
			continue
		}
		if d, _, err := rules.Authorize(ctx, what); err == nil && d != authorizer.DecisionAllow && ctx.Err() == nil {
			return true
		}
	}
}

// stream is the answer to a request that lasts. A connection that was taken over, as for a shell, can be cut.
type stream struct {
	http.ResponseWriter

	mu   sync.Mutex // guards all below
	conn net.Conn
	over bool
}

// Unwrap is for [http.ResponseController].
func (s *stream) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Flush implements [http.Flusher].
func (s *stream) Flush() { _ = http.NewResponseController(s.ResponseWriter).Flush() }

// CloseNotify implements [http.CloseNotifier], which parts of Kubernetes' API server look for.
func (s *stream) CloseNotify() <-chan bool {
	if n, ok := s.ResponseWriter.(http.CloseNotifier); ok { //nolint:staticcheck // see above
		return n.CloseNotify()
	}
	return nil
}

// Hijack implements [http.Hijacker].
func (s *stream) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil, nil, errors.New("the permission is gone")
	}
	conn, rw, err := http.NewResponseController(s.ResponseWriter).Hijack()
	s.conn = conn
	return conn, rw, err
}

// cut ends a connection that was taken over, now or as soon as somebody tries.
func (s *stream) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over = true; s.conn != nil {
		s.conn.Close()
	}
}
