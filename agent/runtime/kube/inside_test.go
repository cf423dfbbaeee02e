package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"polder.dev/polder/agent/runtime"
)

// logFile is where the kubelet keeps the output of a container.
func (w *world) logFile(container, name string) string {
	dir := filepath.Join(w.opt.State, "node", "logs", "online_web_"+uid, container)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

const (
	one = "2026-11-30T22:00:01Z stdout F one\n2026-11-30T22:00:03.5Z stderr F oops\n2026-11-30T22:00:04Z stdout P thr\n2026-11-30T22:00:05Z stdout F ee\nnonsense\n2026-11-30T22:00:06Z stdout F unfin"
	two = "2026-11-30T22:00:02.25Z stdout F two\n"
)

// TestLogs: of all containers in order of time; with several a line says whose it is.
func TestLogs(t *testing.T) {
	for _, c := range []struct {
		name        string
		side        bool
		tail        int
		out, err    string
		onlyOneSide bool
	}{
		{name: "one container", out: "one\nthree\n", err: "oops\n"},
		{name: "two", side: true, out: "main: one\nside: two\nmain: three\n", err: "main: oops\n"},
		{name: "the last line of each stream", side: true, tail: 1, out: "main: three\n", err: "main: oops\n"},
		{name: "only one stream", onlyOneSide: true, out: "one\nthree\n"},
	} {
		w := newWorld(t)
		w.start()
		write(t, w.logFile("main", "0.log"), one)
		if c.side {
			write(t, w.logFile("side", "1.log"), two)
		}
		var out, errs bytes.Buffer
		var stderr io.Writer = &errs
		if c.onlyOneSide {
			stderr = nil
		}
		if err := w.Logs(t.Context(), "web-1.0", runtime.LogOptions{Tail: c.tail}, &out, stderr); err != nil || out.String() != c.out || errs.String() != c.err {
			t.Errorf("%s: %q, %q, %v", c.name, out.String(), errs.String(), err)
		}
	}
}

// TestLogsAreFollowed through a file that is full and a container that starts again, to the end of the pod.
func TestLogsAreFollowed(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.podComes()
	from, to := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- w.Logs(t.Context(), "web-1.0", runtime.LogOptions{Follow: true}, to, io.Discard)
		to.Close()
	}()
	said := json.NewDecoder(from) // of one string a line
	await := func(want string) {
		t.Helper()
		var got string
		if err := said.Decode(&got); err != nil || got != want {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	}
	file := w.logFile("main", "0.log")
	write(t, file, "2026-11-30T22:00:01Z stdout F \"a\"\n")
	await("a")
	if err := os.Rename(file, file+".20261130"); err != nil {
		t.Fatal(err)
	}
	write(t, file, "2026-11-30T22:00:02Z stdout F \"b\"\n")
	await("b")
	write(t, w.logFile("main", "1.log"), "2026-11-30T22:00:03Z stdout F \"c\"\n")
	await("c")
	w.podGoes()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	os.RemoveAll(filepath.Join(w.opt.State, "node", "logs"))
	if err := w.Logs(t.Context(), "web-1.0", runtime.LogOptions{}, io.Discard, nil); !errors.Is(err, runtime.ErrNotRunning) || !strings.Contains(err.Error(), "went with its pod") {
		t.Errorf("after the kubelet has removed it: %v", err)
	}
}

func FuzzDecodeLine(f *testing.F) {
	for line := range strings.Lines(one) {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if l, ok := decodeLine(line); ok && (l.at.IsZero() && !bytes.HasPrefix(line, []byte("0001")) || !bytes.HasSuffix(line, l.text)) {
			t.Errorf("%q is %+v", line, l)
		}
	})
}

// inPod has a script for commands in pods; its arguments are those of the program.
func (w *world) inPod(script string) {
	data, _ := json.Marshal(config{Command: []string{"/bin/true"}, Exec: []string{"/bin/sh", "-c", script, "program"}})
	write(w.t, w.opt.Config, string(data))
}

// TestExec: the program is told which pod, gets the streams, and says how the command ended.
func TestExec(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.inPod(`echo "$@"; cat; echo bad >&2; echo '{"code":3}' >&3`)
	var out, errs bytes.Buffer
	code, err := w.Exec(t.Context(), "web-1.0", runtime.ExecOptions{Command: []string{"ls", "-l"}, Stdin: strings.NewReader("input\n"), Stdout: &out, Stderr: &errs})
	want := "--dir " + filepath.Join(w.opt.State, "node") + " --pod " + uid + " --stdin -- ls -l\ninput\n"
	if err != nil || code != 3 || out.String() != want || errs.String() != "bad\n" {
		t.Errorf("%d, %v, %q, %q", code, err, out.String(), errs.String())
	}
	w.inPod(`read -r size <&4; echo "$3 $4 $5 $size"; echo '{"code":0}' >&3`)
	out.Reset()
	sizes := make(chan runtime.Size, 1)
	sizes <- runtime.Size{Rows: 24, Cols: 80}
	code, err = w.Exec(t.Context(), "web-1.0", runtime.ExecOptions{Command: []string{"sh"}, TTY: true, Stdout: &out, Resize: sizes})
	if err != nil || code != 0 || out.String() != "--pod "+uid+" --tty 24 80\n" {
		t.Errorf("a terminal: %d, %v, %q", code, err, out.String())
	}
}

// TestExecFails: each time with a reason.
func TestExecFails(t *testing.T) {
	w := newWorld(t)
	w.start()
	for _, c := range []struct {
		script string
		opt    runtime.ExecOptions
		kind   error
		want   string
	}{
		{script: `echo '{"code":0,"error":"no container of the pod runs now"}' >&3`, opt: runtime.ExecOptions{Command: []string{"ls"}}, kind: runtime.ErrStart, want: "no container of the pod runs now"},
		{script: `exit 7`, opt: runtime.ExecOptions{Command: []string{"ls"}}, kind: runtime.ErrStart, want: "without a word: exit status 7"},
		{opt: runtime.ExecOptions{}, kind: runtime.ErrInvalid, want: "no command"},
		{opt: runtime.ExecOptions{Command: []string{"ls"}, User: "1"}, kind: runtime.ErrUnsupported, want: "use su"},
	} {
		w.inPod(c.script)
		if _, err := w.Exec(t.Context(), "web-1.0", c.opt); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.script, err)
		}
	}
	w.inPod(`sleep 1000`)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := w.Exec(ctx, "web-1.0", runtime.ExecOptions{Command: []string{"ls"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a caller who leaves: %v", err)
	}
	write(t, w.opt.Config, `{"command":["/bin/true"]}`)
	if _, err := w.Exec(t.Context(), "web-1.0", runtime.ExecOptions{Command: []string{"ls"}}); !errors.Is(err, runtime.ErrUnsupported) || !strings.Contains(err.Error(), "kubectl exec with pod online/web") {
		t.Errorf("without a program for it: %v", err)
	}
	if err := w.Kill(t.Context(), "web-1.0"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Exec(t.Context(), "web-1.0", runtime.ExecOptions{Command: []string{"ls"}}); !errors.Is(err, runtime.ErrNotRunning) {
		t.Errorf("after its end: %v", err)
	}
}
