package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// enterMain is the first stage of an exec: it enters the task's namespaces, which for pids means that its child is in
// them, and ends as that child does. It is in no limit of the task itself. SIGTERM means that the caller gave up: it
// ends the child and reaps it, so that no zombie keeps the task's cgroup busy.
func enterMain() {
	code, err := enterTask()
	if err != nil {
		fmt.Fprintln(os.Stderr, "exec:", err)
		code = exitSetup
	}
	os.Exit(code)
}

func enterTask() (int, error) {
	data, err := io.ReadAll(os.NewFile(entryFD, "entry"))
	if err != nil {
		return 0, err
	}
	e, err := decodeEntry(data)
	if err != nil {
		return 0, err
	}
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	told, tell, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	if e.Namespaces {
		if err := enterNamespaces(process{e.PID, e.Start}); err != nil {
			return 0, err
		}
	}
	giveUp := make(chan os.Signal, 1)
	signal.Notify(giveUp, unix.SIGTERM)
	child, err := os.StartProcess(exe, []string{exe, initArg, "exec"}, &os.ProcAttr{
		Env:   os.Environ(),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, told},
		Sys:   &unix.SysProcAttr{Setsid: true, Setctty: e.Terminal}, // a session the task's namespace has a number for
	})
	if err != nil {
		return 0, err
	}
	told.Close()
	_, err = tell.Write(data)
	if err = errors.Join(err, tell.Close()); err != nil {
		return 0, err
	}
	go func() {
		<-giveUp
		child.Kill()
	}()
	return wait(child)
}

func decodeEntry(data []byte) (*entry, error) {
	e := &entry{}
	if err := json.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("entry: %w", err)
	}
	if e.PID <= 0 || len(e.Command) == 0 {
		return nil, errors.New("entry: no process or no command")
	}
	return e, nil
}

// enterNamespaces moves this thread, which is locked and will start the child, into those of the task. Descriptors are
// opened before the process is checked to be the right one, so they belong to it.
func enterNamespaces(p process) error {
	kinds := []struct {
		name string
		flag int
	}{{"ipc", unix.CLONE_NEWIPC}, {"pid", unix.CLONE_NEWPID}, {"mnt", unix.CLONE_NEWNS}}
	fds := make([]int, len(kinds))
	for i, k := range kinds {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/%s", p.pid, k.name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("namespace %s: %w", k.name, err)
		}
		fds[i] = fd
	}
	if _, start, err := stat(p.pid); err != nil || start != p.start {
		return errors.New("the task has ended")
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("leave shared directories: %w", err)
	}
	for i, k := range kinds {
		if err := unix.Setns(fds[i], k.flag); err != nil {
			return fmt.Errorf("enter namespace %s: %w", k.name, err)
		}
	}
	return nil
}

func wait(child *os.Process) (int, error) {
	state, err := child.Wait()
	if err != nil {
		return 0, err
	}
	if ws := state.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return state.ExitCode(), nil
}

// execMain is the second stage: in the namespaces already, it joins the cgroups, drops the user and becomes the
// command. It goes when the first stage goes, even if that one is killed.
func execMain() {
	err := execCommand()
	fmt.Fprintln(os.Stderr, "exec:", err)
	os.Exit(failureCode(err))
}

func execCommand() error {
	runtime.LockOSThread()
	unix.CloseOnExec(entryFD)
	data, err := io.ReadAll(os.NewFile(entryFD, "entry"))
	if err != nil {
		return err
	}
	e, err := decodeEntry(data)
	if err != nil {
		return err
	}
	if err := join(e.Joins); err != nil {
		return err
	}
	if err := e.Cred.become(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set parent death signal: %w", err)
	}
	return become(e.Command, e.Env, e.WorkDir, func() {})
}
