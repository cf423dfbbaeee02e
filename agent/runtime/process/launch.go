package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/cgroup"
)

const (
	namespaces    = unix.CLONE_NEWPID | unix.CLONE_NEWIPC
	isolated      = "pid,mnt,ipc"
	startPatience = 30 * time.Second
	defaultPath   = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Start runs the command under a supervisor and returns when the command begins.
func (r *Runtime) Start(ctx context.Context, spec runtime.Spec) (runtime.Status, error) {
	if err := r.Prepare(ctx, spec, nil); err != nil {
		return runtime.Status{}, err
	}
	t, ours := r.reserve(spec)
	if ours {
		if err := r.launch(t); err != nil {
			t.err = &runtime.Error{Kind: runtime.ErrStart, Op: "start", Task: t.id, Cause: errors.Join(err, r.undo(t))}
		}
		close(t.ready)
	}
	select {
	case <-t.ready:
	case <-ctx.Done():
		return runtime.Status{}, ctx.Err()
	}
	if t.err != nil {
		return runtime.Status{}, t.err
	}
	return r.status(t), nil
}

// reserve makes the task known, so that a second Start finds it; ours is false for that second one.
func (r *Runtime) reserve(spec runtime.Spec) (t *task, ours bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.tasks[spec.TaskID]; t != nil {
		return t, false
	}
	t = r.newTask(spec, &record{Spec: spec, BootID: r.boot, Funded: spec.FundedOrBorrowed(), Created: time.Now(), Namespaces: r.ns})
	r.tasks[spec.TaskID] = t
	return t, true
}

func (r *Runtime) newTask(spec runtime.Spec, rec *record) *task {
	t := &task{id: spec.TaskID, dir: filepath.Join(r.opt.StateDir, spec.TaskID), rec: rec,
		ready: make(chan struct{}), done: make(chan struct{})}
	t.status = runtime.Status{TaskID: spec.TaskID, Role: spec.Role, Node: spec.Node, Funded: spec.FundedOrBorrowed(),
		Labels: spec.Labels, State: runtime.Starting, Isolation: "none"}
	if rec.Namespaces {
		t.status.Isolation = isolated
	}
	return t
}

// launch writes everything down, then starts the supervisor and hears from the second stage. What it leaves on an error
// is for undo.
func (r *Runtime) launch(t *task) error {
	if err := r.prepareRecord(t); err != nil {
		return err
	}
	files, err := t.openFiles()
	defer func() { closeAll(files) }()
	if err != nil {
		return err
	}
	if t.rec.Spec.Interactive() {
		c, err := t.openConsole()
		files = append(files, c.files()...)
		if err != nil {
			return err
		}
	}
	if err := t.rec.write(t.dir); err != nil {
		return err
	}
	hear, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer hear.Close()
	err = r.spawn(t, files, tell)
	tell.Close()
	if err != nil {
		return err
	}
	if err := heard(hear); err != nil {
		return err
	}
	return r.began(t)
}

func (r *Runtime) prepareRecord(t *task) error {
	cred, err := r.userOf(t.rec.Spec.User)
	if err != nil {
		return err
	}
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		return err
	}
	if err := r.tree.Add(cgroup.TaskOf(t.rec.Spec)); err != nil {
		return err
	}
	t.rec.Cred = cred
	t.rec.Joins = r.tree.Joins(t.id)
	t.rec.Env = environment(t.rec.Spec)
	return nil
}

// environment is the spec's, with a PATH and a HOME if it has none.
func environment(spec runtime.Spec) []string {
	env := spec.Environ(spec.Sandbox, false)
	if _, ok := spec.Env["PATH"]; !ok {
		env = append(env, defaultPath)
	}
	if _, ok := spec.Env["TERM"]; spec.TTY && !ok {
		env = append(env, "TERM=xterm")
	}
	if _, ok := spec.Env["HOME"]; !ok {
		env = append(env, "HOME="+spec.Sandbox)
	}
	return env
}

// openFiles opens the lock, taken, and the output files, and reserves the exit file.
func (t *task) openFiles() ([]*os.File, error) {
	if err := os.WriteFile(exitFile(t.dir)+".new", []byte("\n\n\n\n\n\n\n\n"), 0o600); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(lockFile(t.dir), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	files := []*os.File{lock}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return files, fmt.Errorf("lock: %w", err)
	}
	for i, name := range []string{"stdout", "stderr"} {
		f, err := t.openLog(i, name)
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	if c := t.rec.Cred; c != nil {
		return files, os.Chown(t.rec.Spec.Sandbox, c.UID, c.GID)
	}
	return files, nil
}

func (t *task) openLog(i int, name string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(t.rec.Spec.Sandbox, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return nil, err
	}
	if c := t.rec.Cred; c != nil {
		err = f.Chown(c.UID, c.GID)
	}
	if err == nil {
		t.rec.Logs[i], err = idOf(f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close() // nil, where opening failed, is no harm
	}
}

// spawn starts the supervisor: in new namespaces, a session of its own, and holding the lock.
func (r *Runtime) spawn(t *task, files []*os.File, tell *os.File) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	script := supervisor
	if t.rec.Spec.Interactive() {
		script = attended
	}
	args := append([]string{"sh", "-c", script, "polder-task", r.exe, t.dir}, r.tree.SupervisorJoins()...)
	pidfd := -1
	p, err := os.StartProcess("/bin/sh", args, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{defaultPath},
		Files: append([]*os.File{null, null, null, files[0], tell}, files[1:]...),
		Sys:   r.separate(t.rec.Spec.TTY, &pidfd),
	})
	if err != nil {
		return err
	}
	pid := p.Pid
	p.Release()
	t.procs.supervisor.pid = pid
	if pidfd < 0 {
		return errors.New("this kernel has no pidfd: Linux 5.4 or newer is needed")
	}
	t.pidfd, err = pidfdFile(pidfd, pid)
	return err
}

func (r *Runtime) separate(terminal bool, pidfd *int) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true, PidFD: pidfd, Setctty: terminal, Ctty: taskEndFD}
	if r.ns {
		attr.Cloneflags, attr.Unshareflags = namespaces, unix.CLONE_NEWNS
	}
	return attr
}

// probe starts and ends a process the way spawn does, down to its own /proc.
func (r *Runtime) probe() error {
	p, err := os.StartProcess(r.exe, []string{r.exe, initArg, "probe"}, &os.ProcAttr{
		Sys: &syscall.SysProcAttr{Cloneflags: namespaces, Unshareflags: unix.CLONE_NEWNS},
	})
	if err != nil {
		return err
	}
	state, err := p.Wait()
	if err == nil && !state.Success() {
		err = errors.New("/proc cannot be mounted")
	}
	return err
}

// heard reads the second stage's one line. A closed pipe means nobody is left to say it.
func heard(pipe *os.File) error {
	pipe.SetReadDeadline(time.Now().Add(startPatience))
	line, err := bufio.NewReader(pipe).ReadString('\n')
	if err != nil {
		return fmt.Errorf("no word from the new process (%w)", err)
	}
	if line = strings.TrimSpace(line); line != "ok" {
		return errors.New(line)
	}
	return nil
}

// began makes the running task public, and watched unless the runtime was closed meanwhile.
func (r *Runtime) began(t *task) (err error) {
	if t.procs, err = readProcesses(t.dir); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t.status.State, t.status.PID, t.status.StartedAt = runtime.Running, t.procs.command.pid, t.rec.Created
	select {
	case <-r.closed:
		return t.pidfd.Close()
	default:
		r.watch(t)
		return nil
	}
}

// undo ends what a failed launch may have left and forgets the task. The supervisor is still ours to reap, so its pid
// is nobody else's.
func (r *Runtime) undo(t *task) error {
	if pid := t.procs.supervisor.pid; pid > 0 {
		unix.Kill(pid, unix.SIGKILL)
		unix.Wait4(pid, nil, 0, nil)
	}
	if t.pidfd != nil {
		t.pidfd.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	return errors.Join(r.tree.Kill(ctx, t.id), r.removeCgroup(t.id), r.drop(t))
}
