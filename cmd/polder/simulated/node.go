package simulated

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/door"
)

const (
	heartbeat = 4 * time.Second
	reconnect = time.Second
)

// node is one machine that is not there. One goroutine owns it.
type node struct {
	hello  *polderv1.Hello
	chance *rand.Rand
	tasks  map[string]*task
	send   func(*polderv1.AgentMessage) error
}

// task is on a node. What comes next for it happens at due; the zero time is never.
type task struct {
	report *polderv1.TaskReport
	due    time.Time
	next   func()
	endsBy time.Time // when its sleep is over; zero runs until it is stopped
}

func newNode(i int) *node {
	return &node{
		hello: &polderv1.Hello{
			Node: fmt.Sprintf("sim-%d", i), Ports: "31000-31499", Runtimes: []string{runtimeName}, Version: "simulated",
			Capacity:   map[string]string{"cpu": strconv.Itoa(cpus), "memory": fmt.Sprintf("%dGi", gibis)},
			Attributes: map[string]string{"simulated": "true", "zone": string(rune('a' + i%3)), "rack": "r" + strconv.Itoa(i/40+1)},
		},
		chance: rand.New(rand.NewPCG(uint64(i), 1)), tasks: map[string]*task{},
	}
}

// run keeps a session open until ctx ends.
func (n *node) run(ctx context.Context, api *door.API) {
	ctx = door.As(ctx, door.Caller{Identity: auth.Identity{Kind: auth.Agent, Name: n.hello.Node}})
	for ctx.Err() == nil {
		_ = n.session(ctx, api) // whatever ended it, the next one says everything again
		select {
		case <-ctx.Done():
		case <-time.After(reconnect + time.Duration(n.chance.Int64N(int64(reconnect)))):
		}
	}
}

func (n *node) session(ctx context.Context, api *door.API) error {
	ctx, cancel := context.WithCancel(ctx)
	stream := api.Agents.Session(ctx)
	n.send = stream.Send
	n.hello.Tasks = nil
	for _, t := range n.tasks {
		n.hello.Tasks = append(n.hello.Tasks, t.report)
	}
	if err := stream.Send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Hello{Hello: n.hello}}); err != nil {
		cancel()
		return err
	}
	orders := make(chan *polderv1.ServerMessage)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(orders)
		for {
			m, err := stream.Receive()
			if err != nil {
				return
			}
			select {
			case orders <- m:
			case <-ctx.Done():
				return
			}
		}
	})
	err := n.work(ctx, orders)
	cancel()
	_ = stream.CloseRequest()
	_ = stream.CloseResponse()
	reading.Wait()
	return err
}

// work obeys orders and lets tasks go on, until the session ends.
func (n *node) work(ctx context.Context, orders <-chan *polderv1.ServerMessage) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m, ok := <-orders:
			if !ok {
				return nil
			}
			n.obey(m)
		case <-alarm.C:
			n.goOn()
		case <-beat.C:
			if err := n.send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Heartbeat{Heartbeat: &polderv1.Heartbeat{}}}); err != nil {
				return err
			}
		}
		alarm.Reset(n.untilDue())
	}
}

func (n *node) untilDue() time.Duration {
	first := time.Now().Add(time.Hour)
	for _, t := range n.tasks {
		if !t.due.IsZero() && t.due.Before(first) {
			first = t.due
		}
	}
	return max(time.Until(first), time.Millisecond)
}

// goOn does what is due.
func (n *node) goOn() {
	now := time.Now()
	for _, t := range n.tasks {
		if !t.due.IsZero() && !t.due.After(now) {
			t.due = time.Time{}
			t.next()
		}
	}
}

func (n *node) obey(m *polderv1.ServerMessage) {
	switch b := m.Body.(type) {
	case *polderv1.ServerMessage_Launch:
		n.launch(b.Launch)
	case *polderv1.ServerMessage_Stop:
		n.with(b.Stop.Task, func(t *task) { n.stop(t, b.Stop) })
	case *polderv1.ServerMessage_Notice:
		n.with(b.Notice.GetNotice().GetTask(), func(t *task) { n.notice(t, b.Notice) })
	case *polderv1.ServerMessage_Withdraw:
		n.with(b.Withdraw.Task, func(t *task) {
			t.report.Notice = nil
			n.settle(t)
			n.tell(t)
		})
	case *polderv1.ServerMessage_Ack:
		delete(n.tasks, b.Ack.Task)
	case *polderv1.ServerMessage_Funding:
		n.with(b.Funding.Task, func(t *task) { t.report.Assignment.Funding = b.Funding.Funding })
	case *polderv1.ServerMessage_Resize:
		n.with(b.Resize.Task, func(t *task) { t.report.Assignment.Resources = b.Resize.Resources })
	}
}

// with does something to a task that is here; one that is not is reported lost.
func (n *node) with(id string, f func(*task)) {
	if t := n.tasks[id]; t != nil {
		f(t)
		return
	}
	n.report(&polderv1.TaskReport{Assignment: &polderv1.Assignment{Task: id}, State: polderv1.TaskState_TASK_STATE_LOST})
}

func (n *node) launch(a *polderv1.Assignment) {
	if t := n.tasks[a.Task]; t != nil {
		n.tell(t)
		return
	}
	t := &task{report: &polderv1.TaskReport{Assignment: a, State: polderv1.TaskState_TASK_STATE_STARTING}}
	n.tasks[a.Task] = t
	t.after(time.Duration(100+n.chance.IntN(900))*time.Millisecond, func() { n.begin(t) })
}

// begin is a task that runs from now on.
func (n *node) begin(t *task) {
	t.report.State, t.report.Started = polderv1.TaskState_TASK_STATE_RUNNING, timestamppb.Now()
	if d, ok := sleeps(t.report.Assignment.Spec); ok {
		t.endsBy = time.Now().Add(d)
	}
	n.settle(t)
	n.tell(t)
}

// sleeps is how long a task "sleep N" takes.
func sleeps(s *polderv1.TaskSpec) (time.Duration, bool) {
	if c := s.GetCommand(); len(c) == 2 && c[0] == "sleep" {
		n, err := strconv.Atoi(c[1])
		return time.Duration(n) * time.Second, err == nil
	}
	return 0, false
}

func (t *task) after(d time.Duration, next func()) { t.due, t.next = time.Now().Add(d), next }

// settle is a task that nobody wants anything of: it ends when its sleep is over.
func (n *node) settle(t *task) {
	t.due = time.Time{}
	if !t.endsBy.IsZero() {
		t.after(time.Until(t.endsBy), func() { n.end(t, polderv1.TaskState_TASK_STATE_SUCCEEDED, nil) })
	}
}

// notice accepts a notice; the task leaves somewhere between its first fifth and its end. One that has not started yet does so
// now: what is due next for it is to leave, and were that withdrawn it would never run.
func (n *node) notice(t *task, m *polderv1.NoticeTask) {
	if t.report.State == polderv1.TaskState_TASK_STATE_STARTING {
		n.begin(t)
	}
	grace := m.Grace.AsDuration()
	own := m.Notice
	own.Deadline = timestamppb.New(time.Now().Add(grace))
	t.report.Notice = own
	n.say(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Notice{Notice: &polderv1.NoticeReport{
		Notice: own.Id, Task: own.Task, Accepted: true, Deadline: own.Deadline,
	}}})
	part := 0.2 + 0.9*n.chance.Float64()
	state := "left"
	if part >= 1 {
		part, state = 1, "expired"
	}
	t.after(time.Duration(part*float64(grace)), func() {
		own.State = state
		n.end(t, polderv1.TaskState_TASK_STATE_RECLAIMED, &polderv1.Reason{Code: "Reclaimed", Message: "made room for " + own.Claimant})
	})
}

func (n *node) stop(t *task, m *polderv1.StopTask) {
	state := polderv1.TaskState_TASK_STATE_KILLED
	if m.GetReason().GetCode() == "Done" {
		state = polderv1.TaskState_TASK_STATE_RECLAIMED
	}
	t.after(time.Duration(50+n.chance.IntN(400))*time.Millisecond, func() { n.end(t, state, m.Reason) })
}

func (n *node) end(t *task, state polderv1.TaskState, why *polderv1.Reason) {
	t.report.State, t.report.Reason, t.report.Ended = state, why, timestamppb.Now()
	if state == polderv1.TaskState_TASK_STATE_SUCCEEDED {
		t.report.ExitCode = new(int32)
	}
	t.due = time.Time{}
	n.tell(t)
}

func (n *node) tell(t *task) { n.report(t.report) }

func (n *node) report(r *polderv1.TaskReport) {
	n.say(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Report{Report: r}})
}

// say sends; when that fails the session ends, and the next one tells all of it.
func (n *node) say(m *polderv1.AgentMessage) { _ = n.send(m) }
