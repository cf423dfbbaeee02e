package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/cgroup"
)

const leftoverPatience = 10 * time.Second

// watch waits for the supervisor's end on a goroutine of its own.
func (r *Runtime) watch(t *task) {
	r.owned.Go(func() {
		err := awaitEnd(t.pidfd)
		select {
		case <-r.closed:
			return
		default:
		}
		left := r.sweep(t)
		code, known := reap(t.procs.supervisor.pid)
		t.pidfd.Close()
		e, ok := readExit(t.dir)
		switch {
		case ok:
		case known:
			e = runtime.ExitOf(code, time.Now())
		case err != nil:
			e = runtime.LostExit(err.Error())
		default:
			e = runtime.LostExit("its supervisor was killed")
		}
		if left != nil {
			e.Reason = strings.TrimSpace(e.Reason + " (processes left behind: " + left.Error() + ")")
		}
		r.finish(t, e)
	})
}

// sweep ends what the command left running. It comes before reaping: until then the supervisor's number is nobody
// else's.
func (r *Runtime) sweep(t *task) error {
	ctx, cancel := context.WithTimeout(context.Background(), leftoverPatience)
	defer cancel()
	return r.killRest(ctx, t)
}

// finish records the end. The cgroup goes at once, so that an ended task has no weight; if it is not free yet, Remove
// tries again.
func (r *Runtime) finish(t *task, e runtime.Exit) {
	if e.Code == 137 && r.tree.OOMKilled(t.id) {
		e.OOM, e.Reason = true, fmt.Sprintf("over its memory limit of %d bytes", t.rec.Spec.MemoryBytes)
	}
	r.tree.Remove(t.id)
	r.mu.Lock()
	t.status.State, t.status.Exit, t.status.PID = runtime.Exited, &e, 0
	r.mu.Unlock()
	close(t.done)
}

// adoptAll reads every task an earlier agent left.
func (r *Runtime) adoptAll() error {
	entries, err := os.ReadDir(r.opt.StateDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if dir := filepath.Join(r.opt.StateDir, e.Name()); strings.HasPrefix(e.Name(), ".gone-") {
			err = os.RemoveAll(dir)
		} else if e.IsDir() && runtime.ValidTaskID(e.Name()) {
			err = r.adopt(e.Name(), dir)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.Name(), err)
		}
	}
	return nil
}

// adopt takes a task over. A directory without a record, or without a pid and a supervisor, is a launch that never
// reached the command: it is dropped, and may be started again.
func (r *Runtime) adopt(id, dir string) error {
	rec, err := readRecord(dir)
	if errors.Is(err, os.ErrNotExist) {
		return os.RemoveAll(dir)
	}
	if err != nil {
		return fmt.Errorf("%w; move %s away to go on without that task", err, dir)
	}
	procs, begun, err := settle(dir, rec.BootID == r.boot)
	if err != nil {
		return err
	}
	t := r.newTask(rec.Spec, rec)
	close(t.ready)
	if !begun {
		return r.forget(t)
	}
	if err := r.tree.Add(cgroup.TaskOf(rec.Spec)); err != nil {
		return err
	}
	r.tree.SetFunded(id, rec.Funded)
	t.status.Funded = rec.Funded
	t.procs = procs
	t.status.State, t.status.PID, t.status.StartedAt = runtime.Running, procs.command.pid, rec.Created
	r.tasks[id] = t
	return r.follow(t)
}

// settle waits for a supervisor that was started a moment ago, by an agent that then died, to get as far as its pid
// file, or to end. begun is false when the command was never reached.
func settle(dir string, sameBoot bool) (p processes, begun bool, err error) {
	deadline := time.Now().Add(startPatience)
	for {
		alive := sameBoot && locked(dir)
		p, err = readProcesses(dir)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return p, true, err
		}
		if !alive {
			return p, false, nil
		}
		if time.Now().After(deadline) {
			return p, false, errors.New("its supervisor runs but does not get on; end the process holding " + lockFile(dir))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// follow watches an adopted task, or finishes it when it ended while no agent was there. Of one that ended so, only the
// cgroup still names what it left running: process numbers may be somebody else's by now.
func (r *Runtime) follow(t *task) error {
	fd, err := -1, error(os.ErrProcessDone)
	if t.rec.BootID == r.boot {
		fd, err = t.procs.supervisor.open()
	}
	if errors.Is(err, os.ErrProcessDone) {
		r.finish(t, r.unseen(t))
		return nil
	}
	if err != nil {
		return err
	}
	if t.pidfd, err = pidfdFile(fd, t.procs.supervisor.pid); err != nil {
		return err
	}
	r.watch(t)
	return nil
}

// unseen is the end of a task that no agent watched.
func (r *Runtime) unseen(t *task) runtime.Exit {
	ctx, cancel := context.WithTimeout(context.Background(), leftoverPatience)
	defer cancel()
	err := r.tree.Kill(ctx, t.id)
	e, ok := readExit(t.dir)
	switch {
	case ok:
	case t.rec.BootID != r.boot:
		e = runtime.LostExit("the machine was restarted")
	default:
		e = runtime.LostExit("its supervisor was killed while no agent ran")
	}
	if err != nil {
		e.Reason += " (processes left behind: " + err.Error() + ")"
	}
	return e
}
