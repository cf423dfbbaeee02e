package cli

import (
	"context"
	"fmt"
	"time"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// kept is a volume or a reservation.
type kept interface {
	GetName() string
	GetState() string
	GetReason() *polderv1.Reason
}

// awaitKept waits until a volume or a reservation waits no longer, and says what it waits for; see is the command that shows it.
func awaitKept[K kept](ctx context.Context, a *app, v K, timeout time.Duration, what, see string, get func(context.Context) (K, error)) (K, error) {
	waiting := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	said, trouble, goesOn := "", 0, "It goes on: \""+see+v.GetName()+"\" shows it."
	for v.GetState() == "waiting" {
		if line := "waiting: " + why(v.GetReason()); line != said && v.GetReason() != nil {
			said = line
			fmt.Fprintln(a.Err, clean(line))
		}
		next, err := get(waiting)
		switch {
		case err == nil:
			v, trouble = next, 0
		case waiting.Err() == nil && passing(err) && trouble < reconnects:
			trouble++
		case interrupted(err) && ctx.Err() != nil:
			return v, fail(exitInterrupted, goesOn, "stopped waiting for %s %s", what, v.GetName())
		case interrupted(err):
			return v, fail(exitTimeout, goesOn, "%s %s is not ready in %s", what, v.GetName(), shortDuration(timeout))
		default:
			return v, err
		}
		if err := pause(waiting, a.poll<<min(trouble, 4)); err != nil && ctx.Err() != nil {
			continue // the next look says so
		}
	}
	return v, nil
}
