package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"pgregory.net/rapid"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// Attach answers every input in capitals. A task without a terminal ends with code 7 when its input does, or when there is
// none; "gone-1.0" is over already.
func (f fakeTask) Attach(_ context.Context, s *connect.BidiStream[polderv1.AttachRequest, polderv1.AttachResponse]) error {
	first, err := s.Receive()
	if err != nil {
		return err
	}
	if first.Start.Task == "gone-1.0" {
		return connect.NewError(connect.CodeFailedPrecondition, errors.New("task gone-1.0 is over; read what it wrote from its logs"))
	}
	if err := s.Send(&polderv1.AttachResponse{Data: fmt.Appendf(nil, "stdin %v, logs %v\n", first.Start.Stdin, first.Start.Logs)}); err != nil {
		return err
	}
	for {
		m, err := s.Receive()
		if err != nil {
			return err
		}
		code := int32(7)
		switch {
		case m.CloseStdin:
			return s.Send(&polderv1.AttachResponse{Data: []byte("bye\n"), Stderr: true, ExitCode: &code})
		case m.Resize != nil:
			err = s.Send(&polderv1.AttachResponse{Data: fmt.Appendf(nil, "%dx%d\n", m.Resize.Columns, m.Resize.Rows)})
		default:
			err = s.Send(&polderv1.AttachResponse{Data: bytes.ToUpper(m.Stdin)})
		}
		if err != nil {
			return err
		}
	}
}

func TestAttach(t *testing.T) {
	f := newFake(t)
	r := command{env: f.env(), stdin: "hello\n"}.run("attach", "-i", "count-1")
	if r.code != 7 || r.out != "stdin true, logs false\nHELLO\n" || r.err != "bye\n" {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
	r = command{env: f.env(), stdin: "not sent"}.run("attach", "--logs", "count-1.0")
	if r.code != 7 || r.out != "stdin false, logs true\n" {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
	if r = f.run("attach", "nothing"); r.code != exitNotFound {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r = f.run("attach", "--detach-keys", "ctrl-p,what", "count-1.0"); r.code != exitUsage || !strings.Contains(r.err, `"what" is no key`) {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

// onTerminal runs a command on a terminal of its own, types when the text has come, and returns its end and what it said.
func onTerminal(t *testing.T, f *fake, come, typed string, args ...string) (code int, out, errOut string) {
	t.Helper()
	master, slave := pty(t)
	seen := &signalWriter{text: come, seen: make(chan struct{})}
	var said bytes.Buffer
	env := f.env()
	m := Main{Streams: Streams{In: slave, Out: seen, Err: &said}, Getenv: func(k string) string { return env[k] }}
	done := make(chan int)
	go func() { done <- m.Run(context.Background(), args) }()
	<-seen.seen
	if _, err := io.WriteString(master, typed); err != nil {
		t.Fatal(err)
	}
	return <-done, seen.buf.String(), said.String()
}

// TestAttachTerminal: keys go to the task, Ctrl-C among them, until the keys that leave.
func TestAttachTerminal(t *testing.T) {
	f := newFake(t)
	f.tty = true
	code, out, said := onTerminal(t, f, "100x40", "a\x03\x10b\x10\x10\x11", "attach", "-i", "count-1.0")
	if code != 0 || !strings.Contains(said, "left count-1.0, which goes on; come back with: polder attach -i count-1.0") {
		t.Errorf("exit %d: %s", code, said)
	}
	if strings.Contains(out, "\x11") {
		t.Errorf("the task was sent the keys: %q", out)
	}
	code, _, _ = onTerminal(t, f, "100x40", "xyz", "attach", "-i", "--detach-keys", "y,z", "count-1.0")
	if code != 0 {
		t.Errorf("exit %d", code)
	}
}

// TestRunInteractive connects as soon as the task runs.
func TestRunInteractive(t *testing.T) {
	f := newFake(t)
	f.tty = true
	f.tasks = append(f.tasks, &polderv1.Task{Id: "ask-1.0", Ask: "ask-1", State: polderv1.TaskState_TASK_STATE_RUNNING, Node: "node-1"})
	code, out, said := onTerminal(t, f, "100x40", "\x10\x11", "run", "--role", "r", "-it", "--", "sh")
	if code != 0 || !strings.Contains(out, "stdin true, logs true") || !strings.Contains(said, "left ask-1.0") {
		t.Errorf("exit %d\n%s%s", code, out, said)
	}
	if task := f.submitted[0].Asks[0].Task; !task.Stdin || !task.Tty || task.GetRequeue() || task.Requeue == nil {
		t.Errorf("submitted %v", task)
	}
	f.tty = false
	r := command{env: f.env(), stdin: "hello\n"}.run("run", "--role", "r", "-i", "--", "tr")
	if r.code != 7 || r.out != "stdin true, logs true\nHELLO\n" {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
	for args, want := range map[string]string{"-i --wait": "leave out --wait", "-t": "standard input is not a terminal"} {
		r := f.run(append([]string{"run", "--role", "r"}, append(strings.Fields(args), "--", "x")...)...)
		if r.code != exitUsage || !strings.Contains(r.err, want) {
			t.Errorf("%s: exit %d: %s", args, r.code, r.err)
		}
	}
}

// TestDetachKeys holds the filter against looking at everything that was typed at once.
func TestDetachKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		letters := rapid.StringOfN(rapid.RuneFrom([]rune("ab")), 1, 4, -1)
		keys := letters.Draw(t, "keys")
		typed := rapid.StringOfN(rapid.RuneFrom([]rune("abc")), 0, 20, -1).Draw(t, "typed")
		d, err := parseKeys(strings.Join(strings.Split(keys, ""), ","))
		if err != nil {
			t.Fatal(err)
		}
		sent, left := "", false
		for i := 0; i < len(typed) && !left; {
			n := rapid.IntRange(1, len(typed)-i).Draw(t, "piece")
			var text []byte
			text, left = d.filter([]byte(typed[i : i+n]))
			sent += string(text)
			i += n
		}
		before, _, want := strings.Cut(typed, keys)
		if left != want || left && sent != before || !left && !strings.HasPrefix(typed, sent) || !left && len(typed)-len(sent) >= len(keys) {
			t.Errorf("keys %q in %q: sent %q, left %v", keys, typed, sent, left)
		}
	})
}
