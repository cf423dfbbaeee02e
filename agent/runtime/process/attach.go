package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"polder.dev/polder/agent/runtime"
)

// echoEvery is how often the output of a task is looked at while somebody may be typing.
const echoEvery = 20 * time.Millisecond

func inputFile(dir string) string { return filepath.Join(dir, "input") }

// Attach follows the output and sends input by way of the task's console.
func (r *Runtime) Attach(ctx context.Context, taskID string, opt runtime.AttachOptions) error {
	t, err := r.lookup(ctx, "attach", taskID)
	if err != nil {
		return err
	}
	fail := func(kind, cause error, next string) error {
		return &runtime.Error{Kind: kind, Op: "attach", Task: taskID, Cause: cause, Next: next}
	}
	switch {
	case t.ended():
		return fail(runtime.ErrNotRunning, nil, "read its logs")
	case opt.Stdin != nil && !t.rec.Spec.Interactive():
		return fail(runtime.ErrInvalid, errors.New("it was started without an input"), "attach without input, or run it anew with stdin or tty set")
	}
	streams, err := t.outputs(opt)
	defer closeStreams(streams)
	if err != nil {
		return fmt.Errorf("task %s: attach: %w", taskID, err)
	}
	if opt.Stdin != nil {
		done, err := t.connectInput(opt)
		if err != nil {
			return fail(runtime.ErrNotRunning, err, "attach to its output only")
		}
		defer done()
	}
	return t.copyLogs(ctx, true, echoEvery, streams)
}

// outputs opens what is wanted of the output, from its beginning or its end.
func (t *task) outputs(opt runtime.AttachOptions) (streams []*stream, err error) {
	for i, w := range []io.Writer{opt.Stdout, opt.Stderr} {
		if w == nil {
			continue
		}
		s, err := t.openStream(i, w, 0)
		if err != nil {
			return streams, err
		}
		streams = append(streams, s)
		if !opt.Logs {
			if s.at, err = s.file.Seek(0, io.SeekEnd); err != nil {
				return streams, err
			}
		}
	}
	return streams, nil
}

// connectInput starts sending; the function it returns ends that. A reader that blocks is its caller's to end.
func (t *task) connectInput(opt runtime.AttachOptions) (done func(), err error) {
	console, err := os.OpenFile(inputFile(t.dir), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("the process that held its input is gone")
	}
	if err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	var resizing sync.WaitGroup
	resizing.Go(func() { sendSizes(console, opt.Resize, ended) })
	go sendInput(console, opt.Stdin)
	return func() {
		close(ended)
		console.Close()
		resizing.Wait()
	}, nil
}

// sendInput sends all of stdin in frames, and that it has ended if it has.
func sendInput(console io.Writer, stdin io.Reader) {
	buf := make([]byte, frameMost-frameHeader)
	for {
		n, err := stdin.Read(buf)
		if n > 0 {
			if _, err := console.Write(frame(frameInput, buf[:n])); err != nil {
				return
			}
		}
		if errors.Is(err, io.EOF) {
			console.Write(frame(frameClose, nil)) // fails only when the task or the attachment is over
		}
		if err != nil {
			return
		}
	}
}

func sendSizes(console io.Writer, sizes <-chan runtime.Size, ended <-chan struct{}) {
	for {
		select {
		case s, ok := <-sizes:
			if !ok {
				return
			}
			console.Write(resizeFrame(s))
		case <-ended:
			return
		}
	}
}

// taskEndFD is the command's end of its input or terminal, in the supervisor.
const taskEndFD = 7

// console is what an interactive task and its console are started with.
type console struct {
	task, held, frames *os.File
}

// openConsole makes the ends of a pipe or a terminal, and the fifo for the frames.
func (t *task) openConsole() (c console, err error) {
	if err := unix.Mkfifo(inputFile(t.dir), 0o600); err != nil {
		return c, fmt.Errorf("make the input: %w", err)
	}
	// Open for both, so that the console sees no end when an agent hangs up.
	if c.frames, err = os.OpenFile(inputFile(t.dir), os.O_RDWR|unix.O_NONBLOCK, 0); err != nil {
		return c, err
	}
	if !t.rec.Spec.TTY {
		c.task, c.held, err = os.Pipe()
	} else if c.held, c.task, err = openTerminal(); err == nil {
		err = setSize(c.held, runtime.Size{Rows: 24, Cols: 80})
	}
	if err != nil {
		return c, err
	}
	if cred := t.rec.Cred; cred != nil {
		err = c.task.Chown(cred.UID, cred.GID) // so that it can be opened again by name
	}
	return c, errors.Join(err, unix.SetNonblock(int(c.task.Fd()), false)) // the command expects to wait
}

func (c console) files() []*os.File { return []*os.File{c.task, c.held, c.frames} }
