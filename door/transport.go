package door

import (
	"context"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"polder.dev/polder/auth"
)

// transport carries requests to a handler in this process, both directions at once, without a connection.
type transport struct {
	server http.Handler
	door   string
}

// RoundTrip implements [http.RoundTripper]. A stream's answer is there when the handler has written its head, another one's when it is whole.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Content-Type") == unary {
		return t.whole(r)
	}
	ctx, cancel := context.WithCancel(r.Context())
	in := t.incoming(ctx, r)
	out := newExchange(in.Body)
	go func() {
		defer cancel()
		out.end(t.serve(out, in))
	}()
	select {
	case <-out.headed:
	case <-r.Context().Done(): // the handler sees it too; what it still writes goes nowhere
		cancel()
		out.body.Close()
		return nil, context.Cause(r.Context())
	}
	return &http.Response{
		Status: http.StatusText(out.status), StatusCode: out.status, Proto: "HTTP/2.0", ProtoMajor: 2, Header: out.sent,
		Body: &answerBody{out.body, cancel}, ContentLength: -1, Request: r,
	}, nil
}

// serve runs the handler; a panic is an answer that was cut off.
func (t *transport) serve(w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = io.ErrUnexpectedEOF
		}
	}()
	t.server.ServeHTTP(w, r)
	return nil
}

// incoming is the request as the server sees it: with the caller's credentials and no others.
func (t *transport) incoming(ctx context.Context, r *http.Request) *http.Request {
	c := callerIn(ctx)
	if !c.Identity.IsZero() {
		ctx = auth.WithIdentity(ctx, c.Identity)
	}
	in := r.Clone(auth.WithDoor(ctx, t.door))
	in.Header.Del("Authorization")
	if c.Authorization != "" {
		in.Header.Set("Authorization", c.Authorization)
	}
	in.TLS, in.RequestURI, in.Proto, in.ProtoMajor, in.ProtoMinor = c.TLS, r.URL.RequestURI(), "HTTP/2.0", 2, 0
	in.RemoteAddr = "door/" + t.door
	if c.Remote != "" {
		in.RemoteAddr += " " + c.Remote
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	return in
}

// exchange is the handler's side of one request: its answer flows to the door.
type exchange struct {
	header, sent http.Header
	status       int
	headed       chan struct{} // closed when status and sent are there
	once         sync.Once
	body         *flow
	request      io.Closer
	mu           sync.Mutex // guards the timers
	read, write  *time.Timer
	late         atomic.Bool // the write deadline has passed
}

func newExchange(request io.Closer) *exchange {
	return &exchange{header: http.Header{}, headed: make(chan struct{}), body: newFlow(), request: request}
}

// Header implements [http.ResponseWriter].
func (e *exchange) Header() http.Header { return e.header }

// WriteHeader implements [http.ResponseWriter].
func (e *exchange) WriteHeader(status int) {
	e.once.Do(func() {
		e.status, e.sent = status, e.header.Clone()
		close(e.headed)
	})
}

// Write implements [http.ResponseWriter]. It waits while the door has much to read.
func (e *exchange) Write(p []byte) (int, error) {
	e.WriteHeader(http.StatusOK)
	n, err := e.body.Write(p)
	if err != nil && e.late.Load() {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// FlushError implements what [http.ResponseController] asks for; nothing is held back here but the head.
func (e *exchange) FlushError() error {
	e.WriteHeader(http.StatusOK)
	return nil
}

// Flush implements [http.Flusher].
func (e *exchange) Flush() { _ = e.FlushError() } // never fails

// SetReadDeadline implements what [http.ResponseController] asks for.
func (e *exchange) SetReadDeadline(at time.Time) error {
	e.reset(&e.read, at, func() { e.request.Close() })
	return nil
}

// SetWriteDeadline implements what [http.ResponseController] asks for.
func (e *exchange) SetWriteDeadline(at time.Time) error {
	e.reset(&e.write, at, func() {
		e.late.Store(true)
		e.body.end(os.ErrDeadlineExceeded)
	})
	return nil
}

// reset replaces a deadline; the zero time is none, and one in the past works at once.
func (e *exchange) reset(timer **time.Timer, at time.Time, late func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
	switch wait := time.Until(at); {
	case at.IsZero():
	case wait <= 0:
		late()
	default:
		*timer = time.AfterFunc(wait, late)
	}
}

// end closes the answer and the request when the handler has returned.
func (e *exchange) end(err error) {
	e.reset(&e.read, time.Time{}, nil)
	e.reset(&e.write, time.Time{}, nil)
	if err != nil {
		e.WriteHeader(http.StatusInternalServerError)
	}
	e.WriteHeader(http.StatusOK)
	e.body.end(err)
	e.request.Close()
}

// answerBody ends the call when the door has read enough.
type answerBody struct {
	*flow
	cancel context.CancelFunc
}

// Close implements [io.Closer].
func (b *answerBody) Close() error {
	b.cancel()
	return b.flow.Close()
}
