package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/door"
)

// The variables of OpenTelemetry that decide whether there are traces. Every other one of its exporter, its batches, its
// sampler and its resource is obeyed as well.
const (
	endpoint       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	tracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	protocol       = "OTEL_EXPORTER_OTLP_PROTOCOL"
)

// Wanted reports whether the environment names a collector. It is an error if it wants another protocol than gRPC.
func Wanted(getenv func(string) string) (bool, error) {
	if getenv(endpoint) == "" && getenv(tracesEndpoint) == "" {
		return false, nil
	}
	if p := getenv(protocol); p != "" && p != "grpc" {
		return false, fmt.Errorf("%s=%s: traces are sent by gRPC only; leave it out, and name the collector's gRPC port, usually 4317", protocol, p)
	}
	return true, nil
}

// Run reads a server's events and sends spans to the collector that the environment names, until ctx ends; then it sends what
// is left. A collector that is away loses spans, nothing else.
func Run(ctx context.Context, api *door.API, version string, log *slog.Logger) error {
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "polder"), attribute.String("service.version", version)),
		resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter, sdk.WithMaxQueueSize(1<<15)), sdk.WithResource(about))
	follow(ctx, api, New(provider.Tracer("polder.dev/polder")), log)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if err := provider.Shutdown(last); err != nil {
		log.Warn("the last spans were not sent", "error", err)
	}
	return nil
}

// follow hands every event from now on to a tracer until ctx ends. When it falls behind what the server keeps it goes on with what
// comes then.
func follow(ctx context.Context, api *door.API, t *Tracer, log *slog.Logger) {
	ctx = door.As(ctx, door.Caller{Identity: auth.Identity{Kind: auth.User, Name: "tracing", Groups: []string{auth.AdminGroup}}})
	var last int64
	for ctx.Err() == nil {
		err := watch(ctx, api, &last, t)
		if connect.CodeOf(err) == connect.CodeOutOfRange {
			log.Warn("traces have a gap: events came faster than they were read")
			last, t.tasks = 0, map[string]*task{}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// watch reads events after the last one until the stream ends, and says why it did.
func watch(ctx context.Context, api *door.API, last *int64, t *Tracer) error {
	stream, err := api.Events.Watch(ctx, connect.NewRequest(&polderv1.EventServiceWatchRequest{FromRevision: *last}))
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		*last = stream.Msg().GetRevision()
		t.Take(stream.Msg())
	}
	return stream.Err()
}
