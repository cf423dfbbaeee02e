// Package fake is a runtime without a machine: tasks are scripts of when they end and how they take signals.
//
// It keeps the promises of the real ones, uses no clock but package time, starts no process, and never blocks outside
// of channels and timers, so it runs under testing/synctest. It is not a simulator of resource use: Usage is what the
// script says. Every method may be called from any goroutine.
package fake

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"polder.dev/polder/agent/runtime"
)

// Script is how one task behaves. The zero script runs until it is signalled or killed.
type Script struct {
	PrepareTakes time.Duration
	PrepareErr   error // what Prepare returns
	StartErr     error // what Start returns, wrapped as [runtime.ErrStart]

	ExitAfter  time.Duration // 0: does not end by itself, unless ExitAtOnce
	ExitAtOnce bool
	ExitCode   int

	Ignore    []syscall.Signal                      // signals the task takes no notice of
	StopTakes time.Duration                         // from a signal to the end it causes
	StopCode  int                                   // its exit code then; 0 is 128 + the signal
	OnSignal  func(taskID string, s syscall.Signal) // told of every signal, called without locks

	Stdout, Stderr string            // written the moment the task starts
	Main           func(Console) int // runs from the start on; the task ends with its code. It must end when Done is closed
	Usage          runtime.Usage
	Exec           func(runtime.ExecOptions) (int, error) // nil: every command succeeds silently
}

// Runtime is the fake. Make one with [New].
type Runtime struct {
	script func(runtime.Spec) Script

	mu     sync.Mutex
	tasks  map[string]*task
	starts map[string]int
	down   bool
	closed chan struct{}
}

type task struct {
	spec   runtime.Spec
	script Script
	status runtime.Status
	done   chan struct{} // closed when it has ended
	endAt  time.Time     // the end it is heading for, zero if none
	end    *time.Timer
	output [2]*output // standard output and error

	// Of an interactive task.
	stdin  *io.PipeReader
	input  *io.PipeWriter
	resize chan runtime.Size
}

// New returns an empty machine. script picks the behaviour of each task when it is prepared or started; nil means the
// zero [Script] for all.
func New(script func(runtime.Spec) Script) *Runtime {
	if script == nil {
		script = func(runtime.Spec) Script { return Script{} }
	}
	return &Runtime{script: script, tasks: map[string]*task{}, starts: map[string]int{}, closed: make(chan struct{})}
}

// Name is "fake".
func (r *Runtime) Name() string { return "fake" }

// SetDown makes every call fail with [runtime.ErrUnavailable] until it is called with false; running tasks go on.
func (r *Runtime) SetDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

// Ping fails while the fake is down.
func (r *Runtime) Ping(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return unavailable("ping", "")
	}
	return nil
}

// Starts is how often the task was really started: more than 1 is a bug of the caller or of this package.
func (r *Runtime) Starts(taskID string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.starts[taskID]
}

// Lose makes a running task vanish the way a reboot does.
func (r *Runtime) Lose(taskID, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.tasks[taskID]; t != nil {
		r.finish(t, runtime.LostExit(reason))
	}
}

// Prepare takes as long as the script says.
func (r *Runtime) Prepare(ctx context.Context, spec runtime.Spec, progress func(runtime.Progress)) error {
	if err := r.check("prepare", spec); err != nil {
		return err
	}
	s := r.script(spec)
	if progress != nil {
		progress(runtime.Progress{Step: "pulling", Item: spec.Image})
	}
	if err := sleep(ctx, s.PrepareTakes); err != nil {
		return err
	}
	if s.PrepareErr != nil {
		return &runtime.Error{Kind: runtime.ErrImage, Op: "prepare", Task: spec.TaskID, Cause: s.PrepareErr}
	}
	if progress != nil {
		progress(runtime.Progress{Step: "ready", Item: spec.Image})
	}
	return nil
}

// Start begins the script.
func (r *Runtime) Start(_ context.Context, spec runtime.Spec) (runtime.Status, error) {
	if err := r.check("start", spec); err != nil {
		return runtime.Status{}, err
	}
	s := r.script(spec)
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.tasks[spec.TaskID]; t != nil {
		return t.status, nil
	}
	if s.StartErr != nil {
		return runtime.Status{}, &runtime.Error{Kind: runtime.ErrStart, Op: "start", Task: spec.TaskID, Cause: s.StartErr}
	}
	r.starts[spec.TaskID]++
	t := newTask(spec, s)
	t.status.PID = 1000 + len(r.starts)
	r.tasks[spec.TaskID] = t
	if s.Main != nil {
		go r.main(t)
	}
	switch {
	case s.ExitAtOnce:
		r.finish(t, runtime.ExitOf(s.ExitCode, time.Now()))
	case s.ExitAfter > 0:
		r.endIn(t, s.ExitAfter, s.ExitCode)
	}
	return t.status, nil
}

// endIn arms the end of a task, unless an earlier end is already armed. The caller holds the lock.
func (r *Runtime) endIn(t *task, d time.Duration, code int) {
	at := time.Now().Add(d)
	if t.end != nil {
		if !t.endAt.After(at) {
			return
		}
		t.end.Stop()
	}
	t.endAt = at
	t.end = time.AfterFunc(d, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.finish(t, runtime.ExitOf(code, time.Now()))
	})
}

// finish ends a task once. The caller holds the lock.
func (r *Runtime) finish(t *task, e runtime.Exit) {
	if t.status.Exit != nil {
		return
	}
	t.status.State, t.status.Exit, t.status.PID = runtime.Exited, &e, 0
	t.stdin.Close()
	for _, o := range t.output {
		o.end()
	}
	close(t.done)
}

// Wait returns when the script has ended.
func (r *Runtime) Wait(ctx context.Context, taskID string) (runtime.Exit, error) {
	r.mu.Lock()
	t, closed := r.tasks[taskID], r.closed
	r.mu.Unlock()
	if t == nil {
		return runtime.Exit{}, notFound("wait", taskID)
	}
	select {
	case <-t.done:
	case <-ctx.Done():
		return runtime.Exit{}, ctx.Err()
	case <-closed:
		return runtime.Exit{}, &runtime.Error{Kind: runtime.ErrUnavailable, Op: "wait", Task: taskID, Cause: fmt.Errorf("runtime closed")}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return *t.status.Exit, nil
}

// Signal ends the task after StopTakes, unless the script ignores the signal. SIGKILL cannot be ignored.
func (r *Runtime) Signal(_ context.Context, taskID string, sig syscall.Signal) error {
	t, err := r.lookup("signal", taskID)
	if err != nil {
		return err
	}
	if t.script.OnSignal != nil {
		t.script.OnSignal(taskID, sig)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case t.status.Exit != nil:
	case sig == syscall.SIGKILL:
		r.finish(t, runtime.ExitOf(137, time.Now()))
	case !slices.Contains(t.script.Ignore, sig):
		r.stop(t, sig)
	}
	return nil
}

func (r *Runtime) stop(t *task, sig syscall.Signal) {
	code := t.script.StopCode
	if code == 0 {
		code = 128 + int(sig)
	}
	if t.script.StopTakes == 0 {
		r.finish(t, runtime.ExitOf(code, time.Now()))
		return
	}
	r.endIn(t, t.script.StopTakes, code)
}

// Kill ends the task now.
func (r *Runtime) Kill(ctx context.Context, taskID string) error {
	return r.Signal(ctx, taskID, syscall.SIGKILL)
}

// Remove forgets an ended task.
func (r *Runtime) Remove(_ context.Context, taskID string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return unavailable("remove", taskID)
	}
	t := r.tasks[taskID]
	if t != nil && t.status.Exit == nil {
		return &runtime.Error{Kind: runtime.ErrInvalid, Op: "remove", Task: taskID, Cause: fmt.Errorf("it is running"), Next: "kill it first"}
	}
	delete(r.tasks, taskID)
	return nil
}

// List returns every task in order of id.
func (r *Runtime) List(context.Context) ([]runtime.Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return nil, unavailable("list", "")
	}
	list := make([]runtime.Status, 0, len(r.tasks))
	for _, t := range r.tasks {
		list = append(list, t.status)
	}
	slices.SortFunc(list, func(a, b runtime.Status) int { return strings.Compare(a.TaskID, b.TaskID) })
	return list, nil
}

// Logs copies the script's output; with Follow it returns when the task has ended.
func (r *Runtime) Logs(ctx context.Context, taskID string, opt runtime.LogOptions, stdout, stderr io.Writer) error {
	t, err := r.lookup("logs", taskID)
	if err != nil {
		return err
	}
	return t.copyOutput(ctx, stdout, stderr, opt.Follow, func(o *output) int { return o.tail(opt.Tail) })
}

// Exec asks the script.
func (r *Runtime) Exec(_ context.Context, taskID string, opt runtime.ExecOptions) (int, error) {
	t, err := r.running("exec", taskID)
	if err != nil || t.script.Exec == nil {
		return 0, err
	}
	return t.script.Exec(opt)
}

// Usage is what the script says, of now.
func (r *Runtime) Usage(_ context.Context, taskID string) (runtime.Usage, error) {
	t, err := r.running("usage", taskID)
	if err != nil {
		return runtime.Usage{}, err
	}
	u := t.script.Usage
	u.At = time.Now()
	return u, nil
}

// SetFunding records who pays.
func (r *Runtime) SetFunding(_ context.Context, taskID, funded, _ string) error {
	t, err := r.lookup("fund", taskID)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t.status.Funded = funded
	return nil
}

// Close fails the waits under way. Tasks run on in memory and later calls still work, as for an agent that restarts.
func (r *Runtime) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.closed)
	r.closed = make(chan struct{})
	return nil
}

func (r *Runtime) check(op string, spec runtime.Spec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return unavailable(op, spec.TaskID)
	}
	return nil
}

func (r *Runtime) lookup(op, taskID string) (*task, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return nil, unavailable(op, taskID)
	}
	if t := r.tasks[taskID]; t != nil {
		return t, nil
	}
	return nil, notFound(op, taskID)
}

func (r *Runtime) running(op, taskID string) (*task, error) {
	t, err := r.lookup(op, taskID)
	if err != nil {
		return nil, err
	}
	select {
	case <-t.done:
		return nil, &runtime.Error{Kind: runtime.ErrNotRunning, Op: op, Task: taskID}
	default:
		return t, nil
	}
}

func notFound(op, taskID string) error {
	return &runtime.Error{Kind: runtime.ErrNotFound, Op: op, Task: taskID}
}

func unavailable(op, taskID string) error {
	return &runtime.Error{Kind: runtime.ErrUnavailable, Op: op, Task: taskID, Cause: fmt.Errorf("the fake machine is down")}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
