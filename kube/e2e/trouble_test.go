//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// outage is how long the control plane, with its etcd, is away.
const outage = time.Minute

// TestTrouble: a kubelet is killed, a Node is deleted under its pods, the control plane is away for a minute, and pods that ignore TERM are
// asked back. No container starts twice, no lease is lost or left, and who is owed something gets it.
func TestTrouble(t *testing.T) {
	w := newWorld(t)
	w.awaitSays("node-2", append(w.kube(), "get", "nodes")...)
	w.deploy("online", "web", 2, "100m")
	w.awaitSays("ready=2.", append(w.kube(), "get", "deployment", "-n", "online", "web", "-o", "jsonpath=ready={.status.readyReplicas}.")...)
	before := w.running()
	same := func(after string) {
		t.Helper()
		w.await("the same pods on the same leases after "+after, func() (string, bool) {
			now, err := w.look()
			return now, err == nil && now == before
		})
	}

	for _, pid := range w.kubelets() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	w.awaitSays("hello", append(w.kube(), "exec", "-n", "online", "deploy/web", "--", "echo", "hello")...) // another kubelet answers
	same("the kubelets were killed")

	w.kubectl("delete", "node", "node-1", "node-2")
	w.awaitSays("2", append(w.kube(), "get", "nodes", "-l", "polder.dev/node", "-o", "go-template={{len .items}}")...)
	w.awaitSays("hello", append(w.kube(), "exec", "-n", "online", "deploy/web", "--", "echo", "hello")...)
	same("the Nodes were deleted")

	w.endsWithStreams()
	w.startKubernetes()
	same("the control plane ended by itself")

	w.crash("kubernetes")
	for until := time.Now().Add(outage); time.Now().Before(until); time.Sleep(time.Second) {
		if ps := w.polder("ps"); strings.Count(ps, "running") != 2 {
			t.Fatalf("without a control plane:\n%s", ps)
		}
	}
	w.startKubernetes()
	same("the control plane was away")

	w.kubectl("delete", "deployment", "-n", "online", "web")
	w.await("an empty pool", func() (string, bool) {
		ps := w.polder("ps")
		return ps, strings.Count(ps, "\n") <= 1
	})
	deaf(t, w)
}

// endsWithStreams ends the control plane while somebody follows a log. It does not wait for them, which would take a minute.
func (w *world) endsWithStreams() {
	w.t.Helper()
	w.begin(append(w.kube(), "--kubeconfig", filepath.Join(w.data(), "kube/admin.kubeconfig"), "logs", "-f", "-n", "online", "deploy/web")...)
	p := w.programs["kubernetes"]
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		w.t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(45 * time.Second):
		w.t.Error("the control plane waits for a log that is followed")
		<-p.ended
	}
}

// deaf has pods that ignore TERM borrow what a task of a guaranteed role claims then.
func deaf(t *testing.T, w *world) {
	t.Helper()
	w.deployCommand("offline", "deaf", 6, cores(w, 16), "trap '' TERM; while :; do sleep 0.1; done")
	w.awaitSays("ready=6.", append(w.kube(), "get", "deployment", "-n", "offline", "deaf", "-o", "jsonpath=ready={.status.readyReplicas}.")...)
	w.polder("ask", "submit", "--name", "native", "--role", "online", "--count", "2", "--cpu", cores(w, 25), "--memory", "16Mi", "--runtime", "process", "--", "sh", "-c", "while :; do sleep 1; done")
	w.await("the claim, served", func() (string, bool) {
		ps := w.polder("ps", "--role", "online")
		return ps, strings.Count(ps, "running") == 2
	})
	w.kubectl("delete", "deployment", "-n", "offline", "deaf")
	w.await("no pods and no leases of any", func() (string, bool) {
		out := w.kubectl("get", "pods", "-A", "-o", "name") + w.polder("ps", "--role", "offline")
		return out, !strings.Contains(out, "deaf-")
	})
}

// running waits until both pods run on leases, and returns what must not change.
func (w *world) running() string {
	w.t.Helper()
	var was string
	w.await("two pods on leases", func() (string, bool) {
		var err error
		was, err = w.look()
		return was, err == nil && strings.Count(was, "containerd://") == 2
	})
	return was
}

// look is the pods' containers, how often they have started, and their leases.
func (w *world) look() (string, error) {
	pods, err := w.run(append(w.kube(), "get", "pods", "-n", "online", "--sort-by", ".metadata.name", "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.metadata.annotations.polder\.dev/task} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}{"\n"}{end}`)...)
	if err != nil {
		return pods, err
	}
	tasks, err := w.run(filepath.Join(w.bin, "polder"), "ps", "-o", "name")
	return pods + tasks, err
}

// kubelets are the kubelets of this world, which is known by its directory.
func (w *world) kubelets() []int {
	w.t.Helper()
	var out []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		data, err := os.ReadFile(f)
		args := strings.Split(string(data), "\x00")
		if err != nil || len(args) < 3 || args[1] != "kubelet" || !strings.Contains(args[2], w.dir) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, pid)
	}
	if len(out) == 0 {
		w.t.Fatal("no kubelet runs")
	}
	return out
}
