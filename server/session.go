package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/role"
)

// session is the connection of one node's agent.
type session struct {
	node   string
	seen   *atomic.Int64 // when its agent last said something
	mu     sync.Mutex    // guards out
	out    []*polderv1.ServerMessage
	wake   chan struct{} // something is in out
	ended  chan struct{}
	once   sync.Once // closes ended and sets cause
	cause  error
	unread func() // makes a pending read return
	// asked has, by task, the notice as the agent was first told it: with what the lease had then. It is the writer's.
	asked map[string]cluster.Notice
}

func newSession(node string, unread func()) *session {
	return &session{node: node, wake: make(chan struct{}, 1), ended: make(chan struct{}), unread: unread, asked: map[string]cluster.Notice{}}
}

// send queues a message. A session whose agent does not keep up ends: the agent connects again and gets everything it lacks.
func (s *session) send(m *polderv1.ServerMessage) {
	s.mu.Lock()
	full := len(s.out) >= sessionQueue
	if !full {
		s.out = append(s.out, m)
	}
	s.mu.Unlock()
	if full {
		s.end(connect.NewError(connect.CodeResourceExhausted,
			fmt.Errorf("node %s: %d messages wait for the agent; connect again", s.node, sessionQueue)))
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// queued takes what waits for the agent.
func (s *session) queued() []*polderv1.ServerMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.out
	s.out = nil
	return out
}

// end ends the session; the first cause counts.
func (s *session) end(cause error) {
	s.once.Do(func() {
		s.cause = cause
		close(s.ended)
		s.unread()
	})
}

// agents serves the agents' API.
type agents struct{ *leader }

// Session serves one agent for as long as both live.
func (a agents) Session(ctx context.Context, stream *connect.BidiStream[polderv1.AgentMessage, polderv1.ServerMessage]) error {
	c := callerOf(ctx)
	c.readWithin(missedBeats * a.cfg.Heartbeat)
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	info, tasks, err := a.hello(c, hello)
	if err != nil {
		return apiError(err)
	}
	s := newSession(hello.Node, c.unread)
	s.send(&polderv1.ServerMessage{Body: &polderv1.ServerMessage_Welcome{Welcome: &polderv1.Welcome{
		Epoch: a.lead.Term(), Heartbeat: durationpb.New(a.cfg.Heartbeat), ServerVersion: a.cfg.Version,
	}}})
	if err := a.register(ctx, s, info, tasks, hello); err != nil {
		return apiError(err)
	}
	var sending sync.WaitGroup
	sending.Go(func() { a.transmit(ctx, s, stream) })
	s.end(a.receive(ctx, c, s, stream))
	sending.Wait()
	a.used.over(s)
	a.gone(s)
	return apiError(s.cause)
}

// hello checks the first message.
func (a agents) hello(c *caller, h *polderv1.Hello) (cluster.NodeInfo, []cluster.TaskReport, error) {
	if h == nil {
		return cluster.NodeInfo{}, nil, invalid("hello", "the first message must be a hello")
	}
	if err := auth.CheckNode(c.id, h.Node); err != nil {
		return cluster.NodeInfo{}, nil, err
	}
	if h.Epoch > a.lead.Term() {
		return cluster.NodeInfo{}, nil, refused("StaleLeader", "connect again", "node %s has obeyed leader epoch %d, this is epoch %d",
			h.Node, h.Epoch, a.lead.Term())
	}
	if err := bound(h, a.cfg.Now()); err != nil {
		return cluster.NodeInfo{}, nil, fmt.Errorf("hello of node %s: %w", h.Node, err)
	}
	info, err := helloCore(h)
	if err != nil {
		return info, nil, err
	}
	tasks := make([]cluster.TaskReport, 0, len(h.Tasks))
	for i, r := range h.Tasks {
		t, err := agentReport(h.Node, r, a.interned)
		if err != nil {
			return info, nil, fmt.Errorf("%s: %w", role.JoinIndex("hello.tasks", i), err)
		}
		tasks = append(tasks, t)
	}
	return info, tasks, nil
}

// interned looks an ask up in the newest picture.
func (a agents) interned(ask string) (cluster.Shape, *polderv1.TaskSpec, bool) {
	row, ok := a.board.look().asks.Get(ask)
	spec := specOf(row.Payload)
	return row.Shape, spec, ok && spec != nil
}

// register makes the session the node's one and tells the cluster what is on the node.
func (a agents) register(ctx context.Context, s *session, info cluster.NodeInfo, tasks []cluster.TaskReport, h *polderv1.Hello) error {
	refusal := make(chan error, 1)
	err := a.feed(ctx, func(t *turn) error {
		if old := t.sessions[s.node]; old != nil {
			old.end(connect.NewError(connect.CodeAborted, fmt.Errorf("node %s has connected again elsewhere", s.node)))
		}
		extra := t.extras[s.node]
		extra.Runtimes, extra.Away, extra.Version, extra.Warnings = h.Runtimes, h.Away, h.Version, h.Warnings
		extra.VolumeDir = h.Volumes
		if extra.Registered.IsZero() {
			extra.Registered = t.now
		}
		t.extras[s.node], t.sessions[s.node] = extra, s
		s.seen = t.lastSeen(s.node)
		s.seen.Store(t.now.UnixNano())
		_, err := t.step(cluster.Register{Node: info, Tasks: t.settledAll(s.node, tasks)})
		if err != nil {
			delete(t.sessions, s.node)
		} else {
			delete(t.awaited, s.node)
			delete(t.lostAt, s.node)
		}
		refusal <- err
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case err := <-refusal:
		return err
	case <-a.ctx.Done():
		return errStopped
	}
}

// lastSeen is when a node's agent last said something. Sessions write it, readers read it.
func (l *leader) lastSeen(node string) *atomic.Int64 {
	at := l.seen[node]
	if at == nil {
		at = new(atomic.Int64)
		l.seen[node] = at
	}
	return at
}

// gone tells the cluster that a session is over, unless another has replaced it.
func (a agents) gone(s *session) {
	a.feed(a.ctx, func(t *turn) error { // fails only when the leader stops
		if t.sessions[s.node] != s {
			return nil
		}
		delete(t.sessions, s.node)
		t.away(s.node)
		_, err := t.step(cluster.Disconnect{Node: s.node})
		return err
	})
}

// transmit sends what is queued until the session ends.
func (a agents) transmit(ctx context.Context, s *session, stream *connect.BidiStream[polderv1.AgentMessage, polderv1.ServerMessage]) {
	for {
		select {
		case <-s.ended:
			return
		case <-a.ctx.Done():
			s.end(errStopped)
		case <-ctx.Done():
			s.end(context.Cause(ctx))
		case <-s.wake:
			a.sendAll(s, stream)
		}
	}
}

// sendAll sends what waits now. What is left when the session ends is for the next one, which is told everything.
func (a agents) sendAll(s *session, stream *connect.BidiStream[polderv1.AgentMessage, polderv1.ServerMessage]) {
	for _, m := range s.queued() {
		select {
		case <-s.ended:
			return
		default:
		}
		if err := stream.Send(m); err != nil {
			s.end(err)
		}
	}
}

// receive feeds what the agent says to the writer until the agent is silent for three heartbeats.
func (a agents) receive(ctx context.Context, c *caller, s *session, stream *connect.BidiStream[polderv1.AgentMessage, polderv1.ServerMessage]) error {
	for {
		c.readWithin(missedBeats * a.cfg.Heartbeat)
		m, err := stream.Receive()
		if err != nil {
			return a.silence(s, err)
		}
		s.seen.Store(a.cfg.Now().UnixNano())
		if err := a.take(ctx, s, m); err != nil {
			return err
		}
	}
}

// silence says why nothing more can be read.
func (a agents) silence(s *session, err error) error {
	select {
	case <-s.ended:
		return s.cause
	default:
	}
	if errors.Is(err, errReadTimeout) {
		return connect.NewError(connect.CodeDeadlineExceeded, fmt.Errorf("node %s was silent for %v", s.node, missedBeats*a.cfg.Heartbeat))
	}
	return err
}

// take feeds one message to the writer.
func (a agents) take(ctx context.Context, s *session, m *polderv1.AgentMessage) error {
	if beat, ok := m.Body.(*polderv1.AgentMessage_Heartbeat); ok {
		a.used.said(s, beat.Heartbeat)
		return nil
	}
	if err := boundReport(m, a.cfg.Now()); err != nil {
		return err
	}
	switch body := m.Body.(type) {
	case *polderv1.AgentMessage_Report:
		report, err := agentReport(s.node, body.Report, a.interned)
		if err != nil {
			return err
		}
		return a.feedFrom(ctx, s, func(t *turn) error { return t.reported(s.node, report) })
	case *polderv1.AgentMessage_Notice:
		return a.noticed(ctx, s, body.Notice)
	case *polderv1.AgentMessage_Event:
		return a.feedFrom(ctx, s, func(t *turn) error { t.agentEvent(s.node, body.Event); return nil })
	case *polderv1.AgentMessage_Runtimes:
		return a.feedFrom(ctx, s, func(t *turn) error { return t.runtimesAway(s.node, body.Runtimes.Away) })
	}
	return invalid("", "want a report, a notice, a heartbeat or an event, not %T", m.Body)
}

// feedFrom is feed for a session: what it says no longer counts once another session has replaced it. What the cluster
// refuses is noted; the agent has nothing to do about it.
func (a agents) feedFrom(ctx context.Context, s *session, f func(*turn) error) error {
	return a.feed(ctx, func(t *turn) error {
		if t.sessions[s.node] != s {
			return nil
		}
		if err := f(t); err != nil {
			t.log.Warn("report refused", "node", s.node, "error", err)
		}
		return nil
	})
}

// clip cuts text to n bytes, at a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
