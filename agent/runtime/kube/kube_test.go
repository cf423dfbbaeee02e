package kube

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/cgroup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const uid = "0b6f7e0e-2a3c-4a56-9c1d-1f2e3d4c5b6a"

// world is a runtime over directories that look like cgroups.
type world struct {
	*Runtime
	t    *testing.T
	opt  Options
	root string
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, root: t.TempDir()}
	write(t, filepath.Join(w.root, "cgroup.controllers"), "cpu memory pids")
	w.opt = Options{Node: "n1", Config: filepath.Join(t.TempDir(), "node.json"), State: t.TempDir(), Tree: cgroup.Open(w.root, "n1"),
		CPU: 1500, MemoryBytes: 1 << 30, Look: time.Hour, Idle: time.Hour}
	w.open()
	t.Cleanup(func() { w.Close() })
	return w
}

func (w *world) open() {
	r, err := New(w.opt)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Runtime = r
}

// restart is the next agent.
func (w *world) restart() {
	w.Close()
	w.open()
}

func (w *world) podDir() string {
	return filepath.Join(w.root, "polder/n1/.kube/kubepods/burstable/pod"+uid)
}

func (w *world) podComes() {
	if err := os.MkdirAll(w.podDir(), 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.look()
}

func (w *world) podGoes() {
	if err := os.RemoveAll(w.podDir()); err != nil {
		w.t.Fatal(err)
	}
	w.look()
}

func (w *world) start() runtime.Status {
	w.t.Helper()
	s, err := w.Start(w.t.Context(), spec())
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) state() runtime.Status {
	w.t.Helper()
	list, err := w.List(w.t.Context())
	if err != nil || len(list) != 1 {
		w.t.Fatalf("list %+v, %v", list, err)
	}
	return list[0]
}

func spec() runtime.Spec {
	return runtime.Spec{TaskID: "web-1.0", Role: "online", Node: "n1", CPU: 100, Labels: map[string]string{UIDLabel: uid, PodLabel: "online/web"}}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestLeaseLastsAsLongAsThePod: it is held before the pod comes, and ends when the pod has gone.
func TestLeaseLastsAsLongAsThePod(t *testing.T) {
	w := newWorld(t)
	if s := w.start(); s.State != runtime.Running {
		t.Fatalf("started: %+v", s)
	}
	w.look()
	if s := w.state(); s.State != runtime.Running {
		t.Fatalf("before its pod has come: %+v", s)
	}
	w.podComes()
	if s := w.start(); s.State != runtime.Running {
		t.Fatalf("started again: %+v", s)
	}
	w.podGoes()
	e, err := w.Wait(t.Context(), "web-1.0")
	if err != nil || !e.Success() || !strings.Contains(e.Reason, "online/web") {
		t.Errorf("end: %+v, %v", e, err)
	}
	if err := w.Remove(t.Context(), "web-1.0"); err != nil {
		t.Error(err)
	}
	if w.restart(); len(w.tasks) > 0 {
		t.Error("a removed task is known after a restart")
	}
}

// TestEndOfAPod is what the node's program has noted.
func TestEndOfAPod(t *testing.T) {
	for text, want := range map[string]runtime.Exit{
		`{"container":"main","code":3}`:              {Code: 3, Reason: "container main of pod online/web ended with code 3"},
		`{"container":"main","code":137,"oom":true}`: {Code: 137, Signal: syscall.SIGKILL, OOM: true, Reason: "container main of pod online/web ended with code 137"},
		`{"code":3,"new":1}`:                         {Code: -1, Lost: true, Reason: "pod online/web is gone"},
	} {
		w := newWorld(t)
		w.start()
		w.podComes()
		file := filepath.Join(w.opt.State, "node", "exits", uid)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, file, text)
		w.podGoes()
		got, err := w.Wait(t.Context(), "web-1.0")
		got.FinishedAt = time.Time{}
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the note stays: %v", text, err)
		}
	}
}

// TestLeaseSurvivesTheAgent: what happened while no agent ran is seen by the next one.
func TestLeaseSurvivesTheAgent(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.podComes()
	if err := w.SetFunding(t.Context(), "web-1.0", runtime.Guaranteed, "online"); err != nil {
		t.Fatal(err)
	}
	w.restart()
	if s := w.state(); s.State != runtime.Running || s.Funded != runtime.Guaranteed || s.Labels[PodLabel] != "online/web" {
		t.Errorf("after a restart: %+v", s)
	}
	w.Close()
	os.RemoveAll(w.podDir())
	w.open()
	w.look()
	if s := w.state(); s.State != runtime.Exited {
		t.Errorf("its pod went while no agent ran: %+v", s)
	}
}

// TestLeaseSurvivesTheBoot: after a boot the pod's cgroup is gone until the kubelet has started it again.
func TestLeaseSurvivesTheBoot(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.podComes()
	w.Close()
	rec := w.tasks["web-1.0"].rec
	rec.BootID = "another"
	if err := rec.write(w.tasksDir()); err != nil {
		t.Fatal(err)
	}
	os.RemoveAll(w.podDir())
	w.open()
	w.look()
	if s := w.state(); s.State != runtime.Running {
		t.Errorf("after a boot: %+v", s)
	}
}

// TestKillEndsThePod: every process, for good.
func TestKillEndsThePod(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.podComes()
	if err := w.Signal(t.Context(), "web-1.0", syscall.SIGTERM); err != nil || w.state().State != runtime.Running {
		t.Fatalf("a stop signal is the door's business: %v, %+v", err, w.state())
	}
	container := filepath.Join(w.podDir(), "container")
	if err := os.Mkdir(container, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	procs := filepath.Join(container, "cgroup.procs")
	pid, _ := json.Marshal(cmd.Process.Pid)
	write(t, procs, string(pid)+"\n")
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		cmd.Wait()
		os.WriteFile(procs, nil, 0o644) // as the kernel does
	}()
	if err := w.Kill(t.Context(), "web-1.0"); err != nil {
		t.Fatal(err)
	}
	<-gone
	if e := w.state().Exit; e == nil || e.Code != 137 {
		t.Errorf("end: %+v", e)
	}
	if data, _ := os.ReadFile(filepath.Join(w.podDir(), "memory.max")); string(data) != "1048576" {
		t.Errorf("the pod may have %q of memory again", data)
	}
}

// TestSecondLeaseOfAPod: the end of one leaves the pod alone, which runs on the other.
func TestSecondLeaseOfAPod(t *testing.T) {
	w := newWorld(t)
	w.start()
	second := runtime.Spec{TaskID: "web-2.0", Labels: map[string]string{UIDLabel: uid}}
	if _, err := w.Start(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	w.podComes()
	starved := func() bool {
		data, _ := os.ReadFile(filepath.Join(w.podDir(), "memory.max"))
		return string(data) == "1048576"
	}
	if err := errors.Join(w.Kill(t.Context(), "web-2.0"), w.Remove(t.Context(), "web-2.0")); err != nil || starved() || w.state().State != runtime.Running {
		t.Errorf("the end of the second: %v, starved %v, the first is %v", err, starved(), w.state().State)
	}
	if err := w.Kill(t.Context(), "web-1.0"); err != nil || !starved() {
		t.Errorf("the end of both: %v, starved %v", err, starved())
	}
}

// TestKillWithoutAPod: a lease whose pod never came.
func TestKillWithoutAPod(t *testing.T) {
	w := newWorld(t)
	w.start()
	if err := w.Signal(t.Context(), "web-1.0", syscall.SIGKILL); err != nil || w.state().State != runtime.Exited {
		t.Errorf("%v, %+v", err, w.state())
	}
	w.restart()
	if s := w.state(); s.State != runtime.Exited || s.Exit.Code != 137 {
		t.Errorf("after a restart: %+v", s)
	}
}

// TestProgramRunsWithTasks: the node's program starts with the first task and is told to end some time after the last.
func TestProgramRunsWithTasks(t *testing.T) {
	w := newWorld(t)
	w.Close()
	pipe := filepath.Join(t.TempDir(), "words")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(pipe, os.O_RDWR, 0) // open for writing too: no end between the words
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	words := bufio.NewScanner(f)
	data, _ := json.Marshal(config{Command: []string{"/bin/sh", "-c", `trap 'echo end >"$0"; exit' TERM; echo "$@" >"$0"; while :; do sleep 0.02; done`, pipe}})
	write(t, w.opt.Config, string(data))
	w.opt.Idle = time.Nanosecond
	w.open()
	if err := w.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.start()
	words.Scan()
	want := "--node n1 --dir " + filepath.Join(w.opt.State, "node") + " --cgroup /polder/n1/.kube --cpu 1500m --memory 1073741824"
	if words.Text() != want {
		t.Errorf("arguments %q, want %q", words.Text(), want)
	}
	w.podComes()
	w.podGoes()
	if words.Scan(); words.Text() != "end" {
		t.Errorf("got %q", words.Text())
	}
	if err := w.Remove(t.Context(), "web-1.0"); err != nil {
		t.Fatal(err)
	}
	w.start() // and again, and it ends with the agent
	words.Scan()
	w.Close()
	if words.Scan(); words.Text() != "end" {
		t.Errorf("got %q", words.Text())
	}
	w.open()
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	s := spec()
	s.Labels = map[string]string{UIDLabel: "../.."}
	if _, err := w.Start(t.Context(), s); !errors.Is(err, runtime.ErrInvalid) || !strings.Contains(err.Error(), UIDLabel) {
		t.Errorf("a task of no pod: %v", err)
	}
	w.start()
	if err := w.Attach(t.Context(), "web-1.0", runtime.AttachOptions{}); !errors.Is(err, runtime.ErrUnsupported) || !strings.Contains(err.Error(), "kubectl attach with pod online/web") {
		t.Errorf("attach: %v", err)
	}
	if _, err := w.Usage(t.Context(), "web-1.0"); !errors.Is(err, runtime.ErrNotRunning) {
		t.Errorf("usage before the pod has come: %v", err)
	}
	if err := w.Remove(t.Context(), "web-1.0"); !errors.Is(err, runtime.ErrInvalid) {
		t.Errorf("remove: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Wait(ctx, "web-1.0"); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
	if _, err := w.Wait(t.Context(), "nobody"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("wait for nobody: %v", err)
	}
}

func TestConfigIsStrict(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ text, want string }{
		{"", "start polder-kube up"}, {`{"command":["sh"]}`, "absolute path"}, {`{"command":[]}`, "absolute path"},
		{`{"command":["/bin/sh"],"comand":1}`, "unknown field"}, {`{"command":["/bin/sh"],"exec":["sh"]}`, "absolute path"}, {`{"command":["/bin/sh"]}`, ""},
	} {
		if c.text != "" {
			write(t, w.opt.Config, c.text)
		}
		switch err := w.Ping(t.Context()); {
		case c.want == "" && err != nil:
			t.Error(err)
		case c.want != "" && (!errors.Is(err, runtime.ErrUnavailable) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	data, _ := json.Marshal(record{Spec: spec(), Funded: runtime.Borrowed, BootID: "b", Seen: true, Exit: &runtime.Exit{Code: 7}})
	f.Add(data)
	f.Add([]byte(`{"spec":{"taskID":"x"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := decodeRecord(data); err == nil && (!podUID.MatchString(r.Spec.Labels[UIDLabel]) || r.Spec.Validate() != nil) {
			t.Errorf("accepted %s", data)
		}
	})
}
