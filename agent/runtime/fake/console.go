package fake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"polder.dev/polder/agent/runtime"
)

// Console is what a script's Main has of its task.
type Console struct {
	Stdin          io.Reader           // what is attached to the task; ends when an attachment closes it, or the task ends
	Stdout, Stderr io.Writer           // fail when the task has ended
	Resize         <-chan runtime.Size // sizes of its terminal
	Done           <-chan struct{}     // closed when the task has ended
}

// output is one stream that a task has written so far.
type output struct {
	mu    sync.Mutex // guards what follows
	text  string
	ended bool
	more  chan struct{} // closed at the next change
}

func newOutput(text string) *output { return &output{text: text, more: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return 0, io.ErrClosedPipe
	}
	o.text += string(p)
	o.changed()
	return len(p), nil
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.changed()
}

// changed wakes whoever waits. The caller holds the lock.
func (o *output) changed() {
	close(o.more)
	o.more = make(chan struct{})
}

// from is the text from an offset on, whether that is the end, and what to wait for otherwise.
func (o *output) from(at int) (text string, ended bool, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text[at:], o.ended, o.more
}

func (o *output) now() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.text)
}

// tail is where the last n lines begin; 0 is all.
func (o *output) tail(n int) int {
	text, _, _ := o.from(0)
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	if n == 0 || n >= len(lines) {
		return 0
	}
	return len(strings.Join(lines[:len(lines)-n], ""))
}

// copy writes what there is from an offset on and, with follow, what comes until the task has ended.
func (o *output) copy(ctx context.Context, at int, follow bool, w io.Writer) error {
	for {
		text, ended, more := o.from(at)
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		at += len(text)
		if ended || !follow {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// copyOutput copies both streams; a nil writer does not want its one.
func (t *task) copyOutput(ctx context.Context, stdout, stderr io.Writer, follow bool, start func(*output) int) error {
	var errs [2]error
	var both sync.WaitGroup
	for i, w := range []io.Writer{stdout, stderr} {
		if w == nil {
			continue
		}
		at := start(t.output[i])
		both.Go(func() { errs[i] = t.output[i].copy(ctx, at, follow, w) })
	}
	both.Wait()
	return errors.Join(errs[:]...)
}

func newTask(spec runtime.Spec, s Script) *task {
	t := &task{spec: spec, script: s, done: make(chan struct{}), resize: make(chan runtime.Size, 1),
		output: [2]*output{newOutput(s.Stdout), newOutput(s.Stderr)},
		status: runtime.Status{TaskID: spec.TaskID, Role: spec.Role, Node: spec.Node, Funded: spec.FundedOrBorrowed(),
			Labels: spec.Labels, State: runtime.Running, StartedAt: time.Now(), Isolation: "none"}}
	t.stdin, t.input = io.Pipe()
	return t
}

// main runs the script's own program.
func (r *Runtime) main(t *task) {
	code := t.script.Main(Console{Stdin: t.stdin, Stdout: t.output[0], Stderr: t.output[1], Resize: t.resize, Done: t.done})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finish(t, runtime.ExitOf(code, time.Now()))
}

// Attach hands input to the script's Main and copies output.
func (r *Runtime) Attach(ctx context.Context, taskID string, opt runtime.AttachOptions) error {
	t, err := r.running("attach", taskID)
	if err != nil {
		return err
	}
	if opt.Stdin != nil && !t.spec.Interactive() {
		return &runtime.Error{Kind: runtime.ErrInvalid, Op: "attach", Task: taskID, Cause: fmt.Errorf("it was started without an input"),
			Next: "attach without input, or run it anew with stdin or tty set"}
	}
	over := make(chan struct{})
	defer close(over)
	if opt.Stdin != nil {
		go func() { // ends with the caller's reader, or the task
			if _, err := io.Copy(t.input, opt.Stdin); err == nil && !t.spec.TTY {
				t.input.Close()
			}
		}()
	}
	go t.followSize(opt.Resize, over)
	start := (*output).now
	if opt.Logs {
		start = func(*output) int { return 0 }
	}
	return t.copyOutput(ctx, opt.Stdout, opt.Stderr, true, start)
}

func (t *task) followSize(sizes <-chan runtime.Size, over <-chan struct{}) {
	for {
		select {
		case s, ok := <-sizes:
			if !ok {
				return
			}
			select {
			case t.resize <- s:
			case <-over:
				return
			}
		case <-over:
			return
		}
	}
}
