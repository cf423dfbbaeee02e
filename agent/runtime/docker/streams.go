package docker

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"polder.dev/polder/agent/runtime"
)

// Logs copies what the engine recorded. The engine counts the lines of Tail over both streams together.
func (r *Runtime) Logs(ctx context.Context, taskID string, opt runtime.LogOptions, stdout, stderr io.Writer) error {
	c, err := r.inspect(ctx, "logs", taskID)
	if err != nil {
		return err
	}
	tail := "all"
	if opt.Tail > 0 {
		tail = strconv.Itoa(opt.Tail)
	}
	logs, err := r.api.ContainerLogs(ctx, c.ID, client.ContainerLogsOptions{
		ShowStdout: stdout != nil, ShowStderr: stderr != nil, Follow: opt.Follow, Tail: tail})
	if err != nil {
		return r.fail("logs", taskID, err)
	}
	defer logs.Close()
	if err = copyOutput(c.Config.Tty, stdout, stderr, logs); err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return r.fail("logs", taskID, err)
}

// copyOutput copies the engine's stream to its end. A terminal's is plain, others are two in one.
func copyOutput(terminal bool, stdout, stderr io.Writer, from io.Reader) error {
	var err error
	if terminal {
		_, err = io.Copy(orDiscard(stdout), from)
	} else {
		_, err = stdcopy.StdCopy(orDiscard(stdout), orDiscard(stderr), from)
	}
	return err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// Exec runs a command in the container. When ctx ends the streams are cut; the engine has no way to end the command.
func (r *Runtime) Exec(ctx context.Context, taskID string, opt runtime.ExecOptions) (int, error) {
	if len(opt.Command) == 0 {
		return 0, &runtime.Error{Kind: runtime.ErrInvalid, Op: "exec", Task: taskID, Cause: errors.New("no command")}
	}
	c, err := r.inspect(ctx, "exec", taskID)
	if err != nil {
		return 0, err
	}
	if !c.State.Running {
		return 0, &runtime.Error{Kind: runtime.ErrNotRunning, Op: "exec", Task: taskID}
	}
	created, err := r.api.ExecCreate(ctx, c.ID, client.ExecCreateOptions{Cmd: opt.Command, TTY: opt.TTY, User: opt.User,
		WorkingDir: opt.WorkDir, Env: environ(opt.Env), AttachStdin: opt.Stdin != nil, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return 0, r.fail("exec", taskID, err)
	}
	if err := r.serveExec(ctx, created.ID, opt); err != nil {
		return 0, r.fail("exec", taskID, err)
	}
	code, err := r.execCode(ctx, created.ID)
	return code, r.fail("exec", taskID, err)
}

func environ(env map[string]string) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// serveExec starts the command and serves its streams until its output ends.
func (r *Runtime) serveExec(ctx context.Context, id string, opt runtime.ExecOptions) error {
	conn, err := r.api.ExecAttach(ctx, id, client.ExecAttachOptions{TTY: opt.TTY})
	if err != nil {
		return err
	}
	return serve(ctx, conn.HijackedResponse, opt.TTY, runtime.AttachOptions{Stdin: opt.Stdin, Stdout: opt.Stdout, Stderr: opt.Stderr, Resize: opt.Resize},
		func(h, w uint) error {
			_, err := r.api.ExecResize(ctx, id, client.ExecResizeOptions{Height: h, Width: w})
			return err
		})
}

// noKeys is what the engine takes for the keys that detach: detaching is the client's own matter, and nobody types this.
const noKeys = "ctrl-@,ctrl-_,ctrl-@,ctrl-_,ctrl-@,ctrl-_,ctrl-@,ctrl-_"

// Attach connects to the container's own streams. The engine says nothing of how they ended: when they did and the
// container runs on, the engine cut them.
func (r *Runtime) Attach(ctx context.Context, taskID string, opt runtime.AttachOptions) error {
	c, err := r.inspect(ctx, "attach", taskID)
	if err != nil {
		return err
	}
	fail := func(kind, cause error, next string) error {
		return &runtime.Error{Kind: kind, Op: "attach", Task: taskID, Cause: cause, Next: next}
	}
	switch {
	case !c.State.Running:
		return fail(runtime.ErrNotRunning, nil, "read its logs")
	case opt.Stdin != nil && !c.Config.OpenStdin:
		return fail(runtime.ErrInvalid, errors.New("it was started without an input"), "attach without input, or run it anew with stdin or tty set")
	}
	conn, err := r.api.ContainerAttach(ctx, c.ID, client.ContainerAttachOptions{
		Stream: true, Stdin: opt.Stdin != nil, Stdout: true, Stderr: true, Logs: opt.Logs, DetachKeys: noKeys})
	if err != nil {
		return r.fail("attach", taskID, err)
	}
	err = serve(ctx, conn.HijackedResponse, c.Config.Tty, opt, func(h, w uint) error {
		_, err := r.api.ContainerResize(ctx, c.ID, client.ContainerResizeOptions{Height: h, Width: w})
		return err
	})
	if err != nil {
		return r.fail("attach", taskID, err)
	}
	_, err = r.Wait(ctx, taskID)
	return err
}

// serve copies a connection's streams until its output ends.
func serve(ctx context.Context, conn client.HijackedResponse, terminal bool, opt runtime.AttachOptions, resize func(height, width uint) error) error {
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Close)()
	over := make(chan struct{})
	defer close(over)
	if terminal {
		go followSize(resize, opt.Resize, over)
	}
	if opt.Stdin != nil {
		go func() { // ends with the connection, or the caller's reader
			_, err := io.Copy(conn.Conn, opt.Stdin)
			if err == nil && !terminal { // the engine would cut the output too; a terminal's input has no end
				conn.CloseWrite()
			}
		}()
	}
	err := copyOutput(terminal, opt.Stdout, opt.Stderr, conn.Reader)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

const soon = 20 * time.Millisecond

// followSize applies sizes as they come; the latest is tried again until the terminal exists.
func followSize(resize func(height, width uint) error, sizes <-chan runtime.Size, over <-chan struct{}) {
	var again <-chan time.Time
	var size runtime.Size
	for {
		select {
		case s, ok := <-sizes:
			if !ok {
				sizes = nil
				continue
			}
			size = s
		case <-again:
		case <-over:
			return
		}
		again = nil
		if resize(uint(size.Rows), uint(size.Cols)) != nil {
			again = time.After(soon)
		}
	}
}

// execCode asks how the command ended; its output may be over a moment before it is.
func (r *Runtime) execCode(ctx context.Context, id string) (int, error) {
	for {
		res, err := r.api.ExecInspect(ctx, id, client.ExecInspectOptions{})
		if err != nil || !res.Running {
			return res.ExitCode, err
		}
		select {
		case <-time.After(soon):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Usage asks the engine for one sample.
func (r *Runtime) Usage(ctx context.Context, taskID string) (runtime.Usage, error) {
	c, err := r.inspect(ctx, "usage", taskID)
	if err != nil {
		return runtime.Usage{}, err
	}
	if !c.State.Running {
		return runtime.Usage{}, &runtime.Error{Kind: runtime.ErrNotRunning, Op: "usage", Task: taskID}
	}
	res, err := r.api.ContainerStats(ctx, c.ID, client.ContainerStatsOptions{})
	if err != nil {
		return runtime.Usage{}, r.fail("usage", taskID, err)
	}
	defer res.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		return runtime.Usage{}, r.fail("usage", taskID, err)
	}
	return usageOf(s), nil
}

// usageOf leaves out the cache the kernel could drop at once; cgroup v1 and v2 name it differently.
func usageOf(s container.StatsResponse) runtime.Usage {
	cache := max(s.MemoryStats.Stats["total_inactive_file"], s.MemoryStats.Stats["inactive_file"])
	memory := int64(s.MemoryStats.Usage) - int64(cache)
	return runtime.Usage{CPUSeconds: float64(s.CPUStats.CPUUsage.TotalUsage) / 1e9, MemoryBytes: max(memory, 0),
		Pids: int64(s.PidsStats.Current), At: s.Read}
}
