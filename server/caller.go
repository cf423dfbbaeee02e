package server

import (
	"context"
	"net/http"
	"os"
	"time"

	"polder.dev/polder/auth"
)

// caller is who sent a request, and the connection it came on.
type caller struct {
	id      auth.Identity
	remote  string
	door    string // of this process, that speaks for the caller; empty for a call from the network
	request string // id of the request, in the audit trail and in the answer's header
	http    *http.Request
	control *http.ResponseController
	// patient streams carry what people look at or type: the other side may take as long as it likes.
	patient bool
}

// newCaller is the sender of a request, of whom nothing is known yet.
func newCaller(r *http.Request) *caller {
	return &caller{remote: r.RemoteAddr, door: auth.DoorIn(r.Context()), request: randomName(12), http: r}
}

type callerKey struct{}

// callerOf returns who sent the request being served.
func callerOf(ctx context.Context) *caller {
	c, _ := ctx.Value(callerKey{}).(*caller)
	return c
}

// errReadTimeout is what reading returns when nothing came in time.
var errReadTimeout = os.ErrDeadlineExceeded

// readWithin bounds the time until the next message is there. A transport that cannot bound it is left alone.
func (c *caller) readWithin(d time.Duration) { _ = c.control.SetReadDeadline(time.Now().Add(d)) }

// writeWithin bounds the time until the other side has taken what is sent next.
func (c *caller) writeWithin(d time.Duration) { _ = c.control.SetWriteDeadline(time.Now().Add(d)) }

// unread makes a pending read return.
func (c *caller) unread() { _ = c.control.SetReadDeadline(time.Unix(1, 0)) }

// readForever lets the other side be silent for as long as it likes.
func (c *caller) readForever() { _ = c.control.SetReadDeadline(time.Time{}) }

// unwrite makes a pending write return.
func (c *caller) unwrite() { _ = c.control.SetWriteDeadline(time.Unix(1, 0)) }

// writeForever takes the bound of writeWithin away.
func (c *caller) writeForever() { _ = c.control.SetWriteDeadline(time.Time{}) }
