package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
)

// maxRelays is how many log, file, exec and attach streams may be open at once.
const maxRelays = 4096

// relay joins a client's stream with one that the agent opens for it. Nothing is buffered: who is slow slows the other down.
type relay struct {
	id, node string
	up       chan *polderv1.RelayUp   // from the agent
	down     chan *polderv1.RelayDown // to the agent
	ended    chan struct{}            // closed by the client's side when it is done
}

// relays are the ones that are open or wait for their agent.
type relays struct {
	mu   sync.Mutex // guards open
	open map[string]*relay
}

func newRelays() *relays { return &relays{open: map[string]*relay{}} }

// start makes a relay that an agent may take up; stop must be called at the end.
func (r *relays) start(node string) (*relay, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.open) >= maxRelays {
		return nil, refused("TooMany", "close some", "%d log, file, exec and attach streams are open", maxRelays)
	}
	x := &relay{
		id: randomName(20), node: node,
		up: make(chan *polderv1.RelayUp), down: make(chan *polderv1.RelayDown), ended: make(chan struct{}),
	}
	r.open[x.id] = x
	return x, nil
}

func (r *relays) stop(x *relay) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, x.id)
	close(x.ended)
}

// take hands a relay to its agent, once.
func (r *relays) take(id string) (*relay, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x, ok := r.open[id]
	if ok && x == nil {
		return nil, false
	}
	if ok {
		r.open[id] = nil
	}
	return x, ok
}

// Relay is the agent's side of a log or exec stream. Its first message names the relay.
func (a agents) Relay(ctx context.Context, stream *connect.BidiStream[polderv1.RelayUp, polderv1.RelayDown]) error {
	c := callerOf(ctx)
	c.readWithin(a.cfg.RelayWait)
	m, err := stream.Receive()
	if err != nil {
		return err
	}
	x, ok := a.relays.take(m.Id)
	if !ok {
		return connect.NewError(connect.CodeNotFound, fmt.Errorf("nobody waits for relay %q", m.Id))
	}
	if err := auth.CheckNode(c.id, x.node); err != nil {
		return apiError(err)
	}
	c.readForever()
	c.patient = true
	done := make(chan struct{})
	var down sync.WaitGroup
	down.Go(func() { x.forward(c, stream, done) })
	err = x.backward(stream, m)
	close(done)
	stuck := time.AfterFunc(time.Second, c.unwrite) // the agent takes no more input
	down.Wait()
	stuck.Stop()
	return err
}

// forward sends the client's input to the agent until done.
func (x *relay) forward(c *caller, stream *connect.BidiStream[polderv1.RelayUp, polderv1.RelayDown], done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-x.ended:
			c.unread()
			return
		case m := <-x.down:
			if stream.Send(m) != nil {
				c.unread()
				return
			}
		}
	}
}

// backward passes the agent's output on, the first message included, and closes up behind it. An agent that has hung up may
// still have said its last word: everything that arrived is passed on.
func (x *relay) backward(stream *connect.BidiStream[polderv1.RelayUp, polderv1.RelayDown], m *polderv1.RelayUp) error {
	defer close(x.up)
	for {
		select {
		case x.up <- m:
		case <-x.ended:
			return nil
		}
		var err error
		m, err = stream.Receive()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			m = &polderv1.RelayUp{Error: "the connection to the agent broke: " + err.Error()}
			select {
			case x.up <- m:
			case <-x.ended:
			}
			return err
		}
	}
}

// join asks a node's agent for a stream and lets use have it.
func (l *leader) join(ctx context.Context, node string, open *polderv1.OpenRelay, use func(*relay) error) error {
	x, err := l.relays.start(node)
	if err != nil {
		return err
	}
	defer l.relays.stop(x)
	open.Id = x.id
	err = l.consult(ctx, func(t *turn) error {
		if t.sessions[node] == nil {
			return refused("Unreachable", "wait until it is back", "node %s does not answer", node)
		}
		t.send(node, &polderv1.ServerMessage{Body: &polderv1.ServerMessage_Relay{Relay: open}})
		return nil
	})
	if err != nil {
		return err
	}
	return use(x)
}

// output gives every message of the agent to each, until the last one.
func (x *relay) output(ctx context.Context, l *leader, each func(*polderv1.RelayUp) error) error {
	wait := time.NewTimer(l.cfg.RelayWait)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.ctx.Done():
			return errStopped
		case <-wait.C:
			return connect.NewError(connect.CodeUnavailable,
				fmt.Errorf("the agent of node %s did not open the stream within %v; try again", x.node, l.cfg.RelayWait))
		case m, ok := <-x.up:
			wait.Stop()
			if !ok {
				return nil
			}
			if m.Error != "" {
				return refused(cmp.Or(knownCode(m.Code), "Relay"), "", "node %s: %s", x.node, clip(m.Error, 1024))
			}
			if err := each(m); err != nil {
				return err
			}
		}
	}
}

// knownCode is a code of an agent's refusal if it is one that agents may give.
func knownCode(code string) string {
	if slices.Contains([]string{"NotFound", "Invalid"}, code) {
		return code
	}
	return ""
}

// input passes what the client sends on to the agent until next fails or the stream is over.
func (x *relay) input(over <-chan struct{}, next func() (*polderv1.RelayDown, error)) {
	for {
		m, err := next()
		if errors.Is(err, io.EOF) {
			m = &polderv1.RelayDown{CloseStdin: true}
		} else if err != nil {
			return
		}
		select {
		case x.down <- m:
		case <-over:
			return
		}
		if err != nil {
			return
		}
	}
}
