package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/cgroup"
)

// Options configure a [Runtime].
type Options struct {
	StateDir string       // the runtime's own, made if missing; one runtime at a time
	Tree     *cgroup.Tree // nil: no limits, no shares
	LogBytes int64        // kept of each output stream, give or take as much again; 0 is 16 MiB
	// User is whom tasks run as that name nobody, as in [runtime.Spec]. Unless it is root, no task may be root. Empty is
	// the agent's own user, and no such bound.
	User string
}

// Runtime runs tasks as processes. Make one with [New].
type Runtime struct {
	opt   Options
	tree  *cgroup.Tree
	exe   string
	boot  string
	ns    bool // namespaces can be made
	notes []string
	guard *os.File // lock on the state directory

	mu     sync.Mutex
	tasks  map[string]*task
	closed chan struct{}
	owned  sync.WaitGroup // watchers and the log trimmer
}

// task is one task in memory. Fields but status and procs are fixed once ready is closed.
type task struct {
	id    string
	dir   string
	rec   *record
	ready chan struct{} // closed when starting succeeded or failed
	err   error         // why it failed; the task is then forgotten
	done  chan struct{} // closed when it has ended
	pidfd *os.File      // of the supervisor; nil if it had ended when found

	procs  processes
	status runtime.Status // guarded by Runtime.mu
}

// New opens the state directory, finds again every task an earlier agent left there, and goes on watching those that
// still run. It fails when the directory is in use, or when main did not call [MaybeInit].
func New(opt Options) (*Runtime, error) { return newRuntime(opt, true) }

func newRuntime(opt Options, tryNamespaces bool) (*Runtime, error) {
	if !initialised.Load() {
		return nil, errors.New("process runtime: main must call process.MaybeInit first, or tasks cannot be started")
	}
	r := &Runtime{opt: opt, tree: opt.Tree, tasks: map[string]*task{}, closed: make(chan struct{})}
	if r.tree == nil {
		r.tree = &cgroup.Tree{}
	}
	if r.opt.LogBytes <= 0 {
		r.opt.LogBytes = 16 << 20
	}
	if err := r.open(tryNamespaces); err != nil {
		r.Close()
		return nil, fmt.Errorf("process runtime: %w", err)
	}
	r.owned.Go(r.trimLogs)
	return r, nil
}

func (r *Runtime) open(tryNamespaces bool) (err error) {
	if r.exe, err = os.Executable(); err != nil {
		return err
	}
	if r.boot, err = bootID(); err != nil {
		return err
	}
	if err := os.MkdirAll(r.opt.StateDir, 0o700); err != nil {
		return err
	}
	if r.guard, err = os.OpenFile(filepath.Join(r.opt.StateDir, ".lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if err := unix.Flock(int(r.guard.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		r.guard.Close()
		return fmt.Errorf("state directory %s is in use by another agent: stop that one first", r.opt.StateDir)
	}
	r.ns = tryNamespaces && r.probe() == nil
	r.note()
	return r.adoptAll()
}

func (r *Runtime) note() {
	if !r.ns {
		r.notes = append(r.notes, "namespaces cannot be made here: tasks see the machine's processes, and mounts are refused; run the agent as root for more")
	}
	if n := r.tree.Note(); n != "" {
		r.notes = append(r.notes, n)
	}
}

// Notes says what this machine does not permit.
func (r *Runtime) Notes() []string { return r.notes }

// Name is "process".
func (r *Runtime) Name() string { return "process" }

// Prepare checks what can be checked before starting: there is nothing to fetch.
func (r *Runtime) Prepare(_ context.Context, spec runtime.Spec, _ func(runtime.Progress)) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	invalid := func(text, next string) error {
		return &runtime.Error{Kind: runtime.ErrInvalid, Op: "prepare", Task: spec.TaskID, Cause: errors.New(text), Next: next}
	}
	switch {
	case len(spec.Command) == 0:
		return invalid("no command", "a process task needs one: there is no image to take it from")
	case spec.Image != "":
		return invalid(fmt.Sprintf("image %q: this runtime runs commands of the machine", spec.Image), "use the docker runtime, or leave the image out")
	case spec.Sandbox == "":
		return invalid("no sandbox", "output needs a directory")
	case len(spec.Mounts) > 0 && !r.ns:
		return invalid("mounts need namespaces, and this machine does not permit them", "run the agent as root")
	}
	return nil
}

// Wait blocks until the task has ended.
func (r *Runtime) Wait(ctx context.Context, taskID string) (runtime.Exit, error) {
	t, err := r.lookup(ctx, "wait", taskID)
	if err != nil {
		return runtime.Exit{}, err
	}
	select {
	case <-t.done:
		return *r.status(t).Exit, nil
	case <-ctx.Done():
		return runtime.Exit{}, ctx.Err()
	case <-r.closed:
		return runtime.Exit{}, &runtime.Error{Kind: runtime.ErrUnavailable, Op: "wait", Task: taskID, Cause: errors.New("runtime closed")}
	}
}

// Signal sends to the command itself, not to its children and never to the supervisor.
func (r *Runtime) Signal(ctx context.Context, taskID string, sig syscall.Signal) error {
	t, err := r.lookup(ctx, "signal", taskID)
	if err != nil || t.ended() {
		return err
	}
	return t.procs.command.signal(sig)
}

// Kill ends the command and everything it started, then waits for the supervisor to have recorded it.
func (r *Runtime) Kill(ctx context.Context, taskID string) error {
	t, err := r.lookup(ctx, "kill", taskID)
	if err != nil || t.ended() {
		return err
	}
	if err := t.procs.command.signal(syscall.SIGKILL); err != nil {
		return err
	}
	if err := r.killRest(ctx, t); err != nil {
		return err
	}
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// killRest ends what the command left behind. With namespaces the kernel does it when the supervisor ends; without, the
// cgroup knows them, and without that the session they were born into.
func (r *Runtime) killRest(ctx context.Context, t *task) error {
	if _, ok, _ := r.tree.Pids(t.id); ok {
		return r.tree.Kill(ctx, t.id)
	}
	if t.rec.Namespaces {
		return nil
	}
	return killSession(t.procs.supervisor.pid)
}

// Remove forgets an ended task.
func (r *Runtime) Remove(ctx context.Context, taskID string) error {
	t, err := r.lookup(ctx, "remove", taskID)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !t.ended() {
		return &runtime.Error{Kind: runtime.ErrInvalid, Op: "remove", Task: taskID, Cause: errors.New("it is running"), Next: "kill it first"}
	}
	if err := r.forget(t); err != nil {
		return &runtime.Error{Kind: runtime.ErrUnavailable, Op: "remove", Task: taskID, Cause: err, Next: "try again"}
	}
	return nil
}

// forget drops what cgroups, disk and memory hold of a task, in that order: while the kernel still keeps a process of it
// the task stays known, and Remove can be tried again.
func (r *Runtime) forget(t *task) error {
	if err := r.removeCgroup(t.id); err != nil {
		return err
	}
	return r.drop(t)
}

// drop takes a task off disk and out of memory. The directory first gets a name that no task can have, so that a crash
// in between leaves nothing half known.
func (r *Runtime) drop(t *task) error {
	gone := filepath.Join(r.opt.StateDir, ".gone-"+t.id)
	if err := os.Rename(t.dir, gone); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	r.mu.Lock()
	delete(r.tasks, t.id)
	r.mu.Unlock()
	return os.RemoveAll(gone)
}

// removeCgroup tries for two seconds: the kernel refuses while the last process is on its way out, or waits for an init
// that reaps slowly.
func (r *Runtime) removeCgroup(id string) (err error) {
	for wait := time.Millisecond; wait <= time.Second; wait *= 2 {
		if err = r.tree.Remove(id); !errors.Is(err, unix.EBUSY) {
			return err
		}
		time.Sleep(wait)
	}
	return err
}

// List returns every task known, in order of id.
func (r *Runtime) List(context.Context) ([]runtime.Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]runtime.Status, 0, len(r.tasks))
	for _, t := range r.tasks {
		list = append(list, t.status)
	}
	slices.SortFunc(list, func(a, b runtime.Status) int { return strings.Compare(a.TaskID, b.TaskID) })
	return list, nil
}

// SetFunding reweighs the task against the others on this machine; the record is kept for the next agent.
func (r *Runtime) SetFunding(ctx context.Context, taskID, funded, _ string) error {
	t, err := r.lookup(ctx, "fund", taskID)
	if err != nil || t.ended() {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := *t.rec
	rec.Funded = funded
	if err := rec.write(t.dir); err != nil {
		return &runtime.Error{Kind: runtime.ErrUnavailable, Op: "fund", Task: taskID, Cause: err}
	}
	t.status.Funded = funded
	r.tree.SetFunded(taskID, funded)
	return nil
}

// Usage samples the task's cgroup, or its main process where there is none.
func (r *Runtime) Usage(ctx context.Context, taskID string) (runtime.Usage, error) {
	t, err := r.lookup(ctx, "usage", taskID)
	if err != nil {
		return runtime.Usage{}, err
	}
	if t.ended() {
		return runtime.Usage{}, &runtime.Error{Kind: runtime.ErrNotRunning, Op: "usage", Task: taskID}
	}
	u, ok, err := r.tree.Usage(taskID)
	if !ok {
		u, err = usageOf(t.procs.command.pid)
	}
	if err != nil {
		return runtime.Usage{}, fmt.Errorf("task %s: usage: %w", taskID, err)
	}
	return runtime.Usage{CPUSeconds: u.CPUSeconds, MemoryBytes: u.MemoryBytes, Pids: u.Pids, At: time.Now()}, nil
}

// Close stops watching; tasks run on and the next [New] finds them.
func (r *Runtime) Close() error {
	r.mu.Lock()
	select {
	case <-r.closed:
	default:
		close(r.closed)
	}
	for _, t := range r.tasks {
		if t.status.State == runtime.Running && t.pidfd != nil {
			t.pidfd.Close()
		}
	}
	r.mu.Unlock()
	r.owned.Wait()
	return r.guard.Close()
}

// lookup finds a task that has started; one that is just starting is waited for.
func (r *Runtime) lookup(ctx context.Context, op, taskID string) (*task, error) {
	r.mu.Lock()
	t := r.tasks[taskID]
	r.mu.Unlock()
	if t != nil {
		select {
		case <-t.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if t == nil || t.err != nil {
		return nil, &runtime.Error{Kind: runtime.ErrNotFound, Op: op, Task: taskID}
	}
	return t, nil
}

func (r *Runtime) status(t *task) runtime.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return t.status
}

func (t *task) ended() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}
