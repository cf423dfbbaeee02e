package process

import (
	"bytes"
	"context"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"polder.dev/polder/agent/runtime"
)

// until is a writer that closes seen once its text has gone by.
type until struct {
	all  bytes.Buffer
	text string
	seen chan struct{}
}

func (u *until) Write(p []byte) (int, error) {
	before := strings.Contains(u.all.String(), u.text)
	u.all.Write(p)
	if !before && strings.Contains(u.all.String(), u.text) {
		close(u.seen)
	}
	return len(p), nil
}

// talk attaches, sends the text without ending the input, and returns the output when the task has ended.
func talk(t *testing.T, r *Runtime, id, text string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	in, typed := io.Pipe()
	defer in.Close()
	go io.WriteString(typed, text)
	var out bytes.Buffer
	must(t, r.Attach(ctx, id, runtime.AttachOptions{Logs: true, Stdin: in, Stdout: &out, Stderr: &out}))
	return out.String()
}

// TestInputSurvivesKill9OfTheAgent: the console holds it, so what a task waits for is not cut.
func TestInputSurvivesKill9OfTheAgent(t *testing.T) {
	dir, base := t.TempDir(), "test-input9"
	a := startAgent(t, dir+"/state", base)
	pipe := sleeper(t, "pipe", `read a; read b && echo "$a $b"; exit 3`)
	pipe.Stdin = true
	terminal := pipe
	terminal.TaskID, terminal.TTY, terminal.Sandbox = "terminal", true, t.TempDir()
	a.start(t, pipe)
	a.start(t, terminal)
	a.kill9()

	r := setting{"", true, true}.open(t, dir, base)
	defer closeAndRemove(t, r)
	for id, want := range map[string]string{"pipe": "one two\n", "terminal": "one\r\ntwo\r\none two\r\n"} {
		if got := talk(t, r, id, "one\ntwo\n"); got != want {
			t.Errorf("%s wrote %q, want %q", id, got, want)
		}
		if e, err := r.Wait(t.Context(), id); err != nil || e.Code != 3 {
			t.Errorf("%s: %+v, %v", id, e, err)
		}
	}
}

// TestKeysAreForTheCommand: Ctrl-C ends the command, not those that wait for it; Ctrl-Z, which would stop it for ever, does
// nothing.
func TestKeysAreForTheCommand(t *testing.T) {
	for _, s := range settings {
		t.Run(s.name, func(t *testing.T) {
			r := s.open(t, t.TempDir(), "test-keys")
			defer closeAndRemove(t, r)
			spec := sleeper(t, "keys", "exec sleep 1000")
			spec.TTY = true
			_, err := r.Start(t.Context(), spec)
			must(t, err)
			talk(t, r, "keys", "\x1a\x03") // the kernel may drop the echo: the terminal goes with the command
			if e, err := r.Wait(t.Context(), "keys"); err != nil || e.Code != 128+int(unix.SIGINT) || e.Lost {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
}

// TestTerminalThatIsHeldOn: what the command left behind on the terminal does not keep the task from ending, and its last
// words are there.
func TestTerminalThatIsHeldOn(t *testing.T) {
	for _, s := range settings {
		t.Run(s.name, func(t *testing.T) {
			r := s.open(t, t.TempDir(), "test-held")
			defer closeAndRemove(t, r)
			spec := sleeper(t, "held", "(trap '' HUP; exec sleep 1000) & seq 5000; exit 4")
			spec.TTY = true
			_, err := r.Start(t.Context(), spec)
			must(t, err)
			e, err := r.Wait(t.Context(), "held")
			must(t, err)
			var out bytes.Buffer
			must(t, r.Logs(t.Context(), "held", runtime.LogOptions{Tail: 1}, &out, nil))
			if e.Code != 4 || out.String() != "5000\r\n" {
				t.Errorf("%+v, last line %q", e, out.String())
			}
		})
	}
}

// TestConsoleIsLost: input is refused then, output still comes, and with the supervisor nothing stays behind.
func TestConsoleIsLost(t *testing.T) {
	r := setting{"", false, true}.open(t, t.TempDir(), "test-console")
	defer closeAndRemove(t, r)
	for _, id := range []string{"deaf", "gone"} {
		spec := sleeper(t, id, "echo ready; exec sleep 1000")
		spec.Stdin = true
		_, err := r.Start(t.Context(), spec)
		must(t, err)
	}
	end(t, consoleOf(t, r, "deaf"), unix.SIGKILL)
	err := r.Attach(t.Context(), "deaf", runtime.AttachOptions{Stdin: strings.NewReader("x")})
	if err == nil || !strings.Contains(err.Error(), "the process that held its input is gone") {
		t.Errorf("input without a console: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &until{text: "ready", seen: make(chan struct{})}
	go r.Attach(ctx, "deaf", runtime.AttachOptions{Logs: true, Stdout: out})
	<-out.seen

	console := consoleOf(t, r, "gone")
	must(t, r.tasks["gone"].procs.supervisor.signal(unix.SIGKILL))
	end(t, console, 0)
}

// consoleOf finds the console of a task among its supervisor's children.
func consoleOf(t *testing.T, r *Runtime, id string) process {
	t.Helper()
	supervisor := r.tasks[id].procs.supervisor.pid
	pids, err := os.ReadDir("/proc")
	must(t, err)
	for _, e := range pids {
		line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err != nil || !bytes.Contains(line, []byte(initArg+"\x00console")) {
			continue
		}
		pid, _ := strconv.Atoi(e.Name())
		if parent, start, err := stat(pid); err == nil && parent == supervisor {
			return process{pid, start}
		}
	}
	t.Fatalf("task %s has no console", id)
	return process{}
}

// end sends a signal and waits until the process is gone.
func end(t *testing.T, p process, sig unix.Signal) {
	t.Helper()
	fd, err := p.open()
	if os.IsNotExist(err) || err == os.ErrProcessDone {
		return
	}
	must(t, err)
	defer unix.Close(fd)
	if sig != 0 {
		must(t, unix.PidfdSendSignal(fd, sig, nil, 0))
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 30_000)
	for err == unix.EINTR { // by the runtime's own signals
		n, err = unix.Poll(poll, 30_000)
	}
	if n == 0 || err != nil {
		t.Errorf("process %d has not ended: %v", p.pid, err)
	}
}
