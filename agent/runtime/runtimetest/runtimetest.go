// Package runtimetest is the suite every runtime passes: the promises of package runtime, checked from outside.
//
// The programs it runs need /bin/sh, sleep, cat and id, as in any small image; a runtime without programs looks at the
// label [ProgramLabel] instead and behaves accordingly.
package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"polder.dev/polder/agent/runtime"
)

// Target is a runtime under test.
type Target struct {
	Runtime runtime.Runtime
	Image   string // for the specs, where the runtime needs one

	// Restart closes the runtime and opens it again as a new agent would.
	Restart func(t *testing.T, old runtime.Runtime) runtime.Runtime

	// Sandbox makes a directory for a task; nil means tasks get none.
	Sandbox func(t *testing.T) string
}

// ProgramLabel is the label that names the program of a spec.
const ProgramLabel = "runtimetest.program"

// Programs are what the suite runs.
var Programs = map[string][]string{
	"exit7":    {"/bin/sh", "-c", "echo first; echo out; echo err >&2; exit 7"},
	"forever":  {"/bin/sh", "-c", "exec sleep 1000"},
	"polite":   {"/bin/sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"},
	"stubborn": {"/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"},
	"missing":  {"/does/not/exist"},
	"talk":     {"/bin/sh", "-c", `while read line; do echo "got $line"; done; echo end >&2; exit 9`},
	"terminal": {"/bin/sh", "-c", `test -t 0 && test -t 1 && test -t 2 && echo ready; until [ "$(stty size)" = "33 77" ]; do sleep 0.02; done; echo sized; read line; echo "got $line" >&2; exit 8`},
	"env":      {"/bin/sh", "-c", `echo "$GREETING $POLDER_TASK $POLDER_ROLE"; exit 0`},
}

const patience = 30 * time.Second

type suite struct {
	Target
	ctx context.Context
}

// Run runs the whole suite; make returns a fresh target for each part.
func Run(t *testing.T, make func(t *testing.T) Target) {
	parts := []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"exit code and logs", exitAndLogs}, {"environment", environment}, {"starts once", startsOnce}, {"concurrent starts", concurrentStarts},
		{"signal", signals}, {"ignored signal, then kill", kills}, {"command missing", missing}, {"bad spec", badSpec},
		{"unknown task", unknown}, {"remove", removes}, {"list", lists}, {"restart", restarts}, {"wait is cancelled", waitCancelled},
		{"follow logs", follows}, {"exec", execs}, {"attach", attaches}, {"attach to output", watches},
		{"attach to a terminal", attachesTerminal}, {"usage", usage}, {"funding", funding},
	}
	for _, p := range parts {
		t.Run(p.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			s := &suite{Target: make(t), ctx: ctx}
			t.Cleanup(s.cleanUp)
			p.run(t, s)
		})
	}
}

// cleanUp ends and forgets whatever a part left.
func (s *suite) cleanUp() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	list, _ := s.Runtime.List(ctx)
	for _, st := range list {
		s.Runtime.Kill(ctx, st.TaskID)
		s.Runtime.Wait(ctx, st.TaskID)
		s.Runtime.Remove(ctx, st.TaskID)
	}
	s.Runtime.Close()
}

func (s *suite) spec(t *testing.T, program string) runtime.Spec {
	id := strings.ToLower(strings.NewReplacer("/", "-", " ", "-", ",", "").Replace(t.Name())) + "-" + program
	spec := runtime.Spec{TaskID: id, Role: "corp/test", Node: "n1", Image: s.Image, Command: Programs[program],
		Labels: map[string]string{ProgramLabel: program}, CPU: 100, MemoryBytes: 64 << 20, Pids: 50, Funded: runtime.Guaranteed}
	if s.Sandbox != nil {
		spec.Sandbox = s.Sandbox(t)
	}
	return spec
}

func (s *suite) start(t *testing.T, program string) runtime.Spec {
	t.Helper()
	spec := s.spec(t, program)
	s.begin(t, spec)
	return spec
}

func (s *suite) begin(t *testing.T, spec runtime.Spec) {
	t.Helper()
	must(t, s.Runtime.Prepare(s.ctx, spec, nil))
	st, err := s.Runtime.Start(s.ctx, spec)
	must(t, err)
	if st.TaskID != spec.TaskID || st.State == runtime.Starting {
		t.Fatalf("Start: %+v", st)
	}
}

func (s *suite) wait(t *testing.T, id string) runtime.Exit {
	t.Helper()
	e, err := s.Runtime.Wait(s.ctx, id)
	must(t, err)
	return e
}

func (s *suite) find(t *testing.T, id string) (runtime.Status, bool) {
	t.Helper()
	list, err := s.Runtime.List(s.ctx)
	must(t, err)
	for _, st := range list {
		if st.TaskID == id {
			return st, true
		}
	}
	return runtime.Status{}, false
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, what string, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: %v, want kind %q", what, err, kind)
	}
}

func wantCode(t *testing.T, e runtime.Exit, code int) {
	t.Helper()
	if e.Code != code || e.Lost {
		t.Errorf("exit %+v, want code %d", e, code)
	}
}

func exitAndLogs(t *testing.T, s *suite) {
	spec := s.start(t, "exit7")
	e := s.wait(t, spec.TaskID)
	wantCode(t, e, 7)
	if age := time.Since(e.FinishedAt); age < -time.Second || age > 2*patience {
		t.Errorf("finished at %v, that is %v ago", e.FinishedAt, age)
	}
	wantCode(t, s.wait(t, spec.TaskID), 7)
	var out, errOut bytes.Buffer
	must(t, s.Runtime.Logs(s.ctx, spec.TaskID, runtime.LogOptions{}, &out, &errOut))
	if out.String() != "first\nout\n" || errOut.String() != "err\n" {
		t.Errorf("logs %q and %q", out.String(), errOut.String())
	}
	out.Reset()
	errOut.Reset()
	must(t, s.Runtime.Logs(s.ctx, spec.TaskID, runtime.LogOptions{Tail: 1}, &out, &errOut))
	if all := out.String() + errOut.String(); all == "" || strings.Contains(all, "first") {
		t.Errorf("tail %q and %q", out.String(), errOut.String())
	}
}

func environment(t *testing.T, s *suite) {
	spec := s.spec(t, "env")
	spec.Env = map[string]string{"GREETING": "hello there"}
	must(t, s.Runtime.Prepare(s.ctx, spec, nil))
	_, err := s.Runtime.Start(s.ctx, spec)
	must(t, err)
	wantCode(t, s.wait(t, spec.TaskID), 0)
	var out bytes.Buffer
	must(t, s.Runtime.Logs(s.ctx, spec.TaskID, runtime.LogOptions{}, &out, nil))
	if want := fmt.Sprintf("hello there %s corp/test\n", spec.TaskID); out.String() != want {
		t.Errorf("task saw %q, want %q", out.String(), want)
	}
}

func startsOnce(t *testing.T, s *suite) {
	spec := s.start(t, "exit7")
	e := s.wait(t, spec.TaskID)
	st, err := s.Runtime.Start(s.ctx, spec)
	must(t, err)
	if st.State != runtime.Exited || st.Exit == nil || !st.Exit.FinishedAt.Equal(e.FinishedAt) {
		t.Errorf("second start: %+v, exit %+v; first exit %+v", st, st.Exit, e)
	}
}

func concurrentStarts(t *testing.T, s *suite) {
	spec := s.spec(t, "forever")
	must(t, s.Runtime.Prepare(s.ctx, spec, nil))
	var group sync.WaitGroup
	pids := [8]int{}
	for i := range pids {
		group.Go(func() {
			st, err := s.Runtime.Start(s.ctx, spec)
			if err != nil {
				t.Error(err)
			}
			pids[i] = st.PID
		})
	}
	group.Wait()
	for _, pid := range pids {
		if pid != pids[0] || pid == 0 {
			t.Fatalf("started more than once: pids %v", pids)
		}
	}
}

// ready waits for the program's first line: its traps are set by then.
func (s *suite) ready(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	found := &needle{text: "ready", found: cancel}
	s.Runtime.Logs(ctx, id, runtime.LogOptions{Follow: true}, found, nil)
	if !strings.Contains(found.seen.String(), "ready") {
		t.Fatalf("task %s never got ready: %q", id, found.seen.String())
	}
}

// needle calls found once its text has gone by.
type needle struct {
	text  string
	seen  bytes.Buffer
	found func()
}

func (n *needle) Write(p []byte) (int, error) {
	n.seen.Write(p)
	if strings.Contains(n.seen.String(), n.text) {
		n.found()
	}
	return len(p), nil
}

func signals(t *testing.T, s *suite) {
	spec := s.start(t, "polite")
	s.ready(t, spec.TaskID)
	must(t, s.Runtime.Signal(s.ctx, spec.TaskID, syscall.SIGTERM))
	wantCode(t, s.wait(t, spec.TaskID), 3)
	must(t, s.Runtime.Signal(s.ctx, spec.TaskID, syscall.SIGTERM))
	must(t, s.Runtime.Kill(s.ctx, spec.TaskID))
}

func kills(t *testing.T, s *suite) {
	spec := s.start(t, "stubborn")
	s.ready(t, spec.TaskID)
	must(t, s.Runtime.Signal(s.ctx, spec.TaskID, syscall.SIGTERM))
	if st, _ := s.find(t, spec.TaskID); st.State != runtime.Running {
		t.Fatalf("after a signal it ignores: %+v", st)
	}
	must(t, s.Runtime.Kill(s.ctx, spec.TaskID))
	e := s.wait(t, spec.TaskID)
	wantCode(t, e, 137)
	if e.Signal != syscall.SIGKILL || e.OOM {
		t.Errorf("exit %+v, want killed by SIGKILL, not by memory", e)
	}
}

func missing(t *testing.T, s *suite) {
	spec := s.spec(t, "missing")
	must(t, s.Runtime.Prepare(s.ctx, spec, nil))
	_, err := s.Runtime.Start(s.ctx, spec)
	wantKind(t, "start", err, runtime.ErrStart)
	if err != nil && !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("error does not name the command: %v", err)
	}
	if st, ok := s.find(t, spec.TaskID); ok {
		t.Errorf("a task that never ran is still known: %+v", st)
	}
}

func badSpec(t *testing.T, s *suite) {
	for _, id := range []string{"", "../x", "a/b", ".hidden"} {
		spec := s.spec(t, "forever")
		spec.TaskID = id
		_, err := s.Runtime.Start(s.ctx, spec)
		wantKind(t, fmt.Sprintf("start %q", id), err, runtime.ErrInvalid)
	}
}

func unknown(t *testing.T, s *suite) {
	_, err := s.Runtime.Wait(s.ctx, "nobody")
	wantKind(t, "wait", err, runtime.ErrNotFound)
	wantKind(t, "signal", s.Runtime.Signal(s.ctx, "nobody", syscall.SIGTERM), runtime.ErrNotFound)
	wantKind(t, "kill", s.Runtime.Kill(s.ctx, "nobody"), runtime.ErrNotFound)
	wantKind(t, "logs", s.Runtime.Logs(s.ctx, "nobody", runtime.LogOptions{}, &bytes.Buffer{}, nil), runtime.ErrNotFound)
	_, err = s.Runtime.Exec(s.ctx, "nobody", runtime.ExecOptions{Command: []string{"true"}})
	wantKind(t, "exec", err, runtime.ErrNotFound)
	_, err = s.Runtime.Usage(s.ctx, "nobody")
	wantKind(t, "usage", err, runtime.ErrNotFound)
	must(t, s.Runtime.Remove(s.ctx, "nobody"))
}

func removes(t *testing.T, s *suite) {
	spec := s.start(t, "forever")
	wantKind(t, "remove while running", s.Runtime.Remove(s.ctx, spec.TaskID), runtime.ErrInvalid)
	must(t, s.Runtime.Kill(s.ctx, spec.TaskID))
	s.wait(t, spec.TaskID)
	must(t, s.Runtime.Remove(s.ctx, spec.TaskID))
	must(t, s.Runtime.Remove(s.ctx, spec.TaskID))
	if st, ok := s.find(t, spec.TaskID); ok {
		t.Errorf("removed, and still known: %+v", st)
	}
}

func lists(t *testing.T, s *suite) {
	ended, running := s.start(t, "exit7"), s.start(t, "forever")
	s.wait(t, ended.TaskID)
	list, err := s.Runtime.List(s.ctx)
	must(t, err)
	if len(list) != 2 || list[0].TaskID != ended.TaskID || list[1].TaskID != running.TaskID {
		t.Fatalf("list %+v", list)
	}
	if e := list[0].Exit; list[0].State != runtime.Exited || e == nil || e.Code != 7 || list[0].PID != 0 {
		t.Errorf("ended: %+v, exit %+v", list[0], e)
	}
	st := list[1]
	if st.State != runtime.Running || st.Exit != nil || st.PID == 0 || st.StartedAt.IsZero() || st.Isolation == "" ||
		st.Role != "corp/test" || st.Node != "n1" || st.Funded != runtime.Guaranteed || st.Labels[ProgramLabel] != "forever" {
		t.Errorf("running: %+v", st)
	}
}

func restarts(t *testing.T, s *suite) {
	ended, running := s.start(t, "exit7"), s.start(t, "polite")
	first := s.wait(t, ended.TaskID)
	s.ready(t, running.TaskID)
	before, _ := s.find(t, running.TaskID)
	s.Runtime = s.Restart(t, s.Runtime)
	if e := s.wait(t, ended.TaskID); e.Code != 7 || !e.FinishedAt.Equal(first.FinishedAt) {
		t.Errorf("exit after restart %+v, before %+v", e, first)
	}
	again, err := s.Runtime.Start(s.ctx, running)
	must(t, err)
	if again.PID != before.PID || again.State != runtime.Running {
		t.Errorf("start after restart %+v, before %+v", again, before)
	}
	must(t, s.Runtime.Signal(s.ctx, running.TaskID, syscall.SIGTERM))
	wantCode(t, s.wait(t, running.TaskID), 3)
}

func waitCancelled(t *testing.T, s *suite) {
	spec := s.start(t, "forever")
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if _, err := s.Runtime.Wait(ctx, spec.TaskID); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
	if st, _ := s.find(t, spec.TaskID); st.State != runtime.Running {
		t.Errorf("a cancelled wait touched the task: %+v", st)
	}
}

func follows(t *testing.T, s *suite) {
	spec := s.start(t, "exit7")
	var out, errOut bytes.Buffer
	must(t, s.Runtime.Logs(s.ctx, spec.TaskID, runtime.LogOptions{Follow: true}, &out, &errOut))
	if out.String() != "first\nout\n" || errOut.String() != "err\n" {
		t.Errorf("followed %q and %q", out.String(), errOut.String())
	}
}

func execs(t *testing.T, s *suite) {
	spec := s.start(t, "forever")
	var out, errOut bytes.Buffer
	code, err := s.Runtime.Exec(s.ctx, spec.TaskID, runtime.ExecOptions{
		Command: []string{"/bin/sh", "-c", `cat; echo "$POLDER_TASK $X"; echo oops >&2; exit 5`},
		Env:     map[string]string{"X": "y"}, Stdin: strings.NewReader("in "), Stdout: &out, Stderr: &errOut})
	must(t, err)
	if want := "in " + spec.TaskID + " y\n"; code != 5 || out.String() != want || errOut.String() != "oops\n" {
		t.Errorf("exec: code %d, stdout %q, stderr %q", code, out.String(), errOut.String())
	}
	s.terminal(t, spec.TaskID)
	if s.Runtime.Name() != "fake" { // which has no kernel, so neither sessions nor job control
		s.session(t, spec.TaskID)
		s.jobs(t, spec.TaskID)
	}
	must(t, s.Runtime.Kill(s.ctx, spec.TaskID))
	s.wait(t, spec.TaskID)
	_, err = s.Runtime.Exec(s.ctx, spec.TaskID, runtime.ExecOptions{Command: []string{"true"}})
	wantKind(t, "exec in an ended task", err, runtime.ErrNotRunning)
}

// terminal runs a command on a terminal and resizes it.
func (s *suite) terminal(t *testing.T, id string) {
	var out bytes.Buffer
	sizes := make(chan runtime.Size, 1)
	sizes <- runtime.Size{Rows: 33, Cols: 77}
	code, err := s.Runtime.Exec(s.ctx, id, runtime.ExecOptions{TTY: true, Resize: sizes, Stdout: &out,
		Command: []string{"/bin/sh", "-c", `until [ "$(stty size 2>/dev/null)" = "33 77" ]; do sleep 0.02; done; test -t 0 && echo terminal; exit 4`}})
	must(t, err)
	if code != 4 || out.String() != "terminal\r\n" {
		t.Errorf("exec on a terminal: code %d, output %q", code, out.String())
	}
}

// session runs a command without a terminal: it leads a session of its own, in which there is no terminal to write to.
func (s *suite) session(t *testing.T, id string) {
	var out bytes.Buffer
	code, err := s.Runtime.Exec(s.ctx, id, runtime.ExecOptions{Stdout: &out, Command: []string{"/bin/sh", "-c",
		`test "$(cut -d' ' -f6 /proc/$$/stat)" = $$ || echo "not a session of its own"; if (: >/dev/tty) 2>/dev/null; then echo "a terminal"; fi; exit 6`}})
	must(t, err)
	if code != 6 || out.Len() > 0 {
		t.Errorf("exec without a terminal: code %d, output %q", code, out.String())
	}
}

// jobs runs an interactive shell, which controls its terminal.
func (s *suite) jobs(t *testing.T, id string) {
	var out bytes.Buffer
	code, err := s.Runtime.Exec(s.ctx, id, runtime.ExecOptions{TTY: true, Stdout: &out, Command: []string{"/bin/sh", "-i"},
		Stdin: strings.NewReader("sleep 0 & wait; echo on the terminal >/dev/tty; exit 5\n")})
	must(t, err)
	text := out.String()
	if code != 5 || !strings.Contains(text, "on the terminal\r\n") || strings.Contains(text, "tty process group") || strings.Contains(text, "job control") {
		t.Errorf("a shell on a terminal: code %d, output %q", code, text)
	}
}

func usage(t *testing.T, s *suite) {
	spec := s.start(t, "forever")
	u, err := s.Runtime.Usage(s.ctx, spec.TaskID)
	must(t, err)
	if u.MemoryBytes < 0 || u.Pids < 1 || u.At.IsZero() {
		t.Errorf("usage %+v", u)
	}
	must(t, s.Runtime.Kill(s.ctx, spec.TaskID))
	s.wait(t, spec.TaskID)
	_, err = s.Runtime.Usage(s.ctx, spec.TaskID)
	wantKind(t, "usage of an ended task", err, runtime.ErrNotRunning)
}

func funding(t *testing.T, s *suite) {
	f, ok := s.Runtime.(runtime.Funder)
	if !ok {
		t.Fatal("runtime cannot change funding")
	}
	spec := s.start(t, "forever")
	must(t, f.SetFunding(s.ctx, spec.TaskID, runtime.Borrowed, "corp"))
	must(t, f.SetFunding(s.ctx, spec.TaskID, runtime.Guaranteed, "corp"))
}
