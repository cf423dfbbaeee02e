package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"polder.dev/polder/agent/runtime"
)

// Root is where Linux mounts cgroups.
const Root = "/sys/fs/cgroup"

const initDir = ".init"

// Task is what the tree needs to know of a task. Limits are as in [runtime.Spec].
type Task struct {
	ID, Role, Funded string
	CPU              int64
	CPUHard          bool
	MemoryBytes      int64
	Pids             int64

	// Engine marks a task whose own directory a container engine makes, limits and removes under [Tree.Parent]; the
	// tree then only keeps the weights above it.
	Engine bool
}

// TaskOf picks the fields of a spec.
func TaskOf(s runtime.Spec) Task {
	return Task{ID: s.TaskID, Role: s.Role, Funded: s.FundedOrBorrowed(), CPU: s.CPU, CPUHard: s.CPUHard,
		MemoryBytes: s.MemoryBytes, Pids: s.Pids}
}

// Tree is one agent's part of the hierarchy.
type Tree struct {
	base string // "polder/<agent>"
	h    hierarchy
	note string
	rm   func(dir string) error
	// kubelet is the root of another's kubelet; empty: pods are in podsDir.
	kubelet string

	mu    sync.Mutex
	tasks map[string]Task
	dirs  map[string]string // task id → directory below the mount, fixed at Add
}

// Open finds the hierarchy mounted at root (normally [Root]) and makes this agent's directory in it.
func Open(root, agent string) *Tree {
	t := &Tree{base: "polder/" + segment(agent), rm: unix.Rmdir, tasks: map[string]Task{}, dirs: map[string]string{}}
	h, err := detect(root)
	if err == nil {
		err = t.found(h)
	}
	if err != nil {
		t.note = fmt.Sprintf("cgroups at %s are not usable (%v): tasks run without limits and without shares", root, err)
		return t
	}
	t.h = h
	return t
}

// found makes the directories every task relies on, anew if the last task's end took them away. All of Polder together
// weighs what the machine has, so that it can hold its own against the system's services.
func (t *Tree) found(h hierarchy) error {
	if err := h.make(path.Join(t.base, initDir)); err != nil {
		return err
	}
	h.setShare("polder", machineShare())
	return nil
}

// Note says why the tree does nothing; empty when it works.
func (t *Tree) Note() string { return t.note }

// Parent is the cgroup a container engine should make the container's cgroup in, "/polder/…"; empty when the tree is
// not usable.
func (t *Tree) Parent(role, funded string) string {
	if t.h == nil {
		return ""
	}
	return "/" + t.parent(role, funded)
}

func (t *Tree) parent(role, funded string) string {
	dir := t.base
	for _, part := range strings.Split(role, "/") {
		if part != "" {
			dir = path.Join(dir, segment(part))
		}
	}
	return path.Join(dir, funded)
}

// segment makes a directory name of a role or agent name. Those start with a letter (or are ".self"), so a leading
// underscore keeps them apart from the directories that have a meaning here.
func segment(name string) string {
	switch name {
	case runtime.Guaranteed, runtime.Borrowed, initDir, ".", "..", "":
		return "_" + name
	}
	return strings.NewReplacer("/", "_", "\x00", "_").Replace(name)
}

// Add makes the task's directory with its limits and weighs it in. Adding a task again, after a restart of the agent,
// only refreshes it.
func (t *Tree) Add(task Task) error {
	if t.h == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	parent := t.parent(task.Role, task.Funded)
	dir := path.Join(parent, segment(task.ID))
	leaf := dir
	if task.Engine {
		leaf = parent
	}
	if err := errors.Join(t.found(t.h), t.h.make(leaf)); err != nil {
		return fmt.Errorf("cgroup of task %s: %w", task.ID, err)
	}
	if !task.Engine {
		if err := t.h.limit(dir, task); err != nil {
			return fmt.Errorf("cgroup limits of task %s: %w", task.ID, err)
		}
	}
	t.tasks[task.ID], t.dirs[task.ID] = task, dir
	t.weigh(dir)
	return nil
}

// SetFunded changes who pays for a task, and so its weight and that of every directory above it.
func (t *Tree) SetFunded(id, funded string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	task, ok := t.tasks[id]
	if !ok || t.h == nil {
		return
	}
	task.Funded = funded
	t.tasks[id] = task
	t.weigh(t.dirs[id])
}

// weigh writes the weights from a task's directory up to the agent's. Failures are left: a weight is a preference, and
// the directory may be going away. The caller holds the lock.
func (t *Tree) weigh(dir string) {
	for ; dir != "polder" && dir != "."; dir = path.Dir(dir) {
		if s, own := t.share(dir); s.points > 0 && own {
			t.h.setShare(dir, s)
		}
	}
}

// share sums the tasks in and below dir; own is false for the directory of an engine's container.
func (t *Tree) share(dir string) (sum share, own bool) {
	own = true
	for id, task := range t.tasks {
		at := t.dirs[id]
		if at == dir && task.Engine {
			own = false
		}
		if at == dir || strings.HasPrefix(at, dir+"/") {
			sum = sum.plus(shareOf(task))
		}
	}
	return sum, own
}

// Joins are the files a process writes "0" to, in order, to become part of the task.
func (t *Tree) Joins(id string) []string {
	t.mu.Lock()
	dir, ok := t.dirs[id]
	t.mu.Unlock()
	if !ok || t.h == nil {
		return nil
	}
	return t.h.procs(dir)
}

// SupervisorJoins are the files the supervisor of a task writes "0" to: it must outlive the agent's own cgroup and stay
// outside of the task's limits, so that the kernel never kills it for the task's memory.
func (t *Tree) SupervisorJoins() []string {
	if t.h == nil {
		return nil
	}
	return t.h.procs(path.Join(t.base, initDir))
}

// Remove drops an ended task's directory and every directory above that became empty. It is not an error when the
// directory is gone.
func (t *Tree) Remove(id string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	task, ok := t.tasks[id]
	if !ok || t.h == nil {
		return nil
	}
	dir := t.dirs[id]
	if !task.Engine {
		if err := t.rmdir(dir); err != nil {
			return fmt.Errorf("cgroup of task %s: %w", id, err)
		}
	}
	delete(t.tasks, id)
	delete(t.dirs, id)
	t.prune(path.Dir(dir))
	return nil
}

func (t *Tree) rmdir(dir string) error {
	for _, root := range t.h.mounts() {
		if err := t.rm(filepath.Join(root, dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", filepath.Join(root, dir), err)
		}
	}
	return nil
}

// prune removes directories nobody uses, upwards, and weighs what stays. A directory that refuses is in use by somebody
// else, so it stays.
func (t *Tree) prune(dir string) {
	for ; dir != "polder" && dir != "."; dir = path.Dir(dir) {
		if t.inUse(dir) {
			t.weigh(dir)
			return
		}
		if dir == t.base {
			t.rmdir(path.Join(t.base, initDir))
		}
		t.rmdir(dir)
	}
	t.rmdir("polder")
}

// Sweep removes the directories of a role that became empty. It is for what an engine made for a task this tree never
// knew: one launched and ended around a restart of the agent.
func (t *Tree) Sweep(role, funded string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.h != nil {
		t.prune(t.parent(role, funded))
	}
}

func (t *Tree) inUse(dir string) bool {
	for _, at := range t.dirs {
		if strings.HasPrefix(at, dir+"/") {
			return true
		}
	}
	return false
}

// Close removes the agent's directory when no task is left in it.
func (t *Tree) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.h != nil && len(t.tasks) == 0 {
		t.prune(t.base)
	}
}
