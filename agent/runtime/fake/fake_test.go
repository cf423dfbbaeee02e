package fake_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/fake"
	"polder.dev/polder/agent/runtime/runtimetest"
)

// script plays the programs of the suite.
func script(spec runtime.Spec) fake.Script {
	switch spec.Labels[runtimetest.ProgramLabel] {
	case "exit7":
		return fake.Script{ExitAtOnce: true, ExitCode: 7, Stdout: "first\nout\n", Stderr: "err\n"}
	case "polite":
		return fake.Script{Stdout: "ready\n", StopCode: 3}
	case "stubborn":
		return fake.Script{Stdout: "ready\n", Ignore: []syscall.Signal{syscall.SIGTERM}}
	case "talk":
		return fake.Script{Main: talk}
	case "terminal":
		return fake.Script{Main: terminal}
	case "missing":
		return fake.Script{StartErr: fmt.Errorf("%s: no such file", spec.Command[0])}
	case "env":
		return fake.Script{ExitAtOnce: true, Stdout: fmt.Sprintf("%s %s %s\n", spec.Env["GREETING"], spec.TaskID, spec.Role)}
	}
	return fake.Script{Usage: runtime.Usage{Pids: 1}, Exec: func(opt runtime.ExecOptions) (int, error) { return shell(spec, opt) }}
}

// talk plays the program that answers every line.
func talk(c fake.Console) int {
	lines := bufio.NewScanner(c.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fmt.Fprintf(c.Stdout, "got %s\n", lines.Text())
	}
	fmt.Fprintln(c.Stderr, "end")
	return 9
}

// terminal plays the program on a terminal, and the terminal's echo.
func terminal(c fake.Console) int {
	fmt.Fprint(c.Stdout, "ready\r\n")
	typed := make(chan string)
	go func() {
		line, buf := "", make([]byte, 100)
		for !strings.HasSuffix(line, "\n") {
			n, err := c.Stdin.Read(buf)
			if err != nil {
				return
			}
			line += string(buf[:n])
			fmt.Fprint(c.Stdout, strings.ReplaceAll(string(buf[:n]), "\n", "\r\n"))
		}
		select {
		case typed <- line:
		case <-c.Done:
		}
	}()
	for {
		select {
		case s := <-c.Resize:
			if s == (runtime.Size{Rows: 33, Cols: 77}) {
				fmt.Fprint(c.Stdout, "sized\r\n")
			}
		case line := <-typed:
			fmt.Fprintf(c.Stdout, "got %s\r\n", strings.TrimSpace(line))
			return 8
		case <-c.Done:
			return 0
		}
	}
}

// shell plays the two commands the suite runs beside a task.
func shell(spec runtime.Spec, opt runtime.ExecOptions) (int, error) {
	if opt.TTY {
		fmt.Fprint(opt.Stdout, "terminal\r\n")
		return 4, nil
	}
	if opt.Stdout == nil {
		opt.Stdout = io.Discard
	}
	if opt.Stderr == nil {
		opt.Stderr = io.Discard
	}
	if opt.Stdin == nil {
		opt.Stdin = strings.NewReader("")
	}
	in, err := io.ReadAll(opt.Stdin)
	fmt.Fprintf(opt.Stdout, "%s%s %s\n", in, spec.TaskID, opt.Env["X"])
	fmt.Fprintln(opt.Stderr, "oops")
	return 5, err
}

func TestConformance(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtimetest.Target {
		return runtimetest.Target{Runtime: fake.New(script),
			Restart: func(t *testing.T, old runtime.Runtime) runtime.Runtime {
				if err := old.Close(); err != nil {
					t.Fatal(err)
				}
				return old
			}}
	})
}

func TestScriptsKeepVirtualTime(t *testing.T) {
	cases := []struct {
		name   string
		script fake.Script
		signal time.Duration // 0: none
		again  time.Duration
		after  time.Duration
		code   int
	}{
		{"by itself", fake.Script{ExitAfter: time.Hour, ExitCode: 2}, 0, 0, time.Hour, 2},
		{"takes its time to stop", fake.Script{StopTakes: 20 * time.Second}, time.Minute, 0, 80 * time.Second, 143},
		{"a second signal does not put it off", fake.Script{StopTakes: 20 * time.Second}, time.Minute, 70 * time.Second, 80 * time.Second, 143},
		{"ignores it", fake.Script{ExitAfter: time.Hour, Ignore: []syscall.Signal{syscall.SIGTERM}}, time.Minute, 0, time.Hour, 0},
		{"would have ended before", fake.Script{ExitAfter: time.Minute, StopTakes: time.Hour}, time.Second, 0, time.Minute, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := fake.New(func(runtime.Spec) fake.Script { return c.script })
				begin := time.Now()
				if _, err := r.Start(t.Context(), runtime.Spec{TaskID: "t"}); err != nil {
					t.Fatal(err)
				}
				for _, at := range []time.Duration{c.signal, c.again} {
					if at > 0 {
						time.AfterFunc(at, func() { r.Signal(context.Background(), "t", syscall.SIGTERM) })
					}
				}
				e, err := r.Wait(t.Context(), "t")
				if err != nil || e.Code != c.code || time.Since(begin) != c.after {
					t.Errorf("%+v, %v after %v; want code %d after %v", e, err, time.Since(begin), c.code, c.after)
				}
			})
		})
	}
}

func TestDownAndLost(t *testing.T) {
	r := fake.New(nil)
	if _, err := r.Start(t.Context(), runtime.Spec{TaskID: "t"}); err != nil {
		t.Fatal(err)
	}
	r.SetDown(true)
	if _, err := r.List(t.Context()); !errors.Is(err, runtime.ErrUnavailable) {
		t.Errorf("list while down: %v", err)
	}
	if err := r.Kill(t.Context(), "t"); !errors.Is(err, runtime.ErrUnavailable) {
		t.Errorf("kill while down: %v", err)
	}
	r.SetDown(false)
	r.Lose("t", "rebooted")
	if e, err := r.Wait(t.Context(), "t"); err != nil || !e.Lost {
		t.Errorf("wait for a lost task: %+v, %v", e, err)
	}
	if n := r.Starts("t"); n != 1 {
		t.Errorf("started %d times", n)
	}
}
