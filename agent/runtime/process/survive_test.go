package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/cgroup"
)

// agentMain is an agent that starts the tasks it reads and then idles until it is killed, when the test binary is run
// as "… test-agent <state dir> <cgroup base>".
func agentMain() {
	if len(os.Args) < 4 || os.Args[1] != "test-agent" {
		return
	}
	r, err := New(Options{StateDir: os.Args[2], Tree: cgroup.Open(cgroup.Root, os.Args[3])})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	for dec := json.NewDecoder(os.Stdin); ; {
		var spec runtime.Spec
		if err := dec.Decode(&spec); err != nil {
			os.Exit(1)
		}
		st, err := r.Start(context.Background(), spec)
		fmt.Println(spec.TaskID, st.PID, err)
	}
}

// agent is such a process.
type agent struct {
	cmd *exec.Cmd
	enc *json.Encoder
	out *bufio.Scanner
}

func startAgent(t *testing.T, state, base string) *agent {
	t.Helper()
	cmd := exec.Command(os.Args[0], "test-agent", state, base)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return &agent{cmd, json.NewEncoder(in), bufio.NewScanner(out)}
}

func (a *agent) start(t *testing.T, spec runtime.Spec) {
	t.Helper()
	must(t, a.enc.Encode(spec))
	if !a.out.Scan() || !strings.HasSuffix(a.out.Text(), "<nil>") {
		t.Fatalf("agent answered %q", a.out.Text())
	}
}

func (a *agent) kill9() {
	a.cmd.Process.Signal(syscall.SIGKILL)
	a.cmd.Wait()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sleeper(t *testing.T, id, script string) runtime.Spec {
	return runtime.Spec{TaskID: id, Role: "corp/test", Command: []string{"/bin/sh", "-c", script}, Sandbox: t.TempDir(),
		CPU: 100, MemoryBytes: 32 << 20, Pids: 32, Funded: runtime.Borrowed}
}

func TestTasksSurviveKill9OfTheAgent(t *testing.T) {
	dir, base := t.TempDir(), "test-kill9"
	a := startAgent(t, dir+"/state", base)
	gate := dir + "/gate"
	a.start(t, sleeper(t, "before", "exit 9"))
	a.start(t, sleeper(t, "during", "until [ -e "+gate+" ]; do sleep 0.02; done; exit 11"))
	a.start(t, sleeper(t, "after", "sleep 1000"))
	a.start(t, sleeper(t, "lost", "sleep 1000"))
	a.kill9()

	must(t, os.WriteFile(gate, nil, 0o644))
	lost, err := readProcesses(dir + "/state/lost")
	must(t, err)
	must(t, lost.supervisor.signal(syscall.SIGKILL))

	r := setting{"", true, true}.open(t, dir, base)
	defer closeAndRemove(t, r)
	for id, want := range map[string]int{"before": 9, "during": 11, "lost": -1} {
		e, err := r.Wait(t.Context(), id)
		if must(t, err); e.Code != want || e.Lost != (want < 0) {
			t.Errorf("%s: %+v, want code %d", id, e, want)
		}
	}
	must(t, r.Kill(t.Context(), "after"))
	e, err := r.Wait(t.Context(), "after")
	if must(t, err); e.Code != 137 {
		t.Errorf("after: %+v", e)
	}
}

// TestLaunchCutOff kills the agent around launches at many points: whatever the next agent finds, a task has run at
// most once, and one that is not known can be started.
func TestLaunchCutOff(t *testing.T) {
	dir, base := t.TempDir(), "test-cutoff"
	var specs []runtime.Spec
	for i := range 12 {
		ran := fmt.Sprintf("%s/ran-%d", dir, i)
		spec := sleeper(t, fmt.Sprintf("t%d", i), "echo x >>"+ran+"; exit 0")
		specs = append(specs, spec)
		a := startAgent(t, dir+"/state", base)
		must(t, a.enc.Encode(spec))
		if i%3 == 0 {
			a.out.Scan()
		}
		a.kill9()
	}
	r := setting{"", true, true}.open(t, dir, base)
	defer closeAndRemove(t, r)
	for i, spec := range specs {
		_, err := r.Start(t.Context(), spec)
		must(t, err)
		e, err := r.Wait(t.Context(), spec.TaskID)
		if must(t, err); e.Lost || e.Code != 0 {
			t.Errorf("%s: %+v", spec.TaskID, e)
		}
		if data, _ := os.ReadFile(fmt.Sprintf("%s/ran-%d", dir, i)); string(data) != "x\n" {
			t.Errorf("%s ran %d times", spec.TaskID, strings.Count(string(data), "x"))
		}
	}
}

func TestRebootLosesWhatHadNotEnded(t *testing.T) {
	dir, base := t.TempDir(), "test-reboot"
	s := setting{"", true, true}
	r := s.open(t, dir, base)
	for _, spec := range []runtime.Spec{sleeper(t, "ended", "exit 4"), sleeper(t, "running", "sleep 1000")} {
		_, err := r.Start(t.Context(), spec)
		must(t, err)
	}
	_, err := r.Wait(t.Context(), "ended")
	must(t, err)
	must(t, r.Kill(t.Context(), "running"))
	must(t, r.Close())
	for _, id := range []string{"ended", "running"} { // as if an earlier boot had written them
		rec, err := readRecord(dir + "/state/" + id)
		must(t, err)
		rec.BootID = "another"
		must(t, rec.write(dir+"/state/"+id))
	}
	must(t, os.Remove(exitFile(dir+"/state/running")))
	r = s.open(t, dir, base)
	defer closeAndRemove(t, r)
	if e, _ := r.Wait(t.Context(), "ended"); e.Code != 4 {
		t.Errorf("ended: %+v", e)
	}
	if e, _ := r.Wait(t.Context(), "running"); !e.Lost || !strings.Contains(e.Reason, "restarted") {
		t.Errorf("running: %+v", e)
	}
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/state", 0o700))
	must(t, unix.Mount("tmpfs", dir+"/state", "tmpfs", 0, "size=256k"))
	defer unix.Unmount(dir+"/state", unix.MNT_DETACH)
	r := setting{"", true, true}.open(t, dir, "test-full")
	defer closeAndRemove(t, r)
	gate := dir + "/gate"
	_, err := r.Start(t.Context(), sleeper(t, "before", "until [ -e "+gate+" ]; do sleep 0.02; done; exit 12"))
	must(t, err)
	if err := os.WriteFile(dir+"/state/filler", make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
	_, err = r.Start(t.Context(), sleeper(t, "refused", "exit 0"))
	if !errors.Is(err, runtime.ErrStart) || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("start on a full disk: %v", err)
	}
	must(t, os.WriteFile(gate, nil, 0o644))
	e, err := r.Wait(t.Context(), "before")
	if must(t, err); e.Code != 12 || e.Lost {
		t.Errorf("exit on a full disk: %+v", e)
	}
	must(t, os.Remove(dir+"/state/filler"))
	_, err = r.Start(t.Context(), sleeper(t, "refused", "exit 0"))
	must(t, err)
}

func TestCorruptRecordIsNamed(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/state/t1", 0o700))
	must(t, os.WriteFile(recordFile(dir+"/state/t1"), []byte(`{"spec":{"taskID":"t1"`), 0o600))
	_, err := New(Options{StateDir: dir + "/state"})
	if err == nil || !strings.Contains(err.Error(), dir+"/state/t1") {
		t.Errorf("corrupt record: %v", err)
	}
	must(t, os.Rename(dir+"/state/t1", dir+"/aside"))
	r, err := New(Options{StateDir: dir + "/state"})
	must(t, err)
	must(t, r.Close())
}

func closeAndRemove(t *testing.T, r *Runtime) {
	t.Helper()
	list, _ := r.List(context.Background())
	for _, st := range list {
		r.Kill(context.Background(), st.TaskID)
		r.Wait(context.Background(), st.TaskID)
		must(t, r.Remove(context.Background(), st.TaskID))
	}
	r.tree.Close()
	must(t, r.Close())
}
