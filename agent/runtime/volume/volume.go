package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"polder.dev/polder/agent/runtime"
)

// Name is the runtime's name in specs and node attributes.
const Name = "volume"

// Deleted is the code of the only stop that deletes a volume. It is the core's for a task that somebody asked to kill, which of a
// volume's lease only VolumeService.Delete does.
const Deleted = "Killed"

// Data is the directory that tasks mount, of the volume with this task, below the directory of all volumes.
func Data(dir, task string) string { return filepath.Join(dir, task, dataDir) }

// Lease is the task whose volume has a directory that [Data] named.
func Lease(data string) string { return filepath.Base(filepath.Dir(data)) }

// Runtime keeps the volumes of one agent. Make it with [New].
type Runtime struct {
	dir    string
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex // guards what follows
	tasks map[string]*task
}

// task is a volume that was looked at.
type task struct {
	dir   string
	turn  chan struct{} // holds one: who changes it
	ended chan struct{} // closed when it is deleted

	mu  sync.Mutex
	rec record
}

// New returns the runtime of the volumes below a directory, which is made when the first one is. It touches nothing.
func New(dir string) *Runtime {
	return &Runtime{dir: dir, closed: make(chan struct{}), tasks: map[string]*task{}}
}

// Name is "volume".
func (r *Runtime) Name() string { return Name }

// Prepare checks that the task is a volume.
func (r *Runtime) Prepare(_ context.Context, spec runtime.Spec, _ func(runtime.Progress)) error {
	return check(spec)
}

// Start makes the directory, empty. For a volume that is known it does nothing: what is in it stays.
func (r *Runtime) Start(_ context.Context, spec runtime.Spec) (runtime.Status, error) {
	if err := check(spec); err != nil {
		return runtime.Status{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t, err := r.lookup("start", spec.TaskID)
	if errors.Is(err, runtime.ErrNotFound) {
		t, err = r.make(spec)
	}
	if err != nil {
		return runtime.Status{}, err
	}
	return t.record().status(), nil
}

// make makes a volume's directory under another name first, so that there is all of it or nothing.
func (r *Runtime) make(spec runtime.Spec) (*task, error) {
	failed := func(err error) (*task, error) {
		return nil, &runtime.Error{Kind: runtime.ErrStart, Op: "start", Task: spec.TaskID, Cause: err}
	}
	// The directory of all volumes is closed to other users of the machine: engines and the supervisors of processes mount what is below it
	// as root.
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return failed(err)
	}
	fresh, err := os.MkdirTemp(r.dir, unfinished)
	if err != nil {
		return failed(err)
	}
	defer os.RemoveAll(fresh) // it has another name by then
	// Only the image of a task knows its user, and the next task may have another, so everybody who has the volume mounted may write. There is
	// no sticky bit: what one task made, the next may replace. Whoever wants it otherwise changes the mode from inside; it stays.
	data := filepath.Join(fresh, dataDir)
	if err := errors.Join(os.Mkdir(data, 0o777), os.Chmod(data, 0o777)); err != nil { // whatever the umask is
		return failed(err)
	}
	rec := record{Spec: spec, Created: time.Now().Round(0)}
	dir := filepath.Join(r.dir, spec.TaskID)
	if err := rec.write(fresh); err != nil {
		return failed(err)
	}
	if err := errors.Join(os.Rename(fresh, dir), runtime.SyncDir(r.dir)); err != nil {
		return failed(err)
	}
	return r.know(dir, rec), nil
}

// know keeps a volume in mind; the caller holds the lock.
func (r *Runtime) know(dir string, rec record) *task {
	t := &task{dir: dir, rec: rec, turn: make(chan struct{}, 1), ended: make(chan struct{})}
	if rec.Exit != nil {
		close(t.ended)
	}
	r.tasks[rec.Spec.TaskID] = t
	return t
}

// lookup finds a volume, on disk when nobody has looked at it yet; the caller holds the lock.
func (r *Runtime) lookup(op, id string) (*task, error) {
	if t := r.tasks[id]; t != nil {
		return t, nil
	}
	if !runtime.ValidTaskID(id) {
		return nil, &runtime.Error{Kind: runtime.ErrNotFound, Op: op, Task: id}
	}
	dir := filepath.Join(r.dir, id)
	rec, err := read(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &runtime.Error{Kind: runtime.ErrNotFound, Op: op, Task: id}
	}
	if err != nil {
		return nil, &runtime.Error{Kind: runtime.ErrUnavailable, Op: op, Task: id, Cause: err}
	}
	return r.know(dir, rec), nil
}

func (r *Runtime) find(op, id string) (*task, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lookup(op, id)
}

func (t *task) record() record {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rec
}

// Wait blocks until the volume is deleted.
func (r *Runtime) Wait(ctx context.Context, taskID string) (runtime.Exit, error) {
	t, err := r.find("wait", taskID)
	if err != nil {
		return runtime.Exit{}, err
	}
	select {
	case <-t.ended:
		return *t.record().Exit, nil
	case <-ctx.Done():
		return runtime.Exit{}, ctx.Err()
	case <-r.closed:
		return runtime.Exit{}, &runtime.Error{Kind: runtime.ErrUnavailable, Op: "wait", Task: taskID, Cause: errors.New("runtime closed")}
	}
}

// Signal does nothing, whatever the signal: a volume has no process, and only Kill deletes it.
func (r *Runtime) Signal(_ context.Context, taskID string, _ syscall.Signal) error {
	_, err := r.find("signal", taskID)
	return err
}

// Kill deletes the volume. When it fails, or ctx is done first, what is left of it can be reached by nobody, and the next Kill goes on.
func (r *Runtime) Kill(ctx context.Context, taskID string) error {
	t, err := r.find("kill", taskID)
	if err != nil {
		return err
	}
	select {
	case t.turn <- struct{}{}: // a large one is deleted for longer than callers wait
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	rec := t.record()
	if rec.Exit != nil {
		return nil
	}
	if err := t.empty(ctx); err != nil {
		return fmt.Errorf("task %s: deleting volume %s: %w", taskID, rec.Spec.Volume, err)
	}
	exit := runtime.ExitOf(128+int(syscall.SIGKILL), time.Now().Round(0))
	rec.Exit = &exit
	if err := rec.write(t.dir); err != nil {
		return fmt.Errorf("task %s: %w", taskID, err)
	}
	t.mu.Lock()
	t.rec = rec
	t.mu.Unlock()
	close(t.ended)
	return nil
}

// empty deletes what is in the volume.
func (t *task) empty(ctx context.Context) error {
	trash := filepath.Join(t.dir, deletingDir)
	if err := os.Rename(filepath.Join(t.dir, dataDir), trash); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	entries, err := os.ReadDir(trash)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := os.RemoveAll(filepath.Join(trash, e.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(trash)
}

// Remove forgets a volume that is deleted.
func (r *Runtime) Remove(_ context.Context, taskID string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, err := r.lookup("remove", taskID)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if t.record().Exit == nil {
		return &runtime.Error{Kind: runtime.ErrInvalid, Op: "remove", Task: taskID, Cause: errors.New("the volume is there"), Next: "delete it first"}
	}
	if err := os.RemoveAll(t.dir); err != nil {
		return &runtime.Error{Kind: runtime.ErrUnavailable, Op: "remove", Task: taskID, Cause: err, Next: "try again"}
	}
	delete(r.tasks, taskID)
	return nil
}

// List returns every volume, in order of task id.
func (r *Runtime) List(context.Context) ([]runtime.Status, error) {
	all, err := r.all()
	out := make([]runtime.Status, 0, len(all))
	for _, t := range all {
		out = append(out, t.record().status())
	}
	return out, err
}

// all are the volumes on disk, in order of task id.
func (r *Runtime) all() ([]*task, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entries, err := os.ReadDir(r.dir) // in order
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &runtime.Error{Kind: runtime.ErrUnavailable, Op: "list", Cause: err}
	}
	var out []*task
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), unfinished) {
			os.RemoveAll(filepath.Join(r.dir, e.Name())) // of a start that was cut off; what stays is tried again
			continue
		}
		t, err := r.lookup("list", e.Name())
		if err != nil && !errors.Is(err, runtime.ErrNotFound) {
			return nil, err
		}
		if err == nil {
			out = append(out, t)
		}
	}
	return out, nil
}

// Directory is what tasks mount of a volume. Of several by one name, which can only be when the server knows nothing of the others any more, it is the
// newest.
func (r *Runtime) Directory(name string) (string, error) {
	all, err := r.all()
	if err != nil {
		return "", err
	}
	newest, found := time.Time{}, ""
	for _, t := range all {
		rec := t.record()
		if rec.Spec.Volume == name && rec.Exit == nil && rec.Created.After(newest) {
			newest, found = rec.Created, filepath.Join(t.dir, dataDir)
		}
	}
	if found == "" {
		return "", &runtime.Error{Kind: runtime.ErrNotFound, Op: "volume " + name, Cause: errors.New("it is not on this node"), Next: "see polder volume get " + name}
	}
	if _, err := os.Stat(found); err != nil {
		return "", &runtime.Error{Kind: runtime.ErrUnavailable, Op: "volume " + name, Cause: err, Next: "it is being deleted, or its disk is not mounted"}
	}
	return found, nil
}

// Logs are none.
func (r *Runtime) Logs(_ context.Context, taskID string, _ runtime.LogOptions, _, _ io.Writer) error {
	return r.unsupported("logs", taskID)
}

// Exec has nothing to run in.
func (r *Runtime) Exec(_ context.Context, taskID string, _ runtime.ExecOptions) (int, error) {
	return 0, r.unsupported("exec", taskID)
}

// Attach has nothing to attach to.
func (r *Runtime) Attach(_ context.Context, taskID string, _ runtime.AttachOptions) error {
	return r.unsupported("attach", taskID)
}

func (r *Runtime) unsupported(op, taskID string) error {
	t, err := r.find(op, taskID)
	if err != nil {
		return err
	}
	return &runtime.Error{Kind: runtime.ErrUnsupported, Op: op, Task: taskID, Cause: fmt.Errorf("it is volume %s, which runs nothing", t.record().Spec.Volume),
		Next: "run a task that mounts it"}
}

// Usage is not measured: to add up what is in a volume takes a walk through all of it.
func (r *Runtime) Usage(_ context.Context, taskID string) (runtime.Usage, error) {
	return runtime.Usage{}, r.unsupported("usage", taskID)
}

// Close leaves the volumes alone.
func (r *Runtime) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}
