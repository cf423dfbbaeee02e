package agent

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"polder.dev/polder/agent/checkpoint"
	"polder.dev/polder/agent/peer"
	"polder.dev/polder/auth"
)

// gateKey is where the journal has the gate's address: tasks that outlive this run go on calling there.
const gateKey = "gate"

// gateMost is how many requests of tasks are under way at once; each stream is one for as long as it lasts.
const gateMost = 512

// openGate begins to listen where tasks reach doors through the server, at the same address as before if that is free. Without it the agent
// works: only tasks that call a door, such as executors of Mesos, miss it. The function it returns hangs up on them; they come back
// when the agent does.
func (a *Agent) openGate(server http.RoundTripper) (stop func()) {
	l, err := a.listenGate()
	if err != nil {
		a.warn("gate", fmt.Sprintf("tasks of this node cannot reach doors: %v", err))
		return func() {}
	}
	addr := l.Addr().String()
	a.gate.Store(&addr)
	s := &http.Server{
		Handler: gateHandler(server), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: log.New(io.Discard, "", 0),
	}
	a.running.Go(func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			a.warn("gate", fmt.Sprintf("tasks of this node no longer reach doors: %v; start the agent again", err))
		}
	})
	return func() { _ = s.Close() }
}

// gateAddr is where tasks reach doors, empty when they do not.
func (a *Agent) gateAddr() string {
	if addr := a.gate.Load(); addr != nil {
		return *addr
	}
	return ""
}

func (a *Agent) listenGate() (net.Listener, error) {
	if addr, ok := a.journal.Get(gateKey); ok {
		if l, err := net.Listen("tcp", string(addr)); err == nil {
			return l, nil
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	var b checkpoint.Batch
	b.Put(gateKey, []byte(l.Addr().String()))
	if err := a.commit(b); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// gateHandler passes requests on, each with the token of the process that made it if it has no credentials of its own.
func gateHandler(server http.RoundTripper) http.Handler {
	free := make(chan struct{}, gateMost)
	proxy := &httputil.ReverseProxy{
		Transport: server, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			own := r.In.Header.Get("Authorization")
			if own == "" {
				if token := peer.VariableOf(r.In, auth.GateToken); token != "" {
					own = "Bearer " + token
				}
			}
			r.Out.Header.Del("Authorization")
			r.Out.Header.Del(auth.GateAuthorization)
			if own != "" {
				r.Out.Header.Set(auth.GateAuthorization, own)
			}
			r.Out.URL.Path, r.Out.URL.RawPath = auth.GatePath+r.In.URL.Path, ""
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "the agent does not reach the server now: "+err.Error(), http.StatusServiceUnavailable)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case free <- struct{}{}:
			defer func() { <-free }()
			proxy.ServeHTTP(w, r)
		default:
			http.Error(w, fmt.Sprintf("%d requests of tasks are under way on this node; try again", gateMost), http.StatusServiceUnavailable)
		}
	})
}

// RoundTrip implements [http.RoundTripper]: it sends a request whose URL has only a path to the server in use, with the node's certificate.
func (d *dialer) RoundTrip(r *http.Request) (*http.Response, error) {
	d.mu.Lock()
	client, server := d.http, d.servers[d.at]
	d.mu.Unlock()
	if client == nil {
		return nil, errors.New("this node has not joined yet")
	}
	to, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.Host = to.Scheme, to.Host, to.Host
	return client.Transport.RoundTrip(out)
}
