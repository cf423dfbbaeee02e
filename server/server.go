package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"

	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
)

// election is what the servers of a cluster campaign for.
const election = "server"

// shutdownTimeout is how long open requests have at the end.
const shutdownTimeout = 5 * time.Second

// maxBody bounds a request, maxAgentBody a message of an agent: a hello has everything on the machine.
const (
	maxBody      = 8 << 20
	maxAgentBody = 64 << 20
)

// Server is one server of a cluster. While it leads it serves the API; while another one leads it says Unavailable.
type Server struct {
	cfg     Config
	current atomic.Pointer[http.Handler]
	leader  atomic.Pointer[leader]
	leading chan struct{} // closed when this server first leads
	served  http.Handler  // on the listener
}

// New checks the configuration and that every procedure has its permission.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := checkRoutes(routes); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, leading: make(chan struct{})}
	s.served = http.HandlerFunc(s.serve)
	if cfg.Front != nil {
		if s.served, err = cfg.Front(s.served); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// checkRoutes compares the table with the procedures there are.
func checkRoutes(table map[string]route) error {
	known := map[string]bool{}
	for _, p := range procedures() {
		known[p] = true
		r, ok := table[p]
		if !ok {
			return fmt.Errorf("server: procedure %s has no line in the table of permissions", p)
		}
		if r.change && r.object == nil {
			return fmt.Errorf("server: procedure %s changes something and does not say what", p)
		}
		ways := 0
		for _, way := range []bool{r.verb != "", r.check != nil, r.anonymous, r.agent, r.filtered} {
			if way {
				ways++
			}
		}
		if ways != 1 {
			return fmt.Errorf("server: procedure %s has %d ways to be permitted, want 1", p, ways)
		}
	}
	for p := range table {
		if !known[p] {
			return fmt.Errorf("server: the table of permissions has %s, which is no procedure", p)
		}
	}
	return nil
}

// procedures lists every procedure of the API.
func procedures() []string {
	var out []string
	for _, file := range []protoreflect.FileDescriptor{polderv1.File_polder_v1_polder_proto, polderv1.File_polder_v1_audit_proto, polderv1.File_polder_v1_door_proto, polderv1.File_polder_v1_volume_proto, polderv1.File_polder_v1_reservation_proto, polderv1.File_polder_v1_agent_proto} {
		for i := range file.Services().Len() {
			s := file.Services().Get(i)
			for j := range s.Methods().Len() {
				out = append(out, fmt.Sprintf("/%s/%s", s.FullName(), s.Methods().Get(j).Name()))
			}
		}
	}
	return out
}

// Leading is closed when this server leads and has read everything back.
func (s *Server) Leading() <-chan struct{} { return s.leading }

// Handler is the API for doors in this process, guard included. While this server does not lead it
// answers Unavailable.
//
// It also commits claims that a door in this process hands over as they are: see [Inside].
func (s *Server) Handler() http.Handler { return Inside{s} }

// Run serves on the listener, with TLS always, and leads whenever it wins the election, until ctx ends or something fails:
// a write to the store, the leadership, the listener. It closes the listener and returns when everything it started has
// stopped; nil when ctx ended. Call it once.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	config, err := s.cfg.CA.ServerTLS(s.cfg.Hosts, s.cfg.Now)
	if err != nil {
		listener.Close()
		return err
	}
	server := &http.Server{
		Handler: s.served, TLSConfig: config, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: log.New(io.Discard, "", 0),
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 1000, SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: s.cfg.stall},
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			cancel(fmt.Errorf("listening on %s: %w", listener.Addr(), err))
		}
	}()
	err = s.lead(ctx)
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer done()
	if server.Shutdown(stop) != nil {
		server.Close()
	}
	<-served
	return err
}

// lead campaigns, serves while it leads, and returns how that ended.
func (s *Server) lead(ctx context.Context) error {
	if err := s.sameCA(ctx); err != nil { // not only when it is needed to take over
		return endOf(ctx, err)
	}
	won, err := s.cfg.Store.Campaign(ctx, election)
	if err != nil {
		return endOf(ctx, err)
	}
	defer won.Resign(context.WithoutCancel(ctx)) // at worst the store notices by itself
	var watching sync.WaitGroup
	defer watching.Wait()
	inside, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := s.keepCA(inside, won); err != nil {
		return endOf(ctx, err)
	}
	l, err := newLeader(inside, s.cfg, won)
	if err != nil {
		return endOf(ctx, fmt.Errorf("starting to lead: %w", err))
	}
	s.cfg.Logger.Info("leading", "epoch", won.Term(), "plan", l.working.plan.Revision, "nodes", l.working.nodes.Len(), "asks", l.working.asks.Len())
	handler := l.handler()
	s.leader.Store(l)
	s.current.Store(&handler)
	defer s.current.Store(nil)
	close(s.leading)
	watching.Go(func() {
		select {
		case <-won.Done():
			cancel(errors.New("the leadership was lost; another server leads now"))
		case <-inside.Done():
		}
	})
	watching.Go(func() { l.remember(inside) })
	return endOf(ctx, l.run(inside, cancel))
}

// endOf is nil for an error that only says that ctx ended.
func endOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// run runs the writer and the persister until one of them ends, and returns why.
func (l *leader) run(ctx context.Context, cancel context.CancelCauseFunc) error {
	persisted := make(chan struct{})
	go func() {
		defer close(persisted)
		cancel(fmt.Errorf("writing to the store: %w", l.persist.run(ctx)))
	}()
	err := l.write(ctx)
	cancel(err)
	<-persisted
	return context.Cause(ctx)
}

// errAway is the answer of a server that does not lead.
var errAway = connect.NewError(connect.CodeUnavailable, errors.New("this server does not lead, or is still starting; try again, or ask another"))

// serve answers health checks and passes everything else to the leader there is. Among the checks is whether this server leads:
// a load balancer, or a client that knows several servers, finds the one to speak to.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	h := s.current.Load()
	if r.URL.Path == "/healthz" || r.URL.Path == "/leader" && h != nil {
		fmt.Fprintln(w, "ok")
		return
	}
	if h == nil {
		err := errAway
		refuse := connect.NewErrorWriter(codecs()...)
		if !refuse.IsSupported(r) {
			http.Error(w, err.Message(), http.StatusServiceUnavailable)
			return
		}
		_ = refuse.Write(w, r, err) // the caller is gone if this fails
		return
	}
	(*h).ServeHTTP(w, r)
}

// handler is the API of one leadership.
func (l *leader) handler() http.Handler {
	mux := http.NewServeMux()
	options := append(codecs(), connect.WithInterceptors(guard{l}))
	public := connect.WithHandlerOptions(slices.Concat(options, []connect.HandlerOption{connect.WithReadMaxBytes(maxBody)})...)
	private := connect.WithHandlerOptions(slices.Concat(options, []connect.HandlerOption{connect.WithReadMaxBytes(maxAgentBody)})...)
	mux.Handle(api.NewPlanServiceHandler(plans{l}, public))
	mux.Handle(api.NewRoleServiceHandler(roles{l}, public))
	mux.Handle(api.NewNodeServiceHandler(nodes{l}, public))
	mux.Handle(api.NewAskServiceHandler(asks{l}, public))
	mux.Handle(api.NewClaimServiceHandler(claims{l}, public))
	mux.Handle(api.NewTaskServiceHandler(tasks{l}, public))
	mux.Handle(api.NewVolumeServiceHandler(volumes{l}, public))
	mux.Handle(api.NewReservationServiceHandler(reservations{l}, public))
	mux.Handle(api.NewLeaseServiceHandler(leases{l}, public))
	mux.Handle(api.NewNoticeServiceHandler(notices{l}, public))
	mux.Handle(api.NewEventServiceHandler(events{l}, public))
	mux.Handle(api.NewAccessServiceHandler(access{l}, public))
	mux.Handle(api.NewAuditServiceHandler(audits{l}, public))
	mux.Handle(api.NewDoorServiceHandler(doors{l}, public))
	mux.Handle(api.NewEngineServiceHandler(engines{l}, public))
	mux.Handle(api.NewAgentServiceHandler(agents{l}, private))
	mux.Handle("GET "+metricsPath, l.viewersOfAll(l.showMetrics))
	mux.Handle("GET "+metricsPath+"/nodes/{node}", l.viewersOfAll(l.showNodeMetrics))
	return l.admit(mux)
}
