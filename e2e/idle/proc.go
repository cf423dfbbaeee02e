package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticks a second: the kernel's unit of processor time towards programs, on every machine Go runs on.
const ticks = 100

// usage is what a process has used and holds.
type usage struct {
	cpu                 time.Duration
	resident, anonymous int64 // bytes
}

func usageOf(pid int) (u usage, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return u, err
	}
	// The name, in parentheses, may hold anything; after it come the numbers from the third on.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, fmt.Errorf("%s/stat: %w", dir, err)
		}
		u.cpu += time.Duration(n) * time.Second / ticks
	}
	status, err := sizes(filepath.Join(dir, "status"))
	u.resident, u.anonymous = status["VmRSS"], status["RssAnon"]
	return u, err
}

// sizes reads the lines of the form "name: 12 kB".
func sizes(file string) (map[string]int64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) == 3 && f[2] == "kB" {
			if out[strings.TrimSuffix(f[0], ":")], err = strconv.ParseInt(f[1], 10, 64); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			out[strings.TrimSuffix(f[0], ":")] *= 1024
		}
	}
	return out, nil
}

// total is a number of processes and their memory.
type total struct {
	n                int
	resident, shared int64 // shared: each page divided by the number of its users
}

// supervisors sums up the shells that wait for tasks of agents below a directory.
func supervisors(dir string) (t total, err error) {
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return t, err
	}
	for _, file := range found {
		line, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || !bytes.Contains(line, []byte("\x00polder-task\x00")) || !bytes.Contains(line, []byte("\x00"+dir+"/")) {
			continue
		}
		m, err := sizes(filepath.Join(filepath.Dir(file), "smaps_rollup"))
		if err != nil {
			return t, err
		}
		t.n++
		t.resident += m["Rss"]
		t.shared += m["Pss"]
	}
	return t, nil
}
