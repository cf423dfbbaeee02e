package runtime

import (
	"context"
	"fmt"
	"net"
	"regexp"
)

// Container is a container a door made for its users. It is made once, started by one task after the other, and removed by
// its users: it does not end with a task.
type Container struct {
	ID      string `json:"id"`                // the door's: 64 hexadecimal digits, the same on every node
	Role    string `json:"role"`              // of its tasks
	Name    string `json:"name,omitempty"`    // in the engine
	Create  []byte `json:"create"`            // body of the engine's create call
	Version string `json:"version,omitempty"` // of the engine's protocol; empty is the newest it speaks
	// Platform of the image; empty is the engine's own.
	Platform string `json:"platform,omitempty"`
	// Sandbox is the directory of the machine that the container sees, as in [Spec].
	Sandbox string `json:"sandbox,omitempty"`
	// Node is the name of the node, for the container's environment.
	Node string `json:"node,omitempty"`
}

var containerID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Validate checks what becomes part of a path or a URL.
func (c Container) Validate() error {
	if !containerID.MatchString(c.ID) {
		return &Error{Kind: ErrInvalid, Op: "container", Cause: fmt.Errorf("id %q is not 64 hexadecimal digits", c.ID)}
	}
	return nil
}

// Engine is a runtime on top of a container engine that doors talk to.
type Engine interface {
	// Dial connects to the engine.
	Dial(ctx context.Context) (net.Conn, error)
	// Create makes a container and starts nothing. What the engine answered is returned as it is.
	Create(ctx context.Context, c Container) (status int, body []byte, err error)
	// Recorded says that the end of a task in the container cannot be forgotten any more: one that is to go with its task goes
	// now.
	Recorded(ctx context.Context, id string) error
	// Containers returns the ids of the containers made for doors that are there.
	Containers(ctx context.Context) ([]string, error)
}
