package swarm

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"
)

// Error is an answer other than success, in the Engine API's words.
type Error struct {
	Status  int
	Message string
}

// Error is the message.
func (e *Error) Error() string { return e.Message }

func fail(status int, format string, args ...any) *Error {
	return &Error{status, fmt.Sprintf(format, args...)}
}

// clip keeps what a client sent from filling an answer.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// words are an error's, without the code of the native API.
func words(err error) string {
	var call *connect.Error
	if errors.As(err, &call) {
		return call.Message()
	}
	return err.Error()
}
