package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"polder.dev/polder/agent/runtime"
)

// entry is what the stages of an exec are told, on descriptor 3.
type entry struct {
	PID        int         `json:"pid"` // the task's command
	Start      uint64      `json:"start"`
	Namespaces bool        `json:"namespaces"`
	Joins      []string    `json:"joins"`
	Cred       *credential `json:"cred,omitempty"`
	Command    []string    `json:"command"`
	Env        []string    `json:"env"`
	WorkDir    string      `json:"workDir"`
	Terminal   bool        `json:"terminal"` // standard input is one, for this command to control
}

const entryFD = 3

// Exec runs a command in the task's cgroup and namespaces. One that cannot begin ends with 126 or 127 and says why on
// stderr, as from a shell.
func (r *Runtime) Exec(ctx context.Context, taskID string, opt runtime.ExecOptions) (int, error) {
	t, err := r.lookup(ctx, "exec", taskID)
	if err != nil {
		return 0, err
	}
	fail := func(kind, cause error) (int, error) {
		return 0, &runtime.Error{Kind: kind, Op: "exec", Task: taskID, Cause: cause}
	}
	if t.ended() {
		return fail(runtime.ErrNotRunning, nil)
	}
	if len(opt.Command) == 0 {
		return fail(runtime.ErrInvalid, errors.New("no command"))
	}
	e, err := r.entry(t, opt)
	if err != nil {
		return fail(runtime.ErrInvalid, err)
	}
	code, err := r.enter(ctx, e, opt)
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err != nil:
		return fail(runtime.ErrStart, err)
	}
	return code, nil
}

// entry completes the options with the task's own settings.
func (r *Runtime) entry(t *task, opt runtime.ExecOptions) (*entry, error) {
	e := &entry{PID: t.procs.command.pid, Start: t.procs.command.start, Namespaces: t.rec.Namespaces,
		Joins: t.rec.Joins, Cred: t.rec.Cred, Command: opt.Command, WorkDir: opt.WorkDir, Env: t.rec.Env, Terminal: opt.TTY}
	if e.WorkDir == "" {
		e.WorkDir = t.rec.Spec.WorkDir
	}
	if e.WorkDir == "" {
		e.WorkDir = t.rec.Spec.Sandbox
	}
	e.Env = override(t.rec.Env, opt.Env)
	var err error
	if opt.User != "" {
		e.Cred, err = r.userOf(opt.User)
	}
	return e, err
}

// override is env with the names in extra set anew, in order of name.
func override(env []string, extra map[string]string) []string {
	merged := map[string]string{}
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		merged[name] = value
	}
	maps.Copy(merged, extra)
	list := make([]string, 0, len(merged))
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		list = append(list, name+"="+merged[name])
	}
	return list
}

// enter starts the first stage and serves its streams until it ends.
func (r *Runtime) enter(ctx context.Context, e *entry, opt runtime.ExecOptions) (int, error) {
	told, tell, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, r.exe, initArg, "enter")
	cmd.Env = []string{defaultPath}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{told}
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true} // away from a terminal the agent may have
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second // background children may hold the streams open for ever
	serve, err := attach(cmd, opt)
	if err == nil {
		err = cmd.Start()
	}
	told.Close()
	if err != nil {
		tell.Close()
		return 0, err
	}
	go func() {
		json.NewEncoder(tell).Encode(e)
		tell.Close()
	}()
	finish := serve()
	err = cmd.Wait()
	finish()
	return exitCode(cmd, err)
}

func exitCode(cmd *exec.Cmd, err error) (int, error) {
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) || errors.Is(err, exec.ErrWaitDelay) {
		if code := cmd.ProcessState.ExitCode(); code >= 0 {
			return code, nil
		}
		return 0, fmt.Errorf("ended by %s", cmd.ProcessState)
	}
	return 0, err
}

// attach connects the command's streams. serve begins copying once it has started and returns what to do when it has
// ended.
func attach(cmd *exec.Cmd, opt runtime.ExecOptions) (serve func() (finish func()), err error) {
	if opt.TTY {
		return attachTerminal(cmd, opt)
	}
	cmd.Stdout, cmd.Stderr = opt.Stdout, opt.Stderr
	if opt.Stdin == nil {
		return func() func() { return func() {} }, nil
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return func() func() {
		go func() { // ends with the command: its pipe breaks, or the caller's reader ends
			io.Copy(stdin, opt.Stdin)
			stdin.Close()
		}()
		return func() {}
	}, nil
}

// attachTerminal gives the command a terminal of its own.
func attachTerminal(cmd *exec.Cmd, opt runtime.ExecOptions) (serve func() func(), err error) {
	master, slave, err := openTerminal()
	if err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	return func() func() {
		slave.Close()
		ended, copied := make(chan struct{}), make(chan struct{})
		go resize(master, opt.Resize, ended)
		if opt.Stdin != nil {
			go io.Copy(master, opt.Stdin)
		}
		go func() {
			defer close(copied)
			if opt.Stdout != nil {
				io.Copy(opt.Stdout, master) // ends with an I/O error when the last user of the terminal is gone
			}
		}()
		return func() {
			close(ended)
			select {
			case <-copied:
			case <-time.After(cmd.WaitDelay):
			}
			master.Close()
		}
	}, nil
}

// resize applies sizes as they come.
func resize(master *os.File, sizes <-chan runtime.Size, ended <-chan struct{}) {
	for {
		select {
		case s, ok := <-sizes:
			if !ok {
				return
			}
			setSize(master, s)
		case <-ended:
			return
		}
	}
}

// openTerminal makes a pseudo terminal. The master stays in the poller, so closing it ends a read.
func openTerminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	var number int
	err = control(master, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	})
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	return master, slave, nil
}

func control(f *os.File, do func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var doErr error
	err = conn.Control(func(fd uintptr) { doErr = do(int(fd)) })
	return errors.Join(err, doErr)
}
