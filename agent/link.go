package agent

import (
	"context"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// Link is the way to the server. The usual one joins with a token and dials over TLS; an agent in the server's own
// process, or in a test, may have another. Every method may be called from any goroutine.
type Link interface {
	// Join makes sure that the agent has a certificate. It is called before every session and returns at once when
	// there is one. An error that [ErrRefused] matches is final.
	Join(ctx context.Context) error
	// Session opens the agent's session; it ends when ctx is done.
	Session(ctx context.Context) (Stream[polderv1.AgentMessage, polderv1.ServerMessage], error)
	// Relay opens one log or exec stream; it ends when ctx is done.
	Relay(ctx context.Context) (Stream[polderv1.RelayUp, polderv1.RelayDown], error)
}

// Stream is a conversation. Send and Receive may be called at the same time, each from one goroutine.
type Stream[Up, Down any] interface {
	Send(*Up) error
	// Receive blocks for the next message; io.EOF when the server has said everything.
	Receive() (*Down, error)
	// CloseRequest says that nothing more is sent. It may be called at any time; a blocked Send fails.
	CloseRequest() error
	// CloseResponse lets go of the stream.
	CloseResponse() error
}
