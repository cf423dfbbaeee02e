package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"polder.dev/polder/agent/runtime"
)

// record is task.json: what the second stage needs to begin the command, and what a later agent needs to know it again.
type record struct {
	Spec       runtime.Spec `json:"spec"`   // as launched
	Funded     string       `json:"funded"` // as of now
	BootID     string       `json:"bootID"`
	Created    time.Time    `json:"created"`
	Namespaces bool         `json:"namespaces"`
	Joins      []string     `json:"joins"` // cgroup.procs files of the task
	Cred       *credential  `json:"cred,omitempty"`
	Env        []string     `json:"env"`
	Logs       [2]fileID    `json:"logs"` // stdout, stderr
}

// fileID tells a file from another that was put in its place.
type fileID struct {
	Dev uint64 `json:"dev"`
	Ino uint64 `json:"ino"`
}

// processes is the pid file. A pid alone may be somebody else's by now; with its start time it is one process.
type processes struct{ supervisor, command process }

type process struct {
	pid   int
	start uint64 // clock ticks since boot
}

func recordFile(dir string) string { return filepath.Join(dir, "task.json") }
func lockFile(dir string) string   { return filepath.Join(dir, "lock") }
func pidFile(dir string) string    { return filepath.Join(dir, "pid") }
func exitFile(dir string) string   { return filepath.Join(dir, "exit") }
func errorFile(dir string) string  { return filepath.Join(dir, "error") }

// writeAtomic replaces a file so that a reader, or a crash, sees the old or the new content and nothing between.
func writeAtomic(file string, data []byte) error {
	f, err := os.OpenFile(file+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func (r *record) write(dir string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeAtomic(recordFile(dir), data)
}

func readRecord(dir string) (*record, error) {
	data, err := os.ReadFile(recordFile(dir))
	if err != nil {
		return nil, err
	}
	return decodeRecord(data)
}

// decodeRecord is strict: a record that says more than is understood was written by a newer agent.
func decodeRecord(data []byte) (*record, error) {
	r := &record{}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(r); err != nil {
		return nil, fmt.Errorf("task.json: %w", err)
	}
	return r, r.Spec.Validate()
}

func (p processes) write(dir string) error {
	line := fmt.Sprintln(p.supervisor.pid, p.supervisor.start, p.command.pid, p.command.start)
	return writeAtomic(pidFile(dir), []byte(line))
}

func readProcesses(dir string) (p processes, err error) {
	data, err := os.ReadFile(pidFile(dir))
	if err != nil {
		return p, err
	}
	return decodeProcesses(string(data))
}

func decodeProcesses(line string) (p processes, err error) {
	_, err = fmt.Sscan(line, &p.supervisor.pid, &p.supervisor.start, &p.command.pid, &p.command.start)
	if err == nil && (p.supervisor.pid <= 0 || p.command.pid <= 0) {
		err = fmt.Errorf("not process ids")
	}
	if err != nil {
		err = fmt.Errorf("pid file %q: %w", line, err)
	}
	return p, err
}

// readExit is what the supervisor wrote; ok is false when it wrote nothing.
func readExit(dir string) (e runtime.Exit, ok bool) {
	data, err := os.ReadFile(exitFile(dir))
	if err != nil {
		return e, false
	}
	code, err := decodeExit(string(data))
	info, statErr := os.Stat(exitFile(dir))
	if err != nil || statErr != nil {
		return e, false
	}
	e = runtime.ExitOf(code, info.ModTime())
	if reason, _ := os.ReadFile(errorFile(dir)); len(reason) > 0 {
		e.Reason = strings.TrimSpace(string(reason))
	}
	return e, true
}

// decodeExit reads the first line of an exit file; the rest is the space reserved for it.
func decodeExit(text string) (int, error) {
	line, _, _ := strings.Cut(text, "\n")
	code, err := strconv.Atoi(line)
	if err != nil || code < 0 || code > 255 {
		return 0, fmt.Errorf("exit file %q: not an exit code", line)
	}
	return code, nil
}

// locked reports whether the supervisor lives: it inherited the lock, and only its end releases it.
func locked(dir string) bool {
	f, err := os.Open(lockFile(dir))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

// stat reads parent and start time of a process.
func stat(pid int) (parent int, start uint64, err error) {
	fields := statFields(pid)
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("process %d is gone", pid)
	}
	parent, err = strconv.Atoi(fields[1])
	if err != nil {
		return 0, 0, err
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return parent, start, err
}

// open gets a descriptor of exactly this process; os.ErrProcessDone when it is gone, whoever has its number now.
func (p process) open() (fd int, err error) {
	fd, err = unix.PidfdOpen(p.pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return -1, os.ErrProcessDone
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", p.pid, err)
	}
	if _, start, err := stat(p.pid); err != nil || start != p.start {
		unix.Close(fd)
		return -1, os.ErrProcessDone
	}
	return fd, nil
}

// signal sends to exactly this process; one that is gone is fine.
func (p process) signal(sig syscall.Signal) error {
	fd, err := p.open()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	return nil
}
