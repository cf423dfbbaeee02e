package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door"
	"polder.dev/polder/server/servertest"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// tell is a tracer that has taken events, written as "second kind subject", and the spans it made.
func tell(t *testing.T, sampler sdk.Sampler, events ...string) (*Tracer, tracetest.SpanStubs) {
	t.Helper()
	kept := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(kept), sdk.WithSampler(sampler))
	tracer := New(provider.Tracer("test"))
	for _, text := range events {
		var second int
		e := &polderv1.Event{Role: "corp/search", Node: "n1"}
		if _, err := fmt.Sscan(text, &second, &e.Kind, &e.Subject); err != nil {
			t.Fatal(err)
		}
		e.Time, e.Message = timestamppb.New(noon.Add(time.Duration(second)*time.Second)), text
		tracer.Take(e)
	}
	return tracer, kept.GetSpans()
}

// TestOneTrace: from the ask to its end everything is one trace, below its root, with the times of the events.
func TestOneTrace(t *testing.T) {
	_, spans := tell(t, sdk.AlwaysSample(), "0 AskSubmitted web-1", "3 TaskStarting web-1.0", "5 TaskStarted web-1.0", "5 TaskStarted web-1.0", "20 NoticeSent web-1.0",
		"25 NoticeWithdrawn web-1.0", "30 NoticeSent web-1.0", "40 TaskReclaimed web-1.0", "60 TaskStarting web-1.0.1", "61 TaskFailed web-1.0.1", "70 TaskStarting other-1.0", "71 TaskStarted other-1.0")
	var got []string
	for _, s := range spans {
		got = append(got, fmt.Sprintf("%s %v-%v %s", s.Name, s.StartTime.Sub(noon).Seconds(), s.EndTime.Sub(noon).Seconds(), s.Status.Code))
		if s.SpanContext.TraceID() != spans[0].SpanContext.TraceID() || s.Name != spans[0].Name && s.Parent.SpanID() != spans[0].SpanContext.SpanID() {
			t.Errorf("%s is not below the root", s.Name)
		}
	}
	want := []string{"ask web-1 0-0 Unset", "wait for a decision 0-3 Unset", "start on the node 3-5 Unset", "leave 20-25 Unset", "leave 30-40 Unset", "run 5-40 Unset",
		"wait for a decision 40-60 Unset", "start on the node 60-61 Error"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if last := spans[len(spans)-1]; last.Status.Code != codes.Error || !strings.Contains(last.Status.Description, "TaskFailed") {
		t.Errorf("the failure is %v", last.Status)
	}
}

// TestNotSampled: an ask whose root is not sampled has no spans at all, and nothing of it is kept.
func TestNotSampled(t *testing.T) {
	tracer, spans := tell(t, sdk.NeverSample(), "0 AskSubmitted web-1", "3 TaskStarting web-1.0", "5 TaskStarted web-1.0")
	if len(spans)+len(tracer.asks)+len(tracer.tasks)+len(tracer.order) != 0 {
		t.Errorf("%d spans, %d asks, %d tasks", len(spans), len(tracer.asks), len(tracer.tasks))
	}
}

// TestAsksAreForgotten: of too many asks the oldest go.
func TestAsksAreForgotten(t *testing.T) {
	tracer := New(sdk.NewTracerProvider(sdk.WithSampler(sdk.AlwaysSample())).Tracer("test"))
	for i := range keepAsks + 10 {
		tracer.Take(&polderv1.Event{Kind: "AskSubmitted", Subject: fmt.Sprint("a-", i)})
	}
	if len(tracer.asks) != keepAsks || tracer.asks["a-9"] != nil || tracer.asks["a-10"] == nil || len(tracer.order) != keepAsks {
		t.Errorf("%d asks are kept", len(tracer.asks))
	}
}

func TestWanted(t *testing.T) {
	for env, want := range map[string]string{
		"": "false <nil>", "OTEL_EXPORTER_OTLP_ENDPOINT=http://x:4317": "true <nil>", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://x:4317": "true <nil>",
	} {
		name, value, _ := strings.Cut(env, "=")
		is, err := Wanted(func(k string) string { return map[string]string{name: value}[k] })
		if got := fmt.Sprint(is, err); got != want {
			t.Errorf("%q: %s", env, got)
		}
	}
	if _, err := Wanted(func(string) string { return "http/protobuf" }); err == nil || !strings.Contains(err.Error(), "4317") {
		t.Errorf("another protocol: %v", err)
	}
}

// TestFollowsAServer: what a real server does is heard.
func TestFollowsAServer(t *testing.T) {
	w := servertest.Start(t, nil)
	api := door.Open(w.Handler, "test")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heard := make(chan string, 10)
	kept := sdk.NewTracerProvider(sdk.WithSpanProcessor(listener{heard: heard}), sdk.WithSampler(sdk.AlwaysSample()))
	ended := make(chan bool)
	go func() { defer close(ended); follow(ctx, api, New(kept.Tracer("test")), slog.New(slog.DiscardHandler)) }()
	as := door.As(t.Context(), door.Bearer(w.Admin, ""))
	spec := &polderv1.AskSpec{Name: "web", Role: "default", Task: &polderv1.TaskSpec{Command: []string{"x"}, Resources: map[string]string{"cpu": "1"}}}
	for {
		if _, err := api.Asks.Submit(as, connect.NewRequest(&polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{spec}})); err != nil {
			t.Fatal(err)
		}
		select {
		case name := <-heard:
			if !strings.HasPrefix(name, "ask web-") {
				t.Errorf("heard of %q", name)
			}
			cancel()
			<-ended
			return
		case <-time.After(20 * time.Millisecond): // nobody followed yet
		}
	}
}

// listener says the names of spans.
type listener struct {
	sdk.SpanProcessor
	heard chan string
}

func (l listener) OnStart(context.Context, sdk.ReadWriteSpan) {}
func (l listener) OnEnd(s sdk.ReadOnlySpan) {
	select {
	case l.heard <- s.Name():
	default: // enough was heard
	}
}
