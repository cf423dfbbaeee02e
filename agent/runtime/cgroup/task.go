package cgroup

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Usage is what the kernel counted for a task: CPU time, memory without the cache it could drop at once, and processes
// and threads.
type Usage struct {
	CPUSeconds  float64
	MemoryBytes int64
	Pids        int64
}

// dir is the directory of a task the tree looks after itself; ok is false for any other.
func (t *Tree) dir(id string) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	dir, ok := t.dirs[id]
	return dir, ok && t.h != nil && !t.tasks[id].Engine
}

// Usage reads a task's account; ok is false when the tree keeps none.
func (t *Tree) Usage(id string) (u Usage, ok bool, err error) {
	dir, ok := t.dir(id)
	if !ok {
		return Usage{}, false, nil
	}
	u, err = t.h.usage(dir)
	return u, true, err
}

// OOMKilled reports whether the kernel killed a process of the task for its memory limit.
func (t *Tree) OOMKilled(id string) bool {
	dir, ok := t.dir(id)
	return ok && t.h.oomKills(dir) > 0
}

// Pids are the task's processes, as the agent numbers them; ok is false when the tree does not know the task.
func (t *Tree) Pids(id string) (pids []int, ok bool, err error) {
	dir, ok := t.dir(id)
	if !ok {
		return nil, false, nil
	}
	data, err := os.ReadFile(t.h.procs(dir)[0])
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENODEV) { // gone before, or between opening and reading
		return nil, true, nil
	}
	for _, field := range strings.Fields(string(data)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, true, err
}

// Kill ends every process of the task and returns when none is left, or with ctx's error. A process may fork between
// reading and killing, so it goes round until a reading is empty.
func (t *Tree) Kill(ctx context.Context, id string) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		pids, _, err := t.Pids(id)
		if err != nil || len(pids) == 0 {
			return err
		}
		if err := t.killAll(id, pids); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (t *Tree) killAll(id string, pids []int) error {
	if dir, ok := t.dir(id); ok && t.h.killFile(dir) != "" {
		if write(t.h.killFile(dir), "1") == nil {
			return nil
		}
	}
	for _, pid := range pids {
		if err := kill(pid); err != nil {
			return err
		}
	}
	return nil
}

// Has reports whether the task is weighed in.
func (t *Tree) Has(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.tasks[id]
	return ok
}
