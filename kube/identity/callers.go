package identity

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/kube/pool"
)

// TTL is for how long an answer of the pool is believed.
const TTL = 2 * time.Second

// callerKey is where a request carries the id of the token it came with.
const callerKey = "polder.dev/token"

const (
	callLimit = 5 * time.Second
	keepFor   = time.Minute // after a caller has called: a request asks several times, at its start and when it changes something
)

// Callers knows who has called lately. Make one with [NewCallers].
type Callers struct {
	pool *pool.Client
	log  *slog.Logger
	now  func() time.Time

	mu     sync.Mutex
	recent map[string]*caller // by the token's id
}

// caller is one token, as the pool knew it at an instant.
type caller struct {
	name   string
	client *pool.Client // speaks as the caller
	at     time.Time    // before the pool was asked

	mu       sync.Mutex
	verdicts map[question]verdict
}

// question is what the pool is asked about a caller.
type question struct {
	verb auth.Verb
	role string // "" is the root
}

type verdict struct {
	allowed bool
	reason  string
}

// NewCallers asks the pool that a client leads to. The client's own token is not used.
func NewCallers(c *pool.Client, log *slog.Logger) *Callers {
	return &Callers{pool: c, log: log, now: time.Now, recent: map[string]*caller{}}
}

// AuthenticateToken implements [authenticator.Token]. What does not look like a token of the pool is for others to know.
func (c *Callers) AuthenticateToken(ctx context.Context, text string) (*authenticator.Response, bool, error) {
	token, err := auth.ParseUserToken(text)
	if err != nil {
		return nil, false, nil
	}
	who, err := c.ask(ctx, token.ID, text)
	if connect.CodeOf(err) == connect.CodeUnauthenticated {
		return nil, false, err
	}
	if err != nil {
		c.log.Warn("the pool does not say whose a token is", "token", token.ID, "error", err)
		return nil, false, err
	}
	return &authenticator.Response{User: &user.DefaultInfo{
		Name: who.name, Groups: []string{user.AllAuthenticated}, Extra: map[string][]string{callerKey: {token.ID}},
	}}, true, nil
}

// ask finds out who has a token, unless that is known.
func (c *Callers) ask(ctx context.Context, id, text string) (*caller, error) {
	if who := c.find(id); who != nil && who.client.Token() == text && c.now().Sub(who.at) < TTL {
		return who, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	client := c.pool.As(text)
	at := c.now()
	res, err := client.Access.WhoAmI(ctx, connect.NewRequest(&polderv1.WhoAmIRequest{}))
	if err != nil {
		return nil, err
	}
	who := &caller{name: res.Msg.Kind + ":" + res.Msg.Name, client: client, at: at, verdicts: map[question]verdict{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, old := range c.recent {
		if at.Sub(old.at) > keepFor {
			delete(c.recent, id)
		}
	}
	c.recent[id] = who
	return who, nil
}

// find is who called with a token lately; nil when nobody did.
func (c *Callers) find(id string) *caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	who := c.recent[id]
	if who == nil || c.now().Sub(who.at) > keepFor {
		return nil
	}
	return who
}

// Known reports whether a user of Kubernetes is one of the pool. Others have permissions of Kubernetes' own.
func Known(u user.Info) bool { return u != nil && len(u.GetExtra()[callerKey]) == 1 }

// Can says whether a user of the pool may do something on a role, and why not. The root is "".
func (c *Callers) Can(ctx context.Context, u user.Info, verb auth.Verb, role string) (allowed bool, reason string, err error) {
	if !Known(u) {
		return false, "", nil
	}
	who := c.find(u.GetExtra()[callerKey][0])
	if who == nil || who.name != u.GetName() {
		return false, u.GetName() + " has no token that was used just now; call again", nil
	}
	q := question{verb, strings.Trim(role, "/")}
	who.mu.Lock()
	v, ok := who.verdicts[q]
	who.mu.Unlock()
	if ok {
		return v.allowed, v.reason, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	res, err := who.client.Access.CanI(ctx, connect.NewRequest(&polderv1.CanIRequest{Verb: string(q.verb), Role: q.role}))
	if err != nil {
		return false, "the pool does not answer", err
	}
	who.mu.Lock()
	who.verdicts[q] = verdict{res.Msg.Allowed, res.Msg.Reason}
	who.mu.Unlock()
	return res.Msg.Allowed, res.Msg.Reason, nil
}
