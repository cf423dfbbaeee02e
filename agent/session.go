package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"polder.dev/polder/agent/runtime"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
)

const (
	reconnectFirst   = 500 * time.Millisecond
	reconnectMost    = 15 * time.Second
	welcomeTimeout   = 15 * time.Second
	defaultHeartbeat = 5 * time.Second
)

type sessionStream = Stream[polderv1.AgentMessage, polderv1.ServerMessage]

// connect keeps a session open until ctx is done. It returns an error only when the server will never let the agent in.
func (a *Agent) connect(ctx context.Context) error {
	link := a.c.Link
	if link == nil {
		d, err := newDialer(a.c)
		if err != nil {
			return err
		}
		link = d
		defer d.close()
		a.running.Go(func() { d.renew(ctx) })
		defer a.openGate(d)()
	}
	wait := reconnectFirst
	for {
		welcomed, err := a.session(ctx, link)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, ErrRefused) {
			return err
		}
		round := true
		if d, ok := link.(*dialer); ok {
			round = d.turn()
		}
		if welcomed {
			wait, round = reconnectFirst, false
		}
		a.c.Logger.Warn("no session with the server; tasks go on and deadlines are kept", "error", err, "again", wait)
		if pause(ctx, a.c.Jitter(wait)) != nil {
			return nil
		}
		if round {
			wait = min(2*wait, reconnectMost)
		}
	}
}

// session is one session, from joining to its end. welcomed says whether the server let the agent in.
func (a *Agent) session(run context.Context, link Link) (welcomed bool, err error) {
	if err := link.Join(run); err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(run)
	defer cancel()
	stream, err := link.Session(ctx)
	if err != nil {
		return false, err
	}
	defer stream.CloseResponse()
	defer hangUp(ctx, stream)()
	a.outbox.reset()
	if err := stream.Send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Hello{Hello: a.hello()}}); err != nil {
		return false, sendError(stream, err)
	}
	s := &session{a: a, run: run, link: link, stream: stream, told: map[string]*polderv1.NoticeReport{}}
	welcome, err := s.welcome(cancel)
	if err != nil {
		return false, err
	}
	a.c.Logger.Info("connected", "epoch", s.epoch, "server", welcome.ServerVersion)
	wrote := make(chan error, 1)
	a.running.Go(func() {
		err := s.write(ctx, welcome.Heartbeat.AsDuration())
		cancel() // ends the reader
		wrote <- err
	})
	err = s.read(ctx)
	cancel()
	return true, errors.Join(<-wrote, err)
}

// hangUp closes the way up as soon as ctx is done. A transport that waits for something to send looks at no context: without
// it neither a blocked Send nor a blocked Receive would end. The function it returns closes it now.
func hangUp(ctx context.Context, stream interface{ CloseRequest() error }) (now func()) {
	stop := context.AfterFunc(ctx, func() { _ = stream.CloseRequest() })
	return func() {
		if stop() {
			_ = stream.CloseRequest()
		}
	}
}

// sendError is what the server said when it hung up; a failed Send itself only says that it did.
func sendError(stream sessionStream, err error) error {
	if _, said := stream.Receive(); said != nil {
		return said
	}
	return err
}

// hello is the machine and everything on it, as it is now.
func (a *Agent) hello() *polderv1.Hello {
	h := &polderv1.Hello{
		Node: a.c.Node, Attributes: a.c.Attributes, Capacity: map[string]string{}, Ports: a.c.Ports.String(),
		Version: a.c.Version, Epoch: a.epoch.Load(), Volumes: volumesDir(a.c.Dir),
	}
	for name, amount := range a.capacity {
		h.Capacity[name] = resource.FormatValue(name, amount)
	}
	for _, r := range a.c.Runtimes {
		h.Runtimes = append(h.Runtimes, r.Name())
	}
	for _, t := range a.all() {
		if r := t.view.Load().report; r != nil {
			h.Tasks = append(h.Tasks, r)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	h.Away = a.away
	for _, subject := range slices.Sorted(maps.Keys(a.warnings)) {
		h.Warnings = append(h.Warnings, a.warnings[subject])
	}
	return h
}

// session is one connection to one leader.
type session struct {
	a      *Agent
	run    context.Context // of the agent: tasks outlive the session
	link   Link
	stream sessionStream
	epoch  int64
	told   map[string]*polderv1.NoticeReport // by task: what the server knows already
}

// welcome waits for the leader's first word and accepts it, or not.
func (s *session) welcome(cancel func()) (*polderv1.Welcome, error) {
	late := time.AfterFunc(welcomeTimeout, cancel)
	m, err := s.stream.Receive()
	if !late.Stop() {
		return nil, fmt.Errorf("the server did not answer within %v", welcomeTimeout)
	}
	if err != nil {
		return nil, err
	}
	w := m.GetWelcome()
	if w == nil {
		return nil, errors.New("the server's first message is not a welcome; do agent and server have the same version?")
	}
	s.epoch = w.Epoch
	return w, s.a.obey(w.Epoch)
}

// read hands the server's commands to their tasks, in order, until the stream ends.
func (s *session) read(ctx context.Context) error {
	for {
		m, err := s.stream.Receive()
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		s.dispatch(ctx, m)
	}
}

// dispatch is the table of everything the server can say after its welcome.
func (s *session) dispatch(ctx context.Context, m *polderv1.ServerMessage) {
	switch b := m.Body.(type) {
	case *polderv1.ServerMessage_Launch:
		s.launch(ctx, b.Launch)
	case *polderv1.ServerMessage_Stop:
		s.command(ctx, b.Stop.Task, stopFrom(b.Stop))
	case *polderv1.ServerMessage_Notice:
		if b.Notice.Notice != nil {
			s.command(ctx, b.Notice.Notice.Task, noticeCommand{b.Notice.Notice, b.Notice.Grace.AsDuration()})
		}
	case *polderv1.ServerMessage_Withdraw:
		s.command(ctx, b.Withdraw.Task, b.Withdraw)
	case *polderv1.ServerMessage_Ack:
		if s.a.task(b.Ack.Task) != nil {
			s.command(ctx, b.Ack.Task, b.Ack)
		}
	case *polderv1.ServerMessage_Funding:
		s.command(ctx, b.Funding.Task, b.Funding)
	case *polderv1.ServerMessage_Resize:
		s.command(ctx, b.Resize.Task, b.Resize)
	case *polderv1.ServerMessage_Relay:
		s.a.running.Go(func() { s.a.relay(s.run, s.link, b.Relay) })
	default:
		s.a.c.Logger.Warn("ignored a message of the server that this version does not know")
	}
}

// command goes to the task it is for. A task that is not here is reported lost, so that nobody waits for it.
func (s *session) command(ctx context.Context, id string, body any) {
	if t := s.a.task(id); t != nil {
		t.post(ctx, command{s.epoch, body})
		return
	}
	s.refuse(&polderv1.Assignment{Task: id}, polderv1.TaskState_TASK_STATE_LOST, "UnknownTask", "node "+s.a.c.Node+" does not have this task")
}

// launch makes a task of an assignment, once.
func (s *session) launch(ctx context.Context, m *polderv1.Assignment) {
	a := s.a
	if !runtime.ValidTaskID(m.Task) {
		s.refuse(m, polderv1.TaskState_TASK_STATE_FAILED, "InvalidTask", fmt.Sprintf("%q cannot name a task", m.Task))
		return
	}
	a.mu.Lock()
	t, stopping := a.tasks[m.Task], a.stopping
	if t == nil && !stopping {
		fresh := a.newTask(&record{Assignment: m, State: polderv1.TaskState_TASK_STATE_STARTING})
		fresh.restored = false
		a.tasks[m.Task] = fresh
		a.running.Go(func() { fresh.run(s.run) })
	}
	a.mu.Unlock()
	switch {
	case t != nil:
		t.post(ctx, command{s.epoch, m})
	case stopping:
		s.refuse(m, polderv1.TaskState_TASK_STATE_LOST, "NodeStopped", "the agent of "+a.c.Node+" was told to stop everything")
	}
}

// refuse reports the end of a task this agent has never had.
func (s *session) refuse(m *polderv1.Assignment, state polderv1.TaskState, code, message string) {
	s.a.outbox.reply(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Report{Report: &polderv1.TaskReport{
		Assignment: m, State: state, Reason: &polderv1.Reason{Code: code, Message: message},
	}}})
}

// write sends what the outbox has, and heartbeats between, until ctx is done or a send fails.
func (s *session) write(ctx context.Context, heartbeat time.Duration) error {
	if heartbeat <= 0 {
		heartbeat = defaultHeartbeat
	}
	for _, t := range s.a.all() {
		if err := s.sendNotice(t.view.Load()); err != nil {
			return err
		}
	}
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.a.outbox.wake:
			if err := s.flush(); err != nil {
				return err
			}
		case <-ticker.C:
			s.a.running.Go(func() { s.a.measureUsage(s.run, heartbeat) })
			if err := s.heartbeat(); err != nil {
				return err
			}
		}
	}
}

func (s *session) heartbeat() error {
	return s.stream.Send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Heartbeat{
		Heartbeat: &polderv1.Heartbeat{Usage: s.a.usage.last()},
	}})
}

// flush sends everything that waits. What fails to be sent is in the next Hello.
func (s *session) flush() error {
	tasks, messages := s.a.outbox.take()
	for _, id := range tasks {
		if t := s.a.task(id); t != nil {
			if err := s.send(t.view.Load()); err != nil {
				return err
			}
		}
	}
	for _, m := range messages {
		if err := s.stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) send(v *view) error {
	if err := s.sendNotice(v); err != nil || v.report == nil {
		return err
	}
	return s.stream.Send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Report{Report: brief(v.report)}})
}

// brief is a report with no more of the assignment than its name: the server knows it from this session, because it sent it, or heard of
// it in the Hello. The last report of a task is whole: it is answered even when the server has forgotten the task.
func brief(r *polderv1.TaskReport) *polderv1.TaskReport {
	if terminal(r.State) {
		return r
	}
	return &polderv1.TaskReport{
		Assignment: &polderv1.Assignment{Task: r.Assignment.GetTask()}, State: r.State, ExitCode: r.ExitCode, Reason: r.Reason,
		Started: r.Started, Ended: r.Ended, Health: r.Health, Notice: r.Notice,
	}
}

// sendNotice tells the server about the notice of a task when there is something new.
func (s *session) sendNotice(v *view) error {
	if v.notice == nil || proto.Equal(s.told[v.notice.Task], v.notice) {
		return nil
	}
	s.told[v.notice.Task] = v.notice
	return s.stream.Send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Notice{Notice: v.notice}})
}
