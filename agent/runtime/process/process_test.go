package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"polder.dev/polder/agent/runtime"
)

// fresh is a runtime with everything, cleaned up after the test.
func fresh(t *testing.T) *Runtime {
	t.Helper()
	dir := t.TempDir()
	r := setting{"", true, true}.open(t, dir, "test-"+filepath.Base(filepath.Dir(dir)))
	t.Cleanup(func() { closeAndRemove(t, r) })
	return r
}

// output runs a task to its end and returns what it wrote.
func output(t *testing.T, r *Runtime, spec runtime.Spec) (runtime.Exit, string) {
	t.Helper()
	_, err := r.Start(t.Context(), spec)
	must(t, err)
	e, err := r.Wait(t.Context(), spec.TaskID)
	must(t, err)
	var out bytes.Buffer
	must(t, r.Logs(t.Context(), spec.TaskID, runtime.LogOptions{}, &out, &out))
	return e, out.String()
}

func TestTaskSeesItsOwnMachine(t *testing.T) {
	r := fresh(t)
	e, out := output(t, r, sleeper(t, "t", `echo $(ls -d /proc/[0-9]* | wc -l); grep NoNewPrivs /proc/self/status; pwd; trap - INT; kill -INT $$`))
	want := "NoNewPrivs:\t1\n"
	if e.Signal != unix.SIGINT || !strings.Contains(out, want) {
		t.Errorf("exit %+v, output %q", e, out)
	}
	if n, _, _ := strings.Cut(out, "\n"); n > "6" || len(n) > 1 {
		t.Errorf("task sees %s processes: not its own /proc", n)
	}
}

func TestUserAndSandbox(t *testing.T) {
	r := fresh(t)
	spec := sleeper(t, "t", `id -u; id -g; echo note >"$POLDER_SANDBOX/note"; echo again >>/dev/stdout; ls `+r.opt.StateDir)
	must(t, os.Chmod(filepath.Dir(filepath.Dir(spec.Sandbox)), 0o755))
	must(t, os.Chmod(filepath.Dir(spec.Sandbox), 0o755))
	spec.User = "65534:65534"
	_, out := output(t, r, spec)
	if !strings.HasPrefix(out, "65534\n65534\nagain\n") || !strings.Contains(out, "ermission denied") {
		t.Errorf("output %q", out)
	}
	if note, err := os.ReadFile(spec.Sandbox + "/note"); string(note) != "note\n" {
		t.Errorf("note %q, %v", note, err)
	}
}

func TestStartErrors(t *testing.T) {
	r := fresh(t)
	script := filepath.Join(t.TempDir(), "script")
	must(t, os.WriteFile(script, []byte("no binary"), 0o644))
	cases := []struct {
		name  string
		spoil func(*runtime.Spec)
		kind  error
		want  string
	}{
		{"unknown user", func(s *runtime.Spec) { s.User = "nobody-by-this-name" }, runtime.ErrStart, "nobody-by-this-name"},
		{"no such workdir", func(s *runtime.Spec) { s.WorkDir = "/no/such" }, runtime.ErrStart, "/no/such"},
		{"not executable", func(s *runtime.Spec) { s.Command = []string{script} }, runtime.ErrStart, "permission denied"},
		{"not in path", func(s *runtime.Spec) { s.Command = []string{"no-such-command"} }, runtime.ErrStart, "PATH=/usr/local/sbin"},
		{"no such sandbox", func(s *runtime.Spec) { s.Sandbox = "/no/such" }, runtime.ErrStart, "/no/such"},
		{"no such mount", func(s *runtime.Spec) { s.Mounts = []runtime.Mount{{Source: "/no/such", Target: "/mnt"}} }, runtime.ErrStart, "/no/such"},
		{"image", func(s *runtime.Spec) { s.Image = "busybox" }, runtime.ErrInvalid, "docker runtime"},
		{"no command", func(s *runtime.Spec) { s.Command = nil }, runtime.ErrInvalid, "no command"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			spec := sleeper(t, "t", "exit 0")
			good := spec
			c.spoil(&spec)
			_, err := r.Start(t.Context(), spec)
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %v with %q", err, c.kind, c.want)
			}
			if _, err := r.Start(t.Context(), good); err != nil {
				t.Errorf("the id cannot be used after the failure: %v", err)
			}
			r.Wait(t.Context(), "t")
			must(t, r.Remove(t.Context(), "t"))
		})
	}
}

func TestTinyLimitsAreForTheCommandAlone(t *testing.T) {
	r := fresh(t)
	spec := sleeper(t, "t", "exec true")
	spec.Pids, spec.MemoryBytes = 1, 4<<20
	if e, out := output(t, r, spec); e.Code != 0 {
		t.Errorf("exit %+v, output %q", e, out)
	}
}

func TestBadInterpreterIsReported(t *testing.T) {
	r := fresh(t)
	script := filepath.Join(t.TempDir(), "script")
	must(t, os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o755))
	spec := sleeper(t, "t", "")
	spec.Command = []string{script}
	_, err := r.Start(t.Context(), spec)
	must(t, err)
	if e, _ := r.Wait(t.Context(), "t"); e.Code != exitNotFound || !strings.Contains(e.Reason, script) {
		t.Errorf("exit %+v", e)
	}
}

func TestMounts(t *testing.T) {
	r := fresh(t)
	spec := sleeper(t, "t", `cat /mnt/file; echo x >/mnt/file; cat "$OTHER/file"; echo new >"$OTHER/file"; exit 0`)
	src, target := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(src+"/file", []byte("hello\n"), 0o644))
	spec.Env = map[string]string{"OTHER": target}
	spec.Mounts = []runtime.Mount{{Source: src, Target: "/mnt", ReadOnly: true}, {Source: src, Target: target}}
	_, out := output(t, r, spec)
	if strings.Count(out, "hello\n") != 2 || !strings.Contains(out, "ead-only file system") {
		t.Errorf("output %q", out)
	}
	if data, _ := os.ReadFile(src + "/file"); string(data) != "new\n" {
		t.Errorf("source holds %q", data)
	}
	if _, err := os.Stat(target + "/file"); err == nil {
		t.Error("the mount shows outside of the task")
	}
}

// TestMountsBelowTheSandbox: nobody else sees what is mounted there, so removing the sandbox leaves it alone.
func TestMountsBelowTheSandbox(t *testing.T) {
	r := fresh(t)
	spec := sleeper(t, "t", `cat data/file; exit 0`)
	src := t.TempDir()
	must(t, os.WriteFile(src+"/file", []byte("hello\n"), 0o644))
	must(t, os.Mkdir(spec.Sandbox+"/data", 0o755))
	spec.Mounts = []runtime.Mount{{Source: src, Target: "data"}}
	if _, out := output(t, r, spec); out != "hello\n" {
		t.Errorf("output %q", out)
	}
	must(t, os.RemoveAll(spec.Sandbox))
	if _, err := os.Stat(src + "/file"); err != nil {
		t.Errorf("what was mounted is gone with the sandbox: %v", err)
	}
}

func TestOutOfMemoryKeepsTheExitCode(t *testing.T) {
	r := fresh(t)
	e, _ := output(t, r, sleeper(t, "t", "exec tail /dev/zero"))
	if !e.OOM || e.Code != 137 {
		t.Errorf("exit %+v", e)
	}
}

func TestNothingIsLeftRunning(t *testing.T) {
	for _, s := range settings {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			r := s.open(t, dir, "test-left-"+filepath.Base(filepath.Dir(dir)))
			defer closeAndRemove(t, r)
			mark := fmt.Sprintf("98765%d", os.Getpid())
			_, err := r.Start(t.Context(), sleeper(t, "ends", "sleep "+mark+" & exit 0"))
			must(t, err)
			_, err = r.Wait(t.Context(), "ends")
			must(t, err)
			_, err = r.Start(t.Context(), sleeper(t, "killed", "sleep "+mark+" & sleep "+mark+" & wait"))
			must(t, err)
			must(t, r.Kill(t.Context(), "killed"))
			if out, err := exec.Command("pgrep", "-f", "^sleep "+mark).Output(); err == nil {
				t.Errorf("still running: %s", out)
			}
		})
	}
}

func TestReplacedOutputIsNotRead(t *testing.T) {
	r := fresh(t)
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("secret"), 0o600))
	for _, replace := range []string{"ln -s " + secret + " stdout", "ln " + secret + " stdout", "mkfifo stdout", "echo forged >stdout"} {
		spec := sleeper(t, "t", "rm stdout; "+replace)
		_, err := r.Start(t.Context(), spec)
		must(t, err)
		_, err = r.Wait(t.Context(), "t")
		must(t, err)
		var out bytes.Buffer
		if err := r.Logs(t.Context(), "t", runtime.LogOptions{}, &out, nil); err == nil || out.Len() > 0 {
			t.Errorf("after %q logs are %q, %v", replace, out.String(), err)
		}
		must(t, r.Remove(t.Context(), "t"))
	}
}

func TestOutputIsBounded(t *testing.T) {
	r := fresh(t)
	r.opt.LogBytes = 1 << 20
	gate := filepath.Join(t.TempDir(), "gate")
	spec := sleeper(t, "t", `yes 123456789012345678901234567890 | head -c 6000000; echo; echo full; until [ -e `+gate+` ]; do sleep 0.02; done; echo last`)
	_, err := r.Start(t.Context(), spec)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	full := writer(func(p []byte) {
		if bytes.Contains(p, []byte("full")) {
			cancel()
		}
	})
	r.Logs(ctx, "t", runtime.LogOptions{Follow: true}, full, nil)
	r.trimAll()
	must(t, os.WriteFile(gate, nil, 0o644))
	_, err = r.Wait(t.Context(), "t")
	must(t, err)
	var out, tail bytes.Buffer
	must(t, r.Logs(t.Context(), "t", runtime.LogOptions{}, &out, nil))
	if out.Len() > 1<<20+2*trimAlign || out.Len() < 1<<19 || !strings.HasSuffix(out.String(), "full\nlast\n") || bytes.IndexByte(out.Bytes(), 0) >= 0 {
		t.Errorf("%d bytes are kept, ending %q", out.Len(), out.String()[max(0, out.Len()-20):])
	}
	var st unix.Stat_t
	must(t, unix.Stat(spec.Sandbox+"/stdout", &st))
	if st.Blocks*512 > 1<<20+4*trimAlign {
		t.Errorf("%d bytes on disk", st.Blocks*512)
	}
	must(t, r.Logs(t.Context(), "t", runtime.LogOptions{Tail: 2}, &tail, nil))
	if tail.String() != "full\nlast\n" {
		t.Errorf("tail %q", tail.String())
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

func TestExecEndsWithItsCaller(t *testing.T) {
	r := fresh(t)
	_, err := r.Start(t.Context(), sleeper(t, "t", "sleep 1000"))
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	up := writer(func([]byte) { cancel() })
	if _, err := r.Exec(ctx, "t", runtime.ExecOptions{Command: []string{"sh", "-c", "echo up; exec sleep 1000"}, Stdout: up}); !errors.Is(err, context.Canceled) {
		t.Errorf("exec: %v", err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for n := int64(9); n != 2; { // the shell and its sleep
		u, err := r.Usage(t.Context(), "t")
		must(t, err)
		if n = u.Pids; time.Now().After(deadline) {
			t.Fatalf("%d processes are left in the task", n)
		}
	}
	code, err := r.Exec(t.Context(), "t", runtime.ExecOptions{Command: []string{"no-such-command"}})
	if must(t, err); code != exitNotFound {
		t.Errorf("a missing command ends with %d", code)
	}
}

func TestSecondRuntimeOnTheStateIsRefused(t *testing.T) {
	r := fresh(t)
	if _, err := New(r.opt); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second runtime: %v", err)
	}
}

func TestFundingSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	s := setting{"", true, true}
	r := s.open(t, dir, "test-funding")
	_, err := r.Start(t.Context(), sleeper(t, "t", "sleep 1000"))
	must(t, err)
	must(t, r.SetFunding(t.Context(), "t", runtime.Guaranteed, "corp"))
	must(t, r.Close())
	r = s.open(t, dir, "test-funding")
	defer closeAndRemove(t, r)
	if list, _ := r.List(t.Context()); len(list) != 1 || list[0].Funded != runtime.Guaranteed {
		t.Errorf("after a restart: %+v", list)
	}
}

// TestFiftyIdleTasksAreCheap holds the runtime's own memory, supervisors included, below a megabyte a task.
func TestFiftyIdleTasksAreCheap(t *testing.T) {
	r := fresh(t)
	var kib int
	for i := range 50 {
		id := fmt.Sprintf("t%d", i)
		spec := sleeper(t, id, "exec sleep 1000")
		_, err := r.Start(t.Context(), spec)
		must(t, err)
		kib += proportional(t, r.tasks[id].procs.supervisor.pid)
	}
	t.Logf("50 supervisors: %d KiB", kib)
	if kib > 50*1024 {
		t.Errorf("50 supervisors take %d KiB", kib)
	}
}

// proportional is a process's share of memory in KiB.
func proportional(t *testing.T, pid int) (kib int) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	must(t, err)
	for line := range strings.Lines(string(data)) {
		if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kib); n == 1 {
			return kib
		}
	}
	t.Fatal("no Pss")
	return 0
}

func FuzzDecoders(f *testing.F) {
	f.Add([]byte(`{"spec":{"taskID":"t","role":"r"},"bootID":"b","joins":[]}`))
	f.Add([]byte("12 34 56 78\n"))
	f.Add([]byte("137\n\n\n\n"))
	f.Add([]byte(`{"pid":1,"command":["x"]}`))
	f.Add(resizeFrame(runtime.Size{Rows: 24, Cols: 80}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if kind, body, err := readFrame(bytes.NewReader(data)); err == nil && !bytes.HasPrefix(data, frame(kind, body)) {
			t.Errorf("frame %c %q", kind, body)
		}
		if rec, err := decodeRecord(data); err == nil && !runtime.ValidTaskID(rec.Spec.TaskID) {
			t.Errorf("record with task id %q", rec.Spec.TaskID)
		}
		if p, err := decodeProcesses(string(data)); err == nil && (p.supervisor.pid <= 0 || p.command.pid <= 0) {
			t.Errorf("processes %+v", p)
		}
		if code, err := decodeExit(string(data)); err == nil && (code < 0 || code > 255) {
			t.Errorf("exit code %d", code)
		}
		if e, err := decodeEntry(data); err == nil && len(e.Command) == 0 {
			t.Error("entry without a command")
		}
	})
}
