package runtime

import (
	"context"
	"io"
	"syscall"
)

// Runtime starts, watches and ends tasks on one machine. Errors are of a kind in errors.go.
type Runtime interface {
	// Name is the runtime's word in specs, logs and node attributes: "process", "docker", "fake".
	Name() string

	// Prepare gets everything Start needs and may take long: pulling the image, say. It is idempotent. progress may be
	// nil; it is called from Prepare's own goroutine.
	Prepare(ctx context.Context, spec Spec, progress func(Progress)) error

	// Start runs the task, once: for a task id the runtime already knows it starts nothing and returns that task's
	// status, ended or not. After an error of kind [ErrStart] the task never ran and is forgotten.
	Start(ctx context.Context, spec Spec) (Status, error)

	// Wait blocks until the task has ended and says how. It works for tasks started by an earlier life of the agent,
	// may be called many times, and keeps waiting while an engine is away.
	Wait(ctx context.Context, taskID string) (Exit, error)

	// Signal sends sig to the task's main process. A task that has already ended is not an error.
	Signal(ctx context.Context, taskID string, sig syscall.Signal) error

	// Kill ends every process of the task at once. It returns when they are gone or ctx is done; an ended task is not
	// an error.
	Kill(ctx context.Context, taskID string) error

	// Remove forgets an ended task and frees what the runtime kept for it. The sandbox is the agent's and stays. A
	// running task is refused with [ErrInvalid]; an unknown one is not an error.
	Remove(ctx context.Context, taskID string) error

	// List returns every task of this agent the runtime knows, running or ended, in order of task id.
	List(ctx context.Context) ([]Status, error)

	// Logs copies the task's output to the writers; a nil writer does not want that stream. It returns when the
	// recorded output is copied or, with Follow, when the task has ended and everything it wrote is copied.
	Logs(ctx context.Context, taskID string, opt LogOptions, stdout, stderr io.Writer) error

	// Exec runs a further command beside a running task, in its namespaces and limits, and returns its exit code.
	Exec(ctx context.Context, taskID string, opt ExecOptions) (int, error)

	// Attach connects to a running task's own input and output. It returns nil when the task has ended and everything it
	// wrote is copied, and ctx's error when that is done first; the task goes on then. Input for a task whose spec is not
	// [Spec.Interactive] is [ErrInvalid].
	Attach(ctx context.Context, taskID string, opt AttachOptions) error

	// Usage samples what the task consumes now; for an ended task it is [ErrNotRunning].
	Usage(ctx context.Context, taskID string) (Usage, error)

	// Close lets go of the runtime without touching any task. Waits under way fail.
	Close() error
}

// Funder is a runtime that puts guaranteed work before borrowed work on the CPU and can change its mind about a
// running task.
type Funder interface {
	// SetFunding records who pays for the task from now on: [Guaranteed] or [Borrowed], and the funding role.
	SetFunding(ctx context.Context, taskID, funded, role string) error
}

// Pinger is a runtime whose engine may go away and come back by itself.
type Pinger interface {
	// Ping returns nil when the engine answers.
	Ping(ctx context.Context) error
}

// Noter is a runtime with something to say about this machine, for the agent to log once: a missing ability and what
// it means for tasks. Nothing to say is nil.
type Noter interface{ Notes() []string }

// Progress is a step of Prepare. Done and Total are bytes; Total is 0 while unknown.
type Progress struct {
	Step  string // "pulling", "extracting", "ready"
	Item  string // an image layer, for example; may be empty
	Done  int64
	Total int64
}

// LogOptions says which part of the output is wanted.
type LogOptions struct {
	Follow bool // stay until the task has ended
	Tail   int  // only the last so many lines of each stream (an engine may count both together); 0 is all that is kept
}

// ExecOptions is a command to run beside a task. Nil streams are empty input and discarded output.
type ExecOptions struct {
	Command []string
	Env     map[string]string // added to the task's own environment
	WorkDir string            // empty: the task's
	User    string            // empty: the task's
	TTY     bool              // one terminal; everything arrives on Stdout
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Resize  <-chan Size // terminal sizes as they change; the first may be sent before Exec is called
}

// AttachOptions say what to connect. Nil writers do not want that stream; a terminal's output all arrives on Stdout.
type AttachOptions struct {
	Logs bool // begin with what is kept of its output so far; otherwise with what it writes from now on
	// Stdin is sent to the task. Its io.EOF closes the task's input for good, except that a terminal's has no end; any other
	// error only ends the sending. An engine may end the input of a container without terminal in that case too.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan Size // as in [ExecOptions]; without a terminal it is ignored
}

// Size is a terminal's, in characters.
type Size struct{ Rows, Cols uint16 }
