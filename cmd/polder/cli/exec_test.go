package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	polderv1 "polder.dev/polder/api/polder/v1"
)

func TestExec(t *testing.T) {
	f := newFake(t)
	r := command{env: f.env(), stdin: "hello\n"}.run("exec", "-i", "count-1", "--", "cat", "-n")
	if want := "[\"cat\" \"-n\"] in count-1.0\nHELLO\n"; r.code != 7 || r.out != want || r.err != "bye\n" {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
	r = command{env: f.env(), stdin: "not sent"}.run("exec", "count-1.0", "true")
	if r.code != 7 || r.out != "[\"true\"] in count-1.0\n" {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
	if r = f.run("exec", "nothing", "--", "ls"); r.code != exitNotFound {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

// pty opens a pseudo-terminal of 100 columns and 40 rows.
func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 100, Row: 40}); err != nil {
		t.Fatal(err)
	}
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// signalWriter tells when a text has been written.
type signalWriter struct {
	mu   sync.Mutex // guards buf
	buf  bytes.Buffer
	text string
	seen chan struct{}
	once sync.Once
}

func (w *signalWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	if strings.Contains(w.buf.String(), w.text) {
		w.once.Do(func() { close(w.seen) })
	}
	return len(p), nil
}

// TestExecTerminal: with -t the terminal is raw while the command runs, its size is told, and it is restored.
func TestExecTerminal(t *testing.T) {
	f := newFake(t)
	master, slave := pty(t)
	before, err := term.GetState(int(slave.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	out := &signalWriter{text: "100x40", seen: make(chan struct{})}
	env := f.env()
	m := Main{Streams: Streams{In: slave, Out: out, Err: io.Discard}, Getenv: func(k string) string { return env[k] }}
	code := make(chan int)
	go func() { code <- m.Run(context.Background(), []string{"exec", "-t", "count-1.0", "--", "sh"}) }()
	<-out.seen // the size arrives after the terminal is raw
	if _, err := master.Write([]byte{'h', 'i', 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := master.Write([]byte{4}); err != nil {
		t.Fatal(err)
	}
	if c := <-code; c != 0 {
		t.Errorf("exit %d", c)
	}
	after, err := term.GetState(int(slave.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Error("the terminal was not restored")
	}
}

// TestRedraw: on a terminal a watch draws over its last table, in colour unless NO_COLOR is set.
func TestRedraw(t *testing.T) {
	for _, plain := range []bool{false, true} {
		f := newFake(t)
		master, slave := pty(t)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		f.onCall = func(_ string, n int) error { // two pages a look
			switch n {
			case 3:
				f.nodes[2] = &polderv1.Node{Name: "node-3", State: "ready", Attributes: map[string]string{"long": strings.Repeat("x", 200)}}
			case 5:
				cancel()
			}
			return nil
		}
		env := f.env()
		if plain {
			env["NO_COLOR"] = "1"
		}
		a := newApp(Main{Streams: Streams{In: slave, Out: slave, Err: io.Discard}, Getenv: func(k string) string { return env[k] }})
		a.now = func() time.Time { return noon }
		if code := a.run(ctx, []string{"node", "list", "-w", "--interval", "1ms", "-o", "wide"}); code != 0 {
			t.Errorf("exit %d", code)
		}
		slave.Close()
		got, _ := io.ReadAll(master) // ends with EIO, which is how a closed terminal reads
		text := strings.ReplaceAll(string(got), "\r\n", "\n")
		if strings.Count(text, "\x1b[4A\x1b[J") != 1 {
			t.Errorf("not redrawn once:\n%q", text)
		}
		if coloured := strings.Contains(text, "\x1b[32mready\x1b[0m"); coloured == plain {
			t.Errorf("NO_COLOR %v, coloured %v:\n%q", plain, coloured, text)
		}
		for _, line := range strings.Split(text, "\n") {
			if n := strings.Count(line, "x"); n > 100 {
				t.Errorf("line of %d letters on 100 columns", n)
			}
		}
	}
}

// TestConfirm: a change that cannot be taken back asks, and only yes goes on.
func TestConfirm(t *testing.T) {
	for answer, want := range map[string]int{"y\n": 0, "YES\n": 0, "n\n": exitError, "\n": exitError, "\x04": exitError} {
		f := newFake(t)
		master, slave := pty(t)
		if _, err := master.Write([]byte(answer)); err != nil {
			t.Fatal(err)
		}
		var errOut bytes.Buffer
		env := f.env()
		m := Main{Streams: Streams{In: slave, Out: io.Discard, Err: &errOut}, Getenv: func(k string) string { return env[k] }}
		code := m.Run(context.Background(), []string{"node", "remove", "node-3"})
		if code != want || (len(f.nodes) == 2) != (want == 0) || !strings.Contains(errOut.String(), "Forget it? [y/N] ") {
			t.Errorf("%q: exit %d, %d nodes: %s", answer, code, len(f.nodes), &errOut)
		}
	}
}
