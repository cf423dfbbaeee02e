package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/cgroup"
)

// Labels that a task of this runtime has.
const (
	UIDLabel = "kube.polder.dev/uid" // the pod's uid, which its cgroup is named by
	PodLabel = "kube.polder.dev/pod" // namespace/name, for people
	// StaticLabel is what the kubelet calls a pod that comes from its own files: its cgroup is named by that.
	StaticLabel = "kube.polder.dev/static"
	// StaysLabel is "true" where somebody else has placed the pod: the end of the lease is not its end.
	StaysLabel = "kube.polder.dev/stays"
)

// Options configure a [Runtime].
type Options struct {
	Node   string // name of the node
	Config string // file that names the node's program
	// Kubelet is the cgroupRoot of a kubelet that others run; then there is no node's program, and Tree follows that kubelet.
	Kubelet string
	Output  string       // where the kubelet keeps pods' output; empty is where the node's program has it
	State   string       // directory of this runtime, made if missing; one runtime at a time
	Tree    *cgroup.Tree // where pods' cgroups are
	// CPU in thousandths of a core and MemoryBytes are what the kubelet may give to pods in all.
	CPU         int64
	MemoryBytes int64
	Idle        time.Duration // how long the program outlives the last task; 0 is five minutes
	Look        time.Duration // between two looks at the pods' cgroups; 0 is half a second
	Logger      *slog.Logger  // nil is silence
}

// Runtime is the runtime. Make one with [New].
type Runtime struct {
	opt  Options
	boot string
	node *node

	mu     sync.Mutex
	tasks  map[string]*task
	ctx    context.Context // done when closed
	cancel context.CancelFunc
	owned  sync.WaitGroup
}

// task is one lease. rec is guarded by Runtime.mu.
type task struct {
	rec  record
	done chan struct{} // closed when it has ended
}

// New reads what an earlier runtime left in the state directory and goes on with it.
func New(opt Options) (*Runtime, error) {
	if opt.Idle <= 0 {
		opt.Idle = 5 * time.Minute
	}
	if opt.Look <= 0 {
		opt.Look = 500 * time.Millisecond
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	opt.Output = cmp.Or(opt.Output, filepath.Join(opt.State, "node", "logs"))
	if opt.Tree.Note() != "" {
		return nil, fmt.Errorf("kube runtime: pods need cgroups: %s", opt.Tree.Note())
	}
	if opt.Kubelet != "" {
		if err := opt.Tree.FollowKubelet(opt.Kubelet); err != nil {
			return nil, fmt.Errorf("kube runtime: %w", err)
		}
	}
	r := &Runtime{opt: opt, tasks: map[string]*task{}}
	if err := r.open(); err != nil {
		return nil, fmt.Errorf("kube runtime: %w", err)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if opt.Kubelet == "" {
		r.node = newNode(opt)
		r.node.want(r.running() > 0)
		r.owned.Go(func() { r.node.run(r.ctx) })
	}
	r.owned.Go(r.watch)
	return r, nil
}

func (r *Runtime) open() error {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	r.boot = strings.TrimSpace(string(data))
	if err := os.MkdirAll(filepath.Join(r.opt.State, "tasks"), 0o700); err != nil {
		return err
	}
	recs, err := readRecords(r.tasksDir())
	if err != nil {
		return err
	}
	for _, rec := range recs {
		if rec.BootID != r.boot { // the kubelet will start the pod again
			rec.BootID, rec.Seen = r.boot, false
		}
		r.tasks[rec.Spec.TaskID] = newTask(rec)
	}
	return nil
}

func newTask(rec record) *task {
	t := &task{rec: rec, done: make(chan struct{})}
	if rec.Exit != nil {
		close(t.done)
	}
	return t
}

func (r *Runtime) tasksDir() string { return filepath.Join(r.opt.State, "tasks") }

// Name is "kube".
func (r *Runtime) Name() string { return "kube" }

// Ping fails while the file that names the node's program is not there or says nothing useful, and while a kubelet that others run has
// made no cgroups.
func (r *Runtime) Ping(context.Context) error {
	if r.opt.Kubelet != "" {
		if r.opt.Tree.KubeletRuns() {
			return nil
		}
		return &runtime.Error{Kind: runtime.ErrUnavailable, Op: "kube", Cause: fmt.Errorf("there is no cgroup kubepods or kubepods.slice below %s", r.opt.Kubelet),
			Next: "start this machine's kubelet, or give the agent its cgroupRoot"}
	}
	_, err := readConfig(r.opt.Config)
	return err
}

// Prepare checks that the task is a pod's.
func (r *Runtime) Prepare(_ context.Context, spec runtime.Spec, _ func(runtime.Progress)) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	if err := checkLabels(spec.Labels); err != nil {
		return &runtime.Error{Kind: runtime.ErrInvalid, Op: "prepare", Task: spec.TaskID, Cause: err, Next: "the Kubernetes door makes such tasks; make a pod"}
	}
	return nil
}

// Start notes the lease and sees to it that the node's program runs. The pod may come any time later.
func (r *Runtime) Start(ctx context.Context, spec runtime.Spec) (runtime.Status, error) {
	if err := r.Prepare(ctx, spec, nil); err != nil {
		return runtime.Status{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.tasks[spec.TaskID]; t != nil {
		return t.rec.status(), nil
	}
	t := newTask(record{Spec: spec, Funded: spec.FundedOrBorrowed(), BootID: r.boot, Created: time.Now().Round(0)})
	if err := t.rec.write(r.tasksDir()); err != nil {
		return runtime.Status{}, &runtime.Error{Kind: runtime.ErrStart, Op: "start", Task: spec.TaskID, Cause: err}
	}
	r.tasks[spec.TaskID] = t
	if r.node != nil {
		r.node.want(true)
	}
	return t.rec.status(), nil
}

// Wait blocks until the lease has ended.
func (r *Runtime) Wait(ctx context.Context, taskID string) (runtime.Exit, error) {
	t, err := r.lookup("wait", taskID)
	if err != nil {
		return runtime.Exit{}, err
	}
	select {
	case <-t.done:
		r.mu.Lock()
		defer r.mu.Unlock()
		return *t.rec.Exit, nil
	case <-ctx.Done():
		return runtime.Exit{}, ctx.Err()
	case <-r.ctx.Done():
		return runtime.Exit{}, &runtime.Error{Kind: runtime.ErrUnavailable, Op: "wait", Task: taskID, Cause: errors.New("runtime closed")}
	}
}

// Signal does nothing to a pod; SIGKILL is Kill. See the package comment.
func (r *Runtime) Signal(ctx context.Context, taskID string, sig syscall.Signal) error {
	if sig == syscall.SIGKILL {
		return r.Kill(ctx, taskID)
	}
	_, err := r.lookup("signal", taskID)
	return err
}

// Kill ends every process of the pod and keeps it from having any again, unless the pod has another lease here: then that is what it runs on.
// A pod that somebody else has placed only loses its lease.
func (r *Runtime) Kill(ctx context.Context, taskID string) error {
	t, err := r.lookup("kill", taskID)
	if err != nil || t.ended() {
		return err
	}
	if t.rec.Spec.Labels[StaysLabel] == "true" {
		e := runtime.ExitOf(0, time.Now().Round(0))
		e.Reason = fmt.Sprintf("the lease is over; pod %s goes on, somebody else has placed it", t.rec.Spec.Labels[PodLabel])
		r.finish(t, e)
		return nil
	}
	if !r.leasedTwice(t) {
		if err := r.opt.Tree.KillPod(ctx, t.uid()); err != nil {
			return fmt.Errorf("task %s: kill: %w", taskID, err)
		}
	}
	r.finish(t, runtime.ExitOf(137, time.Now().Round(0)))
	return nil
}

// leasedTwice reports whether another lease of a task's pod has not ended. The door claims again when it does not hear that it has a lease.
func (r *Runtime) leasedTwice(t *task) bool {
	return slices.ContainsFunc(r.live(), func(o *task) bool {
		return o != t && o.rec.Spec.Labels[UIDLabel] == t.rec.Spec.Labels[UIDLabel] // a pod may call itself static by another's name
	})
}

// Remove forgets an ended lease.
func (r *Runtime) Remove(_ context.Context, taskID string) error {
	t, err := r.lookup("remove", taskID)
	if err != nil {
		return nil
	}
	if !t.ended() {
		return &runtime.Error{Kind: runtime.ErrInvalid, Op: "remove", Task: taskID, Cause: errors.New("it is running"), Next: "kill it first"}
	}
	if err := t.rec.remove(r.tasksDir()); err != nil {
		return &runtime.Error{Kind: runtime.ErrUnavailable, Op: "remove", Task: taskID, Cause: err, Next: "try again"}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tasks, taskID)
	return nil
}

// List returns every lease in order of task id.
func (r *Runtime) List(context.Context) ([]runtime.Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]runtime.Status, 0, len(r.tasks))
	for _, t := range r.tasks {
		list = append(list, t.rec.status())
	}
	slices.SortFunc(list, func(a, b runtime.Status) int { return strings.Compare(a.TaskID, b.TaskID) })
	return list, nil
}

// Attach is the kubelet's.
func (r *Runtime) Attach(_ context.Context, taskID string, _ runtime.AttachOptions) error {
	return r.unsupported("attach", taskID)
}

func (r *Runtime) unsupported(op, taskID string) error {
	t, err := r.lookup(op, taskID)
	if err != nil {
		return err
	}
	return &runtime.Error{Kind: runtime.ErrUnsupported, Op: op, Task: taskID, Cause: errors.New("it is a pod"),
		Next: "use kubectl " + op + " with pod " + t.rec.Spec.Labels[PodLabel]}
}

// Usage is what the kernel counted for the pod.
func (r *Runtime) Usage(_ context.Context, taskID string) (runtime.Usage, error) {
	t, err := r.lookup("usage", taskID)
	if err != nil {
		return runtime.Usage{}, err
	}
	u, ok, err := r.opt.Tree.PodUsage(t.uid())
	if !ok || t.ended() {
		return runtime.Usage{}, &runtime.Error{Kind: runtime.ErrNotRunning, Op: "usage", Task: taskID}
	}
	if err != nil {
		return runtime.Usage{}, fmt.Errorf("task %s: usage: %w", taskID, err)
	}
	return runtime.Usage{CPUSeconds: u.CPUSeconds, MemoryBytes: u.MemoryBytes, Pids: u.Pids, At: time.Now()}, nil
}

// SetFunding notes who pays. It changes nothing on the machine: pods are weighed by the kubelet.
func (r *Runtime) SetFunding(_ context.Context, taskID, funded, _ string) error {
	t, err := r.lookup("fund", taskID)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := t.rec
	rec.Funded = funded
	if err := rec.write(r.tasksDir()); err != nil {
		return &runtime.Error{Kind: runtime.ErrUnavailable, Op: "fund", Task: taskID, Cause: err}
	}
	t.rec = rec
	return nil
}

// Close ends the node's program and leaves the pods alone.
func (r *Runtime) Close() error {
	r.cancel()
	r.owned.Wait()
	return nil
}

func (r *Runtime) lookup(op, taskID string) (*task, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.tasks[taskID]; t != nil {
		return t, nil
	}
	return nil, &runtime.Error{Kind: runtime.ErrNotFound, Op: op, Task: taskID}
}

// uid is what the pod's cgroup is named by.
func (t *task) uid() string {
	return cmp.Or(t.rec.Spec.Labels[StaticLabel], t.rec.Spec.Labels[UIDLabel])
}

func (t *task) ended() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}
