package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/cgroup"
	"polder.dev/polder/agent/runtime/runtimetest"
)

const (
	image    = "polder/busybox"
	patience = 30 * time.Second
)

// engine is the one all tests share, started by the script the demo uses too.
var engine struct{ dir, host string }

func TestMain(m *testing.M) { os.Exit(withEngine(m)) }

func withEngine(m *testing.M) int {
	dir, err := os.MkdirTemp("", "pd")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	engine.dir = dir
	defer os.RemoveAll(dir)
	defer script("stop")
	if engine.host, err = script("start"); err != nil {
		fmt.Println("these tests need a container engine of their own:", err)
		return 1
	}
	return m.Run()
}

func script(verb string) (string, error) {
	cmd := exec.Command("../../../e2e/engine.sh", verb, engine.dir)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, errOut.String())
	}
	return strings.TrimSpace(string(out)), err
}

func TestScriptNamesWhatIsMissing(t *testing.T) {
	bin := t.TempDir()
	for _, name := range []string{"mkdir", "id"} {
		path, err := exec.LookPath(name)
		must(t, err)
		must(t, os.Symlink(path, filepath.Join(bin, name)))
	}
	cmd := exec.Command("/bin/sh", "../../../e2e/engine.sh", "start", t.TempDir())
	cmd.Env = []string{"PATH=" + bin}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "missing: dockerd containerd runc docker") || !strings.Contains(string(out), "apt-get install docker.io") {
		t.Errorf("%v: %s", err, out)
	}
}

func open(t *testing.T, agent string) *Runtime {
	t.Helper()
	tree := cgroup.Open(cgroup.Root, agent)
	if n := tree.Note(); n != "" {
		t.Fatal(n)
	}
	t.Cleanup(tree.Close)
	r, err := New(Options{Host: engine.host, Agent: agent, Tree: tree})
	must(t, err)
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtimetest.Target {
		agent := "test-" + filepath.Base(filepath.Dir(t.TempDir()))
		return runtimetest.Target{
			Runtime: open(t, agent),
			Image:   image,
			Restart: func(t *testing.T, old runtime.Runtime) runtime.Runtime {
				must(t, old.Close())
				return open(t, agent)
			},
			Sandbox: func(t *testing.T) string { return t.TempDir() },
		}
	})
}

func spec(t *testing.T, id, script string) runtime.Spec {
	return runtime.Spec{TaskID: id, Role: "corp/search", Node: "n1", Image: image, Command: []string{"/bin/sh", "-c", script},
		Sandbox: t.TempDir(), CPU: 500, CPUHard: true, MemoryBytes: 32 << 20, Pids: 20, Funded: runtime.Guaranteed}
}

// start runs a task and removes it after the test.
func start(t *testing.T, r *Runtime, s runtime.Spec) runtime.Status {
	t.Helper()
	must(t, r.Prepare(t.Context(), s, nil))
	st, err := r.Start(t.Context(), s)
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(r.Kill(ctx, s.TaskID), r.Remove(ctx, s.TaskID)); err != nil && !errors.Is(err, runtime.ErrNotFound) {
			t.Error(err)
		}
	})
	return st
}

func wait(t *testing.T, r *Runtime, id string) runtime.Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	e, err := r.Wait(ctx, id)
	must(t, err)
	return e
}

func TestLimitsCgroupAndSandbox(t *testing.T) {
	r := open(t, "test-limits")
	s := spec(t, "limits", `echo from inside >"$POLDER_SANDBOX/note"; grep NoNewPrivs /proc/self/status; sleep 1000`)
	s.User = "65534:65534"
	st := start(t, r, s)
	group := "/polder/test-limits/corp/search/guaranteed/"
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", st.PID))
	must(t, err)
	if !strings.Contains(string(data), ":memory:"+group) && !strings.Contains(string(data), "0::"+group) {
		t.Errorf("container is not below %s:\n%s", group, data)
	}
	c, err := r.inspect(t.Context(), "test", "limits")
	must(t, err)
	h := c.HostConfig
	if h.NanoCPUs != 5e8 || h.CPUShares != 512 || h.Memory != 32<<20 || *h.PidsLimit != 20 || h.Privileged {
		t.Errorf("limits %+v", h.Resources)
	}
	var out needle
	follow(t, r, "limits", &out, "NoNewPrivs:\t1")
	if note, err := os.ReadFile(filepath.Join(s.Sandbox, "note")); string(note) != "from inside\n" {
		t.Errorf("sandbox note %q, %v", note, err)
	}
}

// needle cancels once its text has gone by.
type needle struct {
	bytes.Buffer
	text   string
	cancel func()
}

func (n *needle) Write(p []byte) (int, error) {
	n.Buffer.Write(p)
	if strings.Contains(n.String(), n.text) {
		n.cancel()
	}
	return len(p), nil
}

func follow(t *testing.T, r *Runtime, id string, n *needle, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n.text, n.cancel = text, cancel
	r.Logs(ctx, id, runtime.LogOptions{Follow: true}, n, nil)
	if !strings.Contains(n.String(), text) {
		t.Fatalf("%s wrote %q, want %q in it", id, n.String(), text)
	}
}

func TestPortsArePublished(t *testing.T) {
	r := open(t, "test-ports")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	port := uint16(free.Addr().(*net.TCPAddr).Port)
	must(t, free.Close())
	s := spec(t, "ports", `echo listening; echo hello | nc -l -p "$POLDER_PORT_WEB"`)
	s.Ports = []runtime.PortMap{{Name: "web", HostPort: port, ContainerPort: 8080}}
	start(t, r, s)
	if got := dial(t, port); got != "hello\n" {
		t.Errorf("read %q from the published port", got)
	}
	taken := spec(t, "taken", "sleep 1000")
	taken.Ports = s.Ports
	wait(t, r, "ports")
	hold, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	must(t, err)
	defer hold.Close()
	if _, err := r.Start(t.Context(), taken); !errors.Is(err, runtime.ErrStart) {
		t.Errorf("start on a taken port: %v", err)
	}
}

// dial reads what a task serves, trying again until it listens: the engine accepts connections a little earlier.
func dial(t *testing.T, port uint16) string {
	t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		conn.SetDeadline(deadline)
		var b bytes.Buffer
		b.ReadFrom(conn)
		conn.Close()
		if b.Len() > 0 {
			return b.String()
		}
	}
	return ""
}

func TestImageMissing(t *testing.T) {
	r := open(t, "test-image")
	s := spec(t, "image", "true")
	s.Image = "127.0.0.1:1/no/such:image"
	err := r.Prepare(t.Context(), s, nil)
	if !errors.Is(err, runtime.ErrImage) || !strings.Contains(err.Error(), s.Image) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("prepare: %v", err)
	}
	if _, err := r.Start(t.Context(), s); !errors.Is(err, runtime.ErrImage) {
		t.Errorf("start: %v", err)
	}
}

func TestOutOfMemory(t *testing.T) {
	r := open(t, "test-oom")
	start(t, r, spec(t, "oom", `exec tail /dev/zero`))
	if e := wait(t, r, "oom"); !e.OOM || e.Code != 137 {
		t.Errorf("exit %+v", e)
	}
}

func TestOthersContainersAreNotTouched(t *testing.T) {
	a, b := open(t, "test-a"), open(t, "test-b")
	start(t, a, spec(t, "mine", "sleep 1000"))
	if list, err := b.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("b sees %+v, %v", list, err)
	}
	if err := b.Kill(t.Context(), "mine"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("b kills a's task: %v", err)
	}
	if _, err := b.Start(t.Context(), spec(t, "mine", "true")); !errors.Is(err, runtime.ErrStart) {
		t.Errorf("b starts a task with a's container name: %v", err)
	}
}

func TestRemovedUnderUsIsLost(t *testing.T) {
	r := open(t, "test-removed")
	s := spec(t, "removed", "echo up; sleep 1000")
	start(t, r, s)
	exit := make(chan runtime.Exit, 1)
	go func() {
		e, _ := r.Wait(context.Background(), "removed")
		exit <- e
	}()
	out, err := exec.Command("docker", "-H", engine.host, "rm", "-f", "polder-removed").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if e := <-exit; !e.Lost && e.Code != 137 {
		t.Errorf("exit %+v, want lost or killed", e)
	}
}

// TestEngineRestart stops the engine under a running task: calls say so, Wait goes on, and the end is reported when the
// engine is back, as one that says nothing about the task.
func TestEngineRestart(t *testing.T) {
	r := open(t, "test-restart")
	start(t, r, spec(t, "restarted", "trap 'exit 6' TERM; echo ready; while :; do sleep 0.05; done"))
	var out needle
	follow(t, r, "restarted", &out, "ready")
	exit := make(chan runtime.Exit, 1)
	go func() {
		e, err := r.Wait(context.Background(), "restarted")
		if err != nil {
			t.Error(err)
		}
		exit <- e
	}()
	_, err := script("stop")
	must(t, err)
	if _, err := r.List(t.Context()); !errors.Is(err, runtime.ErrUnavailable) {
		t.Errorf("list without an engine: %v", err)
	}
	var engine runtime.Pinger = r // what an agent watches
	if err := engine.Ping(t.Context()); !errors.Is(err, runtime.ErrUnavailable) {
		t.Errorf("ping without an engine: %v", err)
	}
	_, err = script("start")
	must(t, err)
	must(t, engine.Ping(t.Context()))
	select {
	case e := <-exit:
		if !e.Lost || !strings.Contains(e.Reason, "exit code 6") {
			t.Errorf("exit %+v, want one that is lost and names the code", e)
		}
	case <-time.After(patience):
		t.Error("wait did not come back with the engine")
	}
}
