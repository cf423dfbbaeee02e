package mesos

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"polder.dev/polder/agent/peer"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door"
)

// principal is who calls the door.
type principal struct {
	name   string
	caller door.Caller
}

// TokenVariable is the environment variable in which a client that sends no credentials may have its token. The door reads
// it from the process at the other end of a loopback connection.
const TokenVariable = "POLDER_TOKEN"

// identities finds out who sends requests, and remembers it for a moment: most calls of a framework make none of the
// server, which judges credentials itself at each.
type identities struct {
	api  *door.API
	now  func() time.Time
	mu   sync.Mutex // guards known
	seen map[string]identity
}

type identity struct {
	name  string
	until time.Time
}

// Bounds of what is remembered.
const (
	identityAge  = 5 * time.Second
	maxIdentites = 4096
)

func newIdentities(api *door.API, now func() time.Time) *identities {
	return &identities{api: api, now: now, seen: map[string]identity{}}
}

var errNoCredentials = errors.New("no credentials: use HTTP basic with a token as the password, or a bearer token; " +
	"a client on this machine that can send neither may have its token in the environment as " + TokenVariable)

// of is who sent a request.
func (i *identities) of(r *http.Request) (principal, error) {
	p := principal{caller: door.CallerOf(r)}
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case strings.EqualFold(scheme, "Basic"):
		text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
		name, token, ok := strings.Cut(string(text), ":")
		if err != nil || !ok {
			return p, errors.New("the basic credentials are not base64 of principal:token")
		}
		p.name, p.caller = name, door.Bearer(token, r.RemoteAddr)
	case scheme == "" && (r.TLS == nil || len(r.TLS.PeerCertificates) == 0):
		token := peer.VariableOf(r, TokenVariable)
		if token == "" {
			return p, errNoCredentials
		}
		p.caller = door.Bearer(token, r.RemoteAddr)
	}
	name, err := i.vouch(r.Context(), p.caller)
	if err != nil {
		return p, err
	}
	if p.name != "" && p.name != name {
		return p, errors.New("the token is not of principal " + p.name)
	}
	p.name = name
	return p, nil
}

// vouch asks the server whose the credentials are.
func (i *identities) vouch(ctx context.Context, c door.Caller) (string, error) {
	i.mu.Lock()
	known, ok := i.seen[c.Authorization]
	i.mu.Unlock()
	if ok && c.Authorization != "" && i.now().Before(known.until) {
		return known.name, nil
	}
	res, err := i.api.Access.WhoAmI(door.As(ctx, c), connect.NewRequest(&polderv1.WhoAmIRequest{}))
	if err != nil {
		return "", reasonOf(err)
	}
	if c.Authorization != "" {
		i.mu.Lock()
		if len(i.seen) >= maxIdentites {
			clear(i.seen)
		}
		i.seen[c.Authorization] = identity{res.Msg.Name, i.now().Add(identityAge)}
		i.mu.Unlock()
	}
	return res.Msg.Name, nil
}

// reasonOf is an error of the server without its code.
func reasonOf(err error) error {
	var c *connect.Error
	if errors.As(err, &c) {
		return errors.New(c.Message())
	}
	return err
}
