package start

import (
	"context"
	"os"

	"polder.dev/polder/cmd/polder/tracing"
	"polder.dev/polder/door"
)

// tracesFront sends traces to a collector, if the environment names one.
func tracesFront(g ground) []front {
	wanted, err := tracing.Wanted(os.Getenv)
	if err == nil && !wanted {
		return nil
	}
	return []front{{"traces", func(ctx context.Context) error {
		if err != nil {
			return err
		}
		return tracing.Run(ctx, door.Open(g.server, "traces"), Version, g.log)
	}}}
}
