package door

import (
	"context"
	"crypto/tls"
	"net/http"

	"polder.dev/polder/auth"
)

// Caller is for whom a door calls. Exactly one way of saying who that is should be set.
type Caller struct {
	// Authorization and TLS are the credentials of a client, as they came. The server judges them on each call, so a revoked
	// token is refused at once.
	Authorization string
	TLS           *tls.ConnectionState
	// Identity is somebody the server has already vouched for, for work that outlives the client's connection: reconciling a
	// service, answering for a framework that is away. Permissions are still judged on each call.
	Identity auth.Identity
	// Remote is the client's address, for the audit trail; empty when there is no client.
	Remote string
}

// CallerOf is the caller who sent a request to a door.
func CallerOf(r *http.Request) Caller {
	return Caller{Authorization: r.Header.Get("Authorization"), TLS: r.TLS, Remote: r.RemoteAddr}
}

// Bearer is a caller with a token that came in the protocol's own way.
func Bearer(token, remote string) Caller {
	return Caller{Authorization: "Bearer " + token, Remote: remote}
}

type callerKey struct{}

// As returns a context whose calls are made for c.
func As(ctx context.Context, c Caller) context.Context { return context.WithValue(ctx, callerKey{}, c) }

func callerIn(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
