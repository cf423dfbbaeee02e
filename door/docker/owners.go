package docker

import (
	"context"
	"sync"
)

// owners remembers whose networks and volumes are, of which events do not say it. One that is gone has the owner it had; whose it was before
// anybody asked, nobody knows.
type owners struct {
	d *Door

	mu    sync.Mutex // guards known
	known map[owned]string
}

// owned is a network by its id, or a volume by its name, of an engine.
type owned struct{ engine, kind, id string }

// of is the role that something belongs to; empty when it is not the pool's, or nobody knows. What was made anew may be another's than before.
func (o *owners) of(ctx context.Context, e engine, kind, id string, anew bool) string {
	at := owned{e.id, kind, id}
	o.mu.Lock()
	role, ok := o.known[at]
	o.mu.Unlock()
	if ok && !anew {
		return role
	}
	o.learn(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	role = o.known[at]
	o.known[at] = role // so that what is not the pool's is asked for once
	return role
}

// learn reads what there is. Where engines do not say it, events of what they have are left out.
func (o *owners) learn(ctx context.Context) {
	networks, _ := o.d.listNetworks(ctx, nil)
	volumes, _ := o.d.volumes(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil {
		o.known = map[owned]string{}
	}
	for _, n := range networks {
		o.known[owned{n.engine.id, "network", text(n.thing, "Id")}] = n.role()
	}
	for _, v := range volumes {
		o.known[owned{v.engine.id, "volume", v.name}] = v.role
	}
}
