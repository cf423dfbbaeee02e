package runtimetest

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"

	"polder.dev/polder/agent/runtime"
)

// attachment is one Attach under way.
type attachment struct {
	in     *io.PipeWriter // nil without input
	sizes  chan runtime.Size
	out    transcript
	errOut transcript
	detach func()
	result chan error
}

// transcript collects what is written and lets a test wait for a text in it.
type transcript struct {
	mu   sync.Mutex // guards text and wake
	text string
	wake chan struct{} // closed at the next write
}

func (c *transcript) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text += string(p)
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
	return len(p), nil
}

func (c *transcript) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text
}

// until waits for the text.
func (c *transcript) until(ctx context.Context, t *testing.T, text string) {
	t.Helper()
	for {
		c.mu.Lock()
		found := strings.Contains(c.text, text)
		if c.wake == nil {
			c.wake = make(chan struct{})
		}
		wake, have := c.wake, c.text
		c.mu.Unlock()
		if found {
			return
		}
		select {
		case <-wake:
		case <-ctx.Done():
			t.Fatalf("%q never came, only %q", text, have)
		}
	}
}

// attach connects to a task; input says whether it sends any.
func (s *suite) attach(id string, input, logs bool) *attachment {
	ctx, cancel := context.WithCancel(s.ctx)
	a := &attachment{sizes: make(chan runtime.Size, 1), detach: cancel, result: make(chan error, 1)}
	opt := runtime.AttachOptions{Logs: logs, Stdout: &a.out, Stderr: &a.errOut, Resize: a.sizes}
	if input {
		opt.Stdin, a.in = io.Pipe()
	}
	go func() {
		err := s.Runtime.Attach(ctx, id, opt)
		if r, ok := opt.Stdin.(*io.PipeReader); ok {
			r.Close()
		}
		a.result <- err
	}()
	return a
}

// leave detaches without ending the input.
func (a *attachment) leave(t *testing.T) {
	t.Helper()
	if a.in != nil {
		a.in.CloseWithError(errors.New("hung up"))
	}
	a.detach()
	if err := <-a.result; !errors.Is(err, context.Canceled) {
		t.Errorf("a cut attachment ended with %v", err)
	}
}

func (a *attachment) ends(t *testing.T) {
	t.Helper()
	if err := <-a.result; err != nil {
		t.Errorf("the attachment of a task that has ended: %v", err)
	}
}

func (a *attachment) say(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(a.in, text); err != nil {
		t.Fatal(err)
	}
}

// attaches talks to a task: output comes at once, the end of the input reaches the task, its output after that still comes.
func attaches(t *testing.T, s *suite) {
	spec := s.spec(t, "talk")
	spec.Stdin = true
	s.begin(t, spec)
	a := s.attach(spec.TaskID, true, true)
	a.say(t, "one\n")
	a.out.until(s.ctx, t, "got one\n")
	long := strings.Repeat("x", 20_000) + "\n" // more than is sent in one piece
	a.say(t, long)
	a.out.until(s.ctx, t, "got "+long)
	late := s.attach(spec.TaskID, false, true)
	late.out.until(s.ctx, t, "got one\ngot "+long)
	a.in.Close()
	a.ends(t)
	late.ends(t)
	if want := "got one\ngot " + long; a.out.String() != want || late.out.String() != want || a.errOut.String() != "end\n" {
		t.Errorf("read %d and %d bytes, want %d; stderr %q", len(a.out.String()), len(late.out.String()), len(want), a.errOut.String())
	}
	wantCode(t, s.wait(t, spec.TaskID), 9)
	err := s.Runtime.Attach(s.ctx, spec.TaskID, runtime.AttachOptions{})
	wantKind(t, "attach to an ended task", err, runtime.ErrNotRunning)
}

// watches attaches without input, which every task allows; input to this one is refused.
func watches(t *testing.T, s *suite) {
	spec := s.start(t, "polite")
	s.ready(t, spec.TaskID)
	err := s.Runtime.Attach(s.ctx, spec.TaskID, runtime.AttachOptions{Stdin: strings.NewReader("x")})
	wantKind(t, "input to a task without one", err, runtime.ErrInvalid)
	if err != nil && !strings.Contains(err.Error(), "started without an input") {
		t.Errorf("the refusal says %q", err)
	}
	wantKind(t, "attach to nobody", s.Runtime.Attach(s.ctx, "nobody", runtime.AttachOptions{}), runtime.ErrNotFound)
	gone := s.attach(spec.TaskID, false, true)
	gone.out.until(s.ctx, t, "ready\n")
	gone.leave(t)
	all := s.attach(spec.TaskID, false, true)
	all.out.until(s.ctx, t, "ready\n")
	must(t, s.Runtime.Signal(s.ctx, spec.TaskID, syscall.SIGTERM))
	all.ends(t)
	if all.out.String() != "ready\n" {
		t.Errorf("read %q", all.out.String())
	}
	wantCode(t, s.wait(t, spec.TaskID), 3)
}

// attachesTerminal leaves a terminal, restarts the runtime, and comes back to it.
func attachesTerminal(t *testing.T, s *suite) {
	spec := s.spec(t, "terminal")
	spec.TTY = true
	s.begin(t, spec)
	s.ready(t, spec.TaskID)
	first := s.attach(spec.TaskID, true, true)
	first.out.until(s.ctx, t, "ready\r\n")
	first.say(t, "half ")
	first.out.until(s.ctx, t, "half ") // the terminal's echo
	first.leave(t)
	s.Runtime = s.Restart(t, s.Runtime)
	second := s.attach(spec.TaskID, true, false)
	second.sizes <- runtime.Size{Rows: 33, Cols: 77}
	second.out.until(s.ctx, t, "sized\r\n")
	second.say(t, "and half\n")
	second.ends(t)
	if out := second.out.String(); out != "sized\r\nand half\r\ngot half and half\r\n" {
		t.Errorf("read %q", out)
	}
	wantCode(t, s.wait(t, spec.TaskID), 8)
	if second.errOut.String() != "" {
		t.Errorf("a terminal has one output, stderr is %q", second.errOut.String())
	}
}
