package door

import (
	"bytes"
	"io"
	"net/http"
	"time"
)

// unary is what a request is that comes whole and is answered once.
const unary = "application/proto"

// whole carries such a request in the caller's goroutine: there is nobody to hand anything over to, which is most of what a small
// question costs. The handler sees the end of the request's context and is trusted to return then.
func (t *transport) whole(r *http.Request) (*http.Response, error) {
	in := t.incoming(r.Context(), r)
	defer in.Body.Close()
	out := &answer{header: http.Header{}}
	if err := t.serve(out, in); err != nil {
		return nil, err
	}
	out.WriteHeader(http.StatusOK)
	return &http.Response{
		Status: http.StatusText(out.status), StatusCode: out.status, Proto: "HTTP/2.0", ProtoMajor: 2, Header: out.header,
		Body: io.NopCloser(&out.body), ContentLength: int64(out.body.Len()), Request: r,
	}, nil
}

// answer is what a handler says, all of it.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements [http.ResponseWriter].
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements [http.ResponseWriter].
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// SetReadDeadline implements what [http.ResponseController] asks for: the request is there already.
func (a *answer) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements what [http.ResponseController] asks for: writing never waits.
func (a *answer) SetWriteDeadline(time.Time) error { return nil }
