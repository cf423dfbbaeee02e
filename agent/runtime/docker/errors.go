package docker

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"polder.dev/polder/agent/runtime"
)

// fail puts an engine's error into the runtime's kinds, in the engine's words. Nil stays nil, and a cancelled context
// stays what it is.
func (r *Runtime) fail(op, taskID string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case away(err):
		return &runtime.Error{Kind: runtime.ErrUnavailable, Op: op, Task: taskID, Cause: err,
			Next: "start the engine at " + r.api.DaemonHost() + " again" + r.how() + "; running tasks are found again then"}
	case errdefs.IsNotFound(err):
		return &runtime.Error{Kind: runtime.ErrNotFound, Op: op, Task: taskID, Cause: err}
	case errdefs.IsConflict(err):
		return &runtime.Error{Kind: runtime.ErrNotRunning, Op: op, Task: taskID, Cause: err}
	case errdefs.IsInvalidArgument(err):
		return &runtime.Error{Kind: runtime.ErrInvalid, Op: op, Task: taskID, Cause: err}
	}
	return &runtime.Error{Kind: errEngine, Op: op, Task: taskID, Cause: err}
}

// how says how to start the machine's own engine; of another one only its owner knows.
func (r *Runtime) how() string {
	if r.api.DaemonHost() == client.DefaultDockerHost {
		return " (systemctl start docker)"
	}
	return ""
}

// errEngine is the kind of what an engine says that none of the runtime's kinds covers.
var errEngine = errors.New("the engine failed")

// away reports whether the engine could not be reached, or went away in the middle of an answer.
func away(err error) bool {
	var network *net.OpError
	return client.IsErrConnectionFailed(err) || errdefs.IsUnavailable(err) || errors.As(err, &network) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
