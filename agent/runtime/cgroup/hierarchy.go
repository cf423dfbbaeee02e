package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hierarchy is one version of the kernel's interface. Directories are relative to the mounts.
type hierarchy interface {
	mounts() []string                  // everywhere a directory may exist
	make(dir string) error             // with its parents, ready for limits
	limit(dir string, task Task) error // memory, pids and the CPU cap
	setShare(dir string, s share)      // as far as the kernel accepts it
	procs(dir string) []string         // cgroup.procs files
	usage(dir string) (Usage, error)
	oomKills(dir string) int64
	killFile(dir string) string // "" where the kernel has none
}

const period = 100000 // µs, the kernel's own default for CPU caps

func detect(root string) (hierarchy, error) {
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return newV2(root)
	}
	return newV1(root)
}

// v1 has a mount per controller; the same directory is made in each.
type v1 struct {
	root  string
	all   []string // every mounted hierarchy: engines make directories in all of them
	ctrls []string // those used here
}

func newV1(root string) (hierarchy, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	h := &v1{root: root}
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil && e.IsDir() {
			h.all = append(h.all, dir)
		}
	}
	for _, c := range []string{"cpu", "cpuacct", "memory", "pids"} {
		if _, err := os.Stat(filepath.Join(root, c, "cgroup.procs")); err == nil {
			h.ctrls = append(h.ctrls, c)
		}
	}
	if len(h.ctrls) == 0 {
		return nil, errors.New("none of the controllers cpu, cpuacct, memory, pids is mounted")
	}
	return h, nil
}

func (h *v1) mounts() []string { return h.all }

func (h *v1) file(ctrl, dir, name string) string { return filepath.Join(h.root, ctrl, dir, name) }

func (h *v1) make(dir string) error {
	for _, c := range h.ctrls {
		if err := os.MkdirAll(h.file(c, dir, ""), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func (h *v1) limit(dir string, t Task) error {
	return errors.Join(
		h.set("memory", dir, "memory.limit_in_bytes", t.MemoryBytes, t.MemoryBytes > 0),
		h.set("pids", dir, "pids.max", t.Pids, t.Pids > 0),
		h.set("cpu", dir, "cpu.cfs_quota_us", t.CPU*period/1000, t.CPUHard))
}

func (h *v1) set(ctrl, dir, name string, value int64, wanted bool) error {
	if !wanted {
		return nil
	}
	if !slices.Contains(h.ctrls, ctrl) {
		return fmt.Errorf("%s: controller %s is not mounted", name, ctrl)
	}
	return write(h.file(ctrl, dir, name), strconv.FormatInt(value, 10))
}

func (h *v1) setShare(dir string, s share) {
	_ = h.set("cpu", dir, "cpu.shares", s.shares(), true)
}

func (h *v1) procs(dir string) []string {
	files := make([]string, len(h.ctrls))
	for i, c := range h.ctrls {
		files[i] = h.file(c, dir, "cgroup.procs")
	}
	return files
}

func (h *v1) usage(dir string) (Usage, error) {
	nanos, err := number(h.file("cpuacct", dir, "cpuacct.usage"))
	mem, memErr := number(h.file("memory", dir, "memory.usage_in_bytes"))
	pids, pidsErr := number(h.file("pids", dir, "pids.current"))
	cache := keyed(h.file("memory", dir, "memory.stat"), "total_inactive_file")
	return Usage{CPUSeconds: float64(nanos) / 1e9, MemoryBytes: max(mem-cache, 0), Pids: pids}, errors.Join(err, memErr, pidsErr)
}

func (h *v1) oomKills(dir string) int64 {
	return keyed(h.file("memory", dir, "memory.oom_control"), "oom_kill")
}
func (h *v1) killFile(string) string { return "" }

// v2 has one mount; controllers are switched on from the top down.
type v2 struct {
	root   string
	enable string // "+cpu +memory +pids"
}

func newV2(root string) (hierarchy, error) {
	data, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return nil, err
	}
	var on []string
	for _, c := range []string{"cpu", "memory", "pids"} {
		if slices.Contains(strings.Fields(string(data)), c) {
			on = append(on, "+"+c)
		}
	}
	if len(on) == 0 {
		return nil, errors.New("none of the controllers cpu, memory, pids is available")
	}
	return &v2{root, strings.Join(on, " ")}, nil
}

func (h *v2) mounts() []string { return []string{h.root} }

func (h *v2) file(dir, name string) string { return filepath.Join(h.root, dir, name) }

func (h *v2) make(dir string) error {
	at := ""
	for _, part := range strings.Split(dir, "/") {
		if err := write(h.file(at, "cgroup.subtree_control"), h.enable); err != nil {
			return err
		}
		at = filepath.Join(at, part)
		if err := os.Mkdir(h.file(at, ""), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

func (h *v2) limit(dir string, t Task) error {
	limits := []struct {
		wanted      bool
		name, value string
	}{
		{t.MemoryBytes > 0, "memory.max", strconv.FormatInt(t.MemoryBytes, 10)},
		{t.Pids > 0, "pids.max", strconv.FormatInt(t.Pids, 10)},
		{t.CPUHard, "cpu.max", fmt.Sprintf("%d %d", t.CPU*period/1000, period)},
	}
	var errs []error
	for _, l := range limits {
		if l.wanted {
			errs = append(errs, write(h.file(dir, l.name), l.value))
		}
	}
	return errors.Join(errs...)
}

func (h *v2) setShare(dir string, s share) {
	_ = write(h.file(dir, "cpu.weight"), strconv.FormatInt(s.weight(), 10))
	_ = write(h.file(dir, "memory.low"), strconv.FormatInt(s.low, 10))
}

func (h *v2) procs(dir string) []string { return []string{h.file(dir, "cgroup.procs")} }

func (h *v2) usage(dir string) (Usage, error) {
	mem, memErr := number(h.file(dir, "memory.current"))
	pids, pidsErr := number(h.file(dir, "pids.current"))
	cpu := keyed(h.file(dir, "cpu.stat"), "usage_usec")
	cache := keyed(h.file(dir, "memory.stat"), "inactive_file")
	return Usage{CPUSeconds: float64(cpu) / 1e6, MemoryBytes: max(mem-cache, 0), Pids: pids}, errors.Join(memErr, pidsErr)
}

func (h *v2) oomKills(dir string) int64  { return keyed(h.file(dir, "memory.events"), "oom_kill") }
func (h *v2) killFile(dir string) string { return h.file(dir, "cgroup.kill") }

func write(file, value string) error { return os.WriteFile(file, []byte(value), 0o644) }

func number(file string) (int64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}

// keyed reads one "key value" line; 0 when the file or the key is not there.
func keyed(file, key string) int64 {
	data, _ := os.ReadFile(file)
	for line := range strings.Lines(string(data)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n
		}
	}
	return 0
}

// kill signals one process; one that is gone is fine.
func kill(pid int) error {
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return nil
}
