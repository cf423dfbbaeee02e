package runtime

import "errors"

// The kinds of error a runtime returns; test with errors.Is. Anything else is an unexpected failure of the machine.
var (
	ErrInvalid     = errors.New("invalid")              // the spec or call can never work here
	ErrNotFound    = errors.New("task not found")       // no such task in this runtime
	ErrNotRunning  = errors.New("task is not running")  // it has ended or not begun
	ErrImage       = errors.New("image not available")  // the image is missing or cannot be pulled
	ErrStart       = errors.New("task did not start")   // command missing, no such user, port taken …
	ErrUnavailable = errors.New("engine not available") // away for now: retry
	ErrUnsupported = errors.New("not supported")        // this machine or runtime cannot do it
)

// Error names the task, what was being done, why it failed and what to do next. It matches its Kind and its cause.
type Error struct {
	Kind  error  // one of the Err… values
	Op    string // "start", "pull", "exec" …
	Task  string // task id, may be empty
	Cause error  // the reason in the words of whoever refused
	Next  string // what a person can do about it; may be empty
}

// Error reads "task t1: start: <cause>; <next step>".
func (e *Error) Error() string {
	s := e.Op + ": "
	if e.Task != "" {
		s = "task " + e.Task + ": " + s
	}
	if e.Cause != nil {
		s += e.Cause.Error()
	} else {
		s += e.Kind.Error()
	}
	if e.Next != "" {
		s += "; " + e.Next
	}
	return s
}

// Unwrap lets errors.Is find the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}
