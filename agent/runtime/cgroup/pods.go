package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// podsDir holds what a kubelet makes. No role can have the name: those start with a letter.
const podsDir = ".kube"

// podParents are where a kubelet puts pods, by their quality of service.
var podParents = []string{"kubepods", "kubepods/burstable", "kubepods/besteffort"}

// MakePods makes the cgroup below which a kubelet may keep its pods, in every hierarchy as it demands, and returns its name,
// "/polder/…".
func (t *Tree) MakePods() (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.h == nil {
		return "", errors.New(t.note)
	}
	dir := path.Join(t.base, podsDir)
	if err := errors.Join(t.found(t.h), t.h.make(dir)); err != nil {
		return "", fmt.Errorf("cgroup of pods: %w", err)
	}
	for _, root := range t.h.mounts() {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return "", fmt.Errorf("cgroup of pods: %w", err)
		}
	}
	return "/" + dir, nil
}

// RemovePods removes what a kubelet left, as far as no process is in it.
func (t *Tree) RemovePods() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.h == nil {
		return
	}
	for _, root := range t.h.mounts() {
		for _, dir := range below(filepath.Join(root, t.base, podsDir)) {
			_ = t.rm(dir)
		}
	}
}

// below lists a directory and all directories in it, the deepest first.
func below(dir string) []string {
	var out []string
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			out = append([]string{name}, out...)
		}
		return nil
	})
	return out
}

// Pod finds the cgroup of a pod, below the mounts; ok is false when there is none.
func (t *Tree) Pod(uid string) (dir string, ok bool) {
	if t.h == nil {
		return "", false
	}
	if t.kubelet != "" {
		return t.first(kubeletDirs(t.kubelet, "pod"+uid))
	}
	var dirs []string
	for _, parent := range podParents {
		dirs = append(dirs, path.Join(t.base, podsDir, parent, "pod"+uid))
	}
	return t.first(dirs)
}

// first is the first of several cgroups that is there.
func (t *Tree) first(dirs []string) (dir string, ok bool) {
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Dir(t.h.procs(dir)[0])); err == nil {
			return dir, true
		}
	}
	return "", false
}

// PodUsage reads a pod's account; ok is false when it has none.
func (t *Tree) PodUsage(uid string) (u Usage, ok bool, err error) {
	dir, ok := t.Pod(uid)
	if !ok {
		return Usage{}, false, nil
	}
	u, err = t.h.usage(dir)
	return u, true, err
}

// KillPod ends every process of a pod and returns when none is left, or with ctx's error. What is started in the pod later has
// next to no memory.
func (t *Tree) KillPod(ctx context.Context, uid string) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		dir, ok := t.Pod(uid)
		if !ok {
			return nil
		}
		pids, err := podPids(filepath.Dir(t.h.procs(dir)[0]))
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return t.starve(dir)
		}
		for _, pid := range pids {
			if err := kill(pid); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// starve takes a cgroup's memory away. One that is gone needs none.
func (t *Tree) starve(dir string) error {
	err := t.h.limit(dir, Task{MemoryBytes: 1 << 20})
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.EBUSY) { // busy: what it holds cannot be dropped, and nobody gets more
		return nil
	}
	return err
}

// podPids are the processes in and below a directory.
func podPids(dir string) (pids []int, err error) {
	for _, d := range below(dir) {
		data, err := os.ReadFile(filepath.Join(d, "cgroup.procs"))
		if err != nil {
			continue // gone meanwhile
		}
		for _, field := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return nil, fmt.Errorf("%s/cgroup.procs has %q", d, field)
			}
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
