package tracing

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// keepAsks is of how many asks the trace is remembered. Of more the oldest are forgotten: what their tasks do later is not told.
const keepAsks = 50_000

// Tracer makes spans of events.
type Tracer struct {
	tracer trace.Tracer
	asks   map[string]*ask
	order  []string // of asks, the oldest first
	tasks  map[string]*task
}

// ask is one trace.
type ask struct {
	root  trace.SpanContext
	since time.Time
}

// task is on its way or runs.
type task struct {
	ask      *ask
	since    time.Time // its last step
	running  bool
	noticed  time.Time // zero: nobody wants it to leave
	claimant string
}

// New makes a tracer that hands its spans to t.
func New(t trace.Tracer) *Tracer {
	return &Tracer{tracer: t, asks: map[string]*ask{}, tasks: map[string]*task{}}
}

// ends are the kinds of events after which a task is no more, and whether that is as it should be.
var ends = map[string]bool{"TaskSucceeded": true, "TaskKilled": true, "TaskReclaimed": true, "TaskFailed": false, "TaskLost": false}

// Take takes the next event.
func (t *Tracer) Take(e *polderv1.Event) {
	switch at, id := e.GetTime().AsTime(), e.GetSubject(); e.GetKind() {
	case "AskSubmitted":
		t.submitted(e)
	case "TaskStarting":
		if a := t.askOf(id); a != nil {
			t.span(a, e, "wait for a decision", a.since, at)
			t.tasks[id] = &task{ask: a, since: at}
		}
	case "TaskStarted":
		if x := t.tasks[id]; x != nil && !x.running {
			t.span(x.ask, e, "start on the node", x.since, at)
			x.running, x.since = true, at
		}
	case "NoticeSent":
		if x := t.tasks[id]; x != nil {
			x.noticed, x.claimant = at, e.GetMessage()
		}
	case "NoticeWithdrawn":
		if x := t.tasks[id]; x != nil {
			t.leave(x, e)
			x.noticed = time.Time{}
		}
	default:
		t.over(e)
	}
}

// submitted begins a trace. Its root is the moment of submission: nobody knows how long an ask is open.
func (t *Tracer) submitted(e *polderv1.Event) {
	at := e.GetTime().AsTime()
	_, root := t.tracer.Start(context.Background(), "ask "+e.GetSubject(), trace.WithNewRoot(), trace.WithTimestamp(at),
		trace.WithAttributes(attribute.String("polder.ask", e.GetSubject()), attribute.String("polder.role", e.GetRole()), attribute.String("polder.what", e.GetMessage())))
	root.End(trace.WithTimestamp(at))
	if !root.SpanContext().IsSampled() {
		return
	}
	t.asks[e.GetSubject()] = &ask{root: root.SpanContext(), since: at}
	t.order = append(t.order, e.GetSubject())
	for len(t.order) > keepAsks {
		delete(t.asks, t.order[0])
		t.order = t.order[1:]
	}
}

// askOf is the ask of a task, whose id is <ask>.<index> or <ask>.<index>.<attempt>; nil if it is not traced.
func (t *Tracer) askOf(task string) *ask {
	for range 2 {
		i := strings.LastIndexByte(task, '.')
		if i < 0 {
			return nil
		}
		task = task[:i]
		if a := t.asks[task]; a != nil {
			return a
		}
	}
	return nil
}

// over ends what a task did. Its ask waits again from now on, for another attempt.
func (t *Tracer) over(e *polderv1.Event) {
	x := t.tasks[e.GetSubject()]
	if _, is := ends[e.GetKind()]; x == nil || !is {
		return
	}
	at := e.GetTime().AsTime()
	if !x.noticed.IsZero() {
		t.leave(x, e)
	}
	name := "start on the node"
	if x.running {
		name = "run"
	}
	t.span(x.ask, e, name, x.since, at)
	x.ask.since = at
	delete(t.tasks, e.GetSubject())
}

// leave tells of the time under notice.
func (t *Tracer) leave(x *task, e *polderv1.Event) {
	t.span(x.ask, e, "leave", x.noticed, e.GetTime().AsTime(), attribute.String("polder.notice", x.claimant))
}

// span tells of a stretch of a task's life.
func (t *Tracer) span(a *ask, e *polderv1.Event, name string, from, to time.Time, more ...attribute.KeyValue) {
	parent := trace.ContextWithRemoteSpanContext(context.Background(), a.root)
	_, s := t.tracer.Start(parent, name, trace.WithTimestamp(from), trace.WithAttributes(append(more,
		attribute.String("polder.task", e.GetSubject()), attribute.String("polder.role", e.GetRole()),
		attribute.String("polder.node", e.GetNode()), attribute.String("polder.end", e.GetMessage()))...))
	if good, is := ends[e.GetKind()]; is && !good {
		s.SetStatus(codes.Error, e.GetMessage())
	}
	s.End(trace.WithTimestamp(to))
}
