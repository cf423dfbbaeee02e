package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"polder.dev/polder/agent/runtime/cgroup"
)

// killSession ends every process of the session the supervisor leads, except itself: the last resort without cgroups
// and namespaces. It goes round until none is left, because they may fork meanwhile; a process that started a session
// of its own escapes.
func killSession(leader int) error {
	for range 100 {
		members, err := session(leader)
		if err != nil || len(members) == 0 {
			return err
		}
		for _, pid := range members {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
	}
	return nil
}

// session lists the living members of a session but its leader.
func session(leader int) (pids []int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == leader {
			continue
		}
		fields := statFields(pid)
		if len(fields) > 3 && fields[0] != "Z" && fields[3] == strconv.Itoa(leader) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// statFields are the fields of /proc/<pid>/stat from the state on; none when the process is gone. The name before them
// may hold anything, so they are counted after its last parenthesis.
func statFields(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
}

// ticksPerSecond is what /proc counts CPU time in, on every Linux port Go knows.
const ticksPerSecond = 100

// usageOf reads one process's account from /proc.
func usageOf(pid int) (cgroup.Usage, error) {
	fields := statFields(pid)
	if len(fields) < 22 {
		return cgroup.Usage{}, fmt.Errorf("process %d is gone", pid)
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		return n
	}
	return cgroup.Usage{
		CPUSeconds:  float64(number(11)+number(12)) / ticksPerSecond,
		MemoryBytes: number(21) * int64(os.Getpagesize()),
		Pids:        1,
	}, nil
}
