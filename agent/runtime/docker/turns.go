package docker

import (
	"context"
	"runtime"
	"time"

	"github.com/moby/moby/client"
)

// turns let so many containers be made or started at a time. That costs processor time, in the engine, its shims and the kernel; more of
// them at once than there are processors only get in each other's way: many starts on two processors took a seventh more of it
// eight at a time than two at a time.
type turns chan struct{}

// slowTurn is how long a turn lasts. What waits for something else, such as a volume's driver, must not hold up the others.
const slowTurn = 5 * time.Second

func newTurns() turns { return make(turns, max(2, runtime.NumCPU())) }

// do waits for a turn and does something in it.
func (t turns) do(ctx context.Context, work func() error) error {
	select {
	case t <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	slow := time.AfterFunc(slowTurn, func() { <-t })
	defer func() {
		if slow.Stop() {
			<-t
		}
	}()
	return work()
}

// begin has the engine start a container, in a turn.
func (r *Runtime) begin(ctx context.Context, id string) error {
	return r.turns.do(ctx, func() error {
		_, err := r.api.ContainerStart(ctx, id, client.ContainerStartOptions{})
		return err
	})
}
