package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// mostUnread bounds what of a watch waits for its reader: its writer waits then, as it would for a connection.
const mostUnread = 1 << 20

// answer is what a handler writes an answer to a component of this process with. It is kept until the handler has returned, or sent on from
// the first Flush on if it has a stream.
type answer struct {
	req    *http.Request
	header http.Header
	code   int
	kept   bytes.Buffer
	stream *stream // nil: all at once

	sent  bool
	begun chan *http.Response // has room for the one
}

func newAnswer(r *http.Request, s *stream) *answer {
	return &answer{req: r, header: http.Header{}, stream: s, begun: make(chan *http.Response, 1)}
}

// Header implements [http.ResponseWriter].
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(code int) {
	if a.code == 0 {
		a.code = code
	}
}

// Write implements [http.ResponseWriter].
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.sent {
		return a.stream.write(p)
	}
	return a.kept.Write(p)
}

// Flush implements [http.Flusher].
func (a *answer) Flush() {
	a.WriteHeader(http.StatusOK)
	if a.stream == nil || a.sent {
		return
	}
	a.sent = true
	_, _ = a.stream.write(a.kept.Bytes()) // whoever has gone already reads nothing
	a.begun <- a.response(a.stream, -1)
}

// CloseNotify implements [http.CloseNotifier], without which the API server takes no writer for one that flushes. Nothing is ever sent:
// the request's context says it all.
func (a *answer) CloseNotify() <-chan bool { return nil }

// whole is the answer of a handler that has returned.
func (a *answer) whole() *http.Response {
	a.WriteHeader(http.StatusOK)
	return a.response(io.NopCloser(&a.kept), int64(a.kept.Len()))
}

// end is called when the handler has returned.
func (a *answer) end(err error) {
	if !a.sent && err == nil {
		a.begun <- a.whole()
		return
	}
	a.Flush()
	a.stream.end(err)
}

func (a *answer) response(body io.ReadCloser, length int64) *http.Response {
	return &http.Response{
		Status: fmt.Sprintf("%d %s", a.code, http.StatusText(a.code)), StatusCode: a.code, Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: a.header.Clone(), Body: body, ContentLength: length, Request: a.req,
	}
}

// stream is a bounded pipe: the handler's side writes, the body of the answer reads. It is safe for concurrent use.
type stream struct {
	cancel context.CancelFunc

	mu     sync.Mutex // guards all below
	change sync.Cond
	unread bytes.Buffer
	err    error // why there is no more
}

func newStream(cancel context.CancelFunc) *stream {
	s := &stream{cancel: cancel}
	s.change.L = &s.mu
	return s
}

func (s *stream) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && s.unread.Len() > mostUnread {
		s.change.Wait()
	}
	if s.err != nil {
		return 0, s.err
	}
	defer s.change.Broadcast()
	return s.unread.Write(p)
}

// Read implements [io.Reader].
func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && s.unread.Len() == 0 {
		s.change.Wait()
	}
	if s.unread.Len() == 0 {
		return 0, s.err
	}
	defer s.change.Broadcast()
	return s.unread.Read(p)
}

var errBodyClosed = errors.New("the reader has closed the answer")

// Close implements [io.Closer]: the handler is told to end.
func (s *stream) Close() error {
	s.end(errBodyClosed)
	s.cancel()
	return nil
}

// end says that there is no more, nil at the regular end of the answer.
func (s *stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		err = io.EOF
	}
	if s.err == nil {
		s.err = err
	}
	s.change.Broadcast()
}
