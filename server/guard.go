package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"polder.dev/polder/auth"
)

// requestHeader carries the id of a request in its answer; the audit trail has it too.
const requestHeader = "Polder-Request"

// admit is the outermost handler of the API: it finds the route, says who calls, and refuses strangers before anything
// they sent is decoded.
func (l *leader) admit(next http.Handler) http.Handler {
	refuse := connect.NewErrorWriter(codecs()...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isGate(r.URL.Path) {
			l.passGate(w, r)
			return
		}
		rt, ok := routes[r.URL.Path]
		if !ok && isMetrics(r.URL.Path) {
			rt, ok = metricsRoute, true
		}
		if !ok {
			http.NotFound(w, r)
			return
		}
		c := newCaller(r)
		c.control = http.NewResponseController(w)
		w.Header().Set(requestHeader, c.request)
		if err := l.identify(c, rt); err != nil {
			if refuse.IsSupported(r) {
				_ = refuse.Write(w, r, apiError(err)) // the caller is gone if this fails
			} else {
				http.Error(w, err.Error(), http.StatusUnauthorized)
			}
			return
		}
		c.readWithin(unaryTimeout)
		if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/proto") {
			r.Body = gathered{bufio.NewReader(r.Body), r.Body}
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
	})
}

// gathered is the body of a stream. A message is read in pieces, its length first, and each read of a request tells its connection, which
// is a goroutine of its own, that there is room again; so as much is read at once as is there.
type gathered struct {
	io.Reader
	io.Closer
}

// identify finds out who calls a procedure. A stranger is refused unless it is for strangers.
func (l *leader) identify(c *caller, rt route) error {
	var err error
	if c.id, err = l.authenticator().Authenticate(c.http); err == nil || rt.anonymous {
		return nil
	}
	l.deny(c.http.Context(), c, rt, "", "", err)
	l.meters.answered(c.http.URL.Path, apiError(err))
	return err
}

func (l *leader) authenticator() *auth.Authenticator {
	return &auth.Authenticator{Book: l.book, Root: l.cfg.CA.Root()}
}

// guard authorises every decoded request, audits, bounds its time, and turns errors and panics into answers.
type guard struct{ *leader }

// WrapUnary implements [connect.Interceptor].
func (g guard) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (res connect.AnyResponse, err error) {
		err = g.unary(ctx, req.Spec().Procedure, req.Any().(proto.Message), func(ctx context.Context) (err error) {
			res, err = next(ctx, req)
			return err
		})
		return res, err
	}
}

// unary lets a request be served if its caller may.
func (g guard) unary(ctx context.Context, procedure string, m proto.Message, serve func(context.Context) error) (err error) {
	defer func() { g.meters.answered(procedure, err) }()
	defer g.recovered(procedure, &err)
	ctx, cancel := context.WithTimeout(ctx, unaryTimeout)
	defer cancel()
	entry, err := g.authorise(ctx, callerOf(ctx), procedure, m)
	if err != nil {
		return apiError(err)
	}
	err = serve(ctx)
	g.failed(ctx, entry, err)
	return apiError(err)
}

// WrapStreamingClient implements [connect.Interceptor].
func (g guard) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements [connect.Interceptor]. A stream is authorised on its first message.
func (g guard) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return g.stream(ctx, conn.Spec().Procedure, func(ctx context.Context) (*auth.Entry, error) {
			s := &guardedStream{StreamingHandlerConn: conn, guard: g, ctx: ctx, caller: callerOf(ctx)}
			err := next(ctx, s)
			return s.entry, err
		})
	}
}

// stream serves a stream, which returns its line of the audit trail if it has one. It ends when the leader does, and when the credentials
// it was opened with are no longer good.
func (g guard) stream(ctx context.Context, procedure string, serve func(context.Context) (*auth.Entry, error)) (err error) {
	defer func() { g.meters.answered(procedure, err) }()
	defer g.recovered(procedure, &err)
	ctx, stop := g.lasting(ctx, callerOf(ctx))
	defer stop()
	entry, err := serve(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	g.failed(ctx, entry, err)
	return apiError(err)
}

// lasting is a context that ends with this leadership and when the credentials of who calls are no longer good; stop is to be called at its
// end.
func (g guard) lasting(ctx context.Context, c *caller) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stopped := context.AfterFunc(g.ctx, func() { cancel(errStopped) })
	unwatch := g.recheck(ctx, c, cancel)
	return ctx, func() {
		unwatch()
		stopped()
		cancel(nil)
	}
}

// guardedStream authorises the first message that comes in.
type guardedStream struct {
	connect.StreamingHandlerConn
	guard  guard
	ctx    context.Context // of the stream this belongs to
	caller *caller
	begun  bool
	entry  *auth.Entry
}

// Receive implements [connect.StreamingHandlerConn].
func (s *guardedStream) Receive(m any) error {
	if err := s.StreamingHandlerConn.Receive(m); err != nil || s.begun {
		return err
	}
	s.begun = true
	s.caller.readForever()
	var err error
	if s.entry, err = s.guard.authorise(s.ctx, s.caller, s.Spec().Procedure, m.(proto.Message)); err != nil {
		return apiError(err)
	}
	return s.Send(nil) // the answer's head: the client knows that it is served, however long nothing happens
}

// Send implements [connect.StreamingHandlerConn]. A client that takes nothing for too long is hung up on; one to which
// there is nothing to say is not, so the bound ends with the message.
func (s *guardedStream) Send(m any) error {
	if !s.caller.patient {
		s.caller.writeWithin(s.guard.cfg.stall)
		defer s.caller.writeForever()
	}
	return s.StreamingHandlerConn.Send(m)
}

// authorise returns nil if the caller may do what the message says, after writing that down when it changes something.
func (g guard) authorise(ctx context.Context, c *caller, procedure string, m proto.Message) (*auth.Entry, error) {
	rt, ok := routes[procedure]
	if !ok {
		return nil, fmt.Errorf("%w: procedure %s has no permission", auth.ErrDenied, procedure)
	}
	object := ""
	if rt.object != nil {
		object = rt.object(m)
	}
	roles, err := rt.permits(g.leader, c, m)
	if errors.Is(err, auth.ErrDenied) || errors.Is(err, auth.ErrUnauthenticated) {
		g.deny(ctx, c, rt, object, strings.Join(roles, ","), err)
	}
	if err != nil || !rt.change || rt.changes != nil && !rt.changes(m) {
		return nil, err
	}
	entry := g.entry(c, rt, object, strings.Join(roles, ","), auth.Allowed, nil)
	if err := g.cfg.Audit.Record(ctx, *entry); err != nil {
		g.log.Error("audit trail cannot be written; changes are refused", "error", err)
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	return entry, nil
}

func (l *leader) entry(c *caller, rt route, object, roles string, outcome auth.Outcome, why error) *auth.Entry {
	e := &auth.Entry{
		Time: l.cfg.Now(), Who: c.id.String(), Verb: rt.verb, Object: object, Role: clip(roles, 1000), Outcome: outcome,
		Request: c.request, Remote: c.remote,
	}
	if why != nil {
		e.Reason = clip(why.Error(), 500)
	}
	return e
}

// deny writes a refusal down, of callers whom nobody knows only so many. It is a refusal even when that fails.
func (l *leader) deny(ctx context.Context, c *caller, rt route, object, roles string, why error) {
	if c.id.IsZero() && !l.strangers.admit(l.denyMore) {
		return
	}
	l.denied(ctx, *l.entry(c, rt, object, roles, auth.Denied, why))
}

// denyMore writes down how many refusals were not.
func (l *leader) denyMore(more int) {
	l.denied(context.Background(), auth.Entry{
		Time: l.cfg.Now(), Who: auth.Identity{}.String(), Outcome: auth.Denied,
		Reason: fmt.Sprintf("within a second %d more requests of callers without an identity were refused", more),
	})
}

func (l *leader) denied(ctx context.Context, e auth.Entry) {
	if err := l.cfg.Audit.Record(ctx, e); err != nil {
		l.log.Error("audit trail cannot be written", "error", err)
	}
}

// failed adds to the audit trail that an allowed change did not happen.
func (g guard) failed(ctx context.Context, entry *auth.Entry, why error) {
	if entry == nil || why == nil {
		return
	}
	e := *entry
	e.Time, e.Outcome, e.Reason = g.cfg.Now(), auth.Failed, clip(why.Error(), 500)
	if err := g.cfg.Audit.Record(context.WithoutCancel(ctx), e); err != nil {
		g.log.Error("audit trail cannot be written", "error", err)
	}
}

// recovered turns a panic of a handler into an Internal error.
func (g guard) recovered(procedure string, err *error) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	g.log.Error("handler panicked", "procedure", procedure, "panic", p, "stack", string(debug.Stack()))
	*err = connect.NewError(connect.CodeInternal, errors.New("a bug in the server; its log says more"))
}
