//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	worker       = "worker"               // the cluster's Node
	workerCgroup = "/polder-e2e-attached" // its kubelet's cgroupRoot
)

const attachedPlan = `roles:
  online: {guarantee: {cpu: 400m, memory: 512Mi}, lendGrace: 10s}
  offline: {reclaimGrace: 8s}
  system: {guarantee: {cpu: 200m, memory: 128Mi}}
`

const daemons = `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: daemon, namespace: system}
spec:
  selector: {matchLabels: {app: daemon}}
  template:
    metadata: {labels: {app: daemon}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: localhost/busybox:1
        imagePullPolicy: Never
        command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
        resources: {requests: {cpu: 50m, memory: 16Mi}}
`

// newAttachedWorld is a cluster that somebody else has made, and an agent of the pool beside its kubelet.
func newAttachedWorld(t *testing.T) *world {
	w := prepareWorld(t)
	makeCgroup(t, workerCgroup)
	stock := filepath.Join(w.data(), "kube") // where the tests' commands look for a kubeconfig
	w.start("stock", "The stock control plane is up", "stock", stock, "127.0.0.1:6443")
	w.start("kubelet", "the kubelet runs", w.kube()[0], "node", "--node", worker, "--dir", filepath.Join(w.dir, "w"), "--cgroup", workerCgroup,
		"--cpu", "1", "--memory", "2Gi", "--join", filepath.Join(stock, "join.kubeconfig"), "--images", filepath.Join(w.dir, "images"), "--sandbox-image", "localhost/pause:1")
	w.awaitSays(" Ready", append(w.kube(), "get", "nodes")...)
	for _, namespace := range []string{"online", "offline", "system"} {
		w.kubectl("create", "namespace", namespace)
	}
	w.start("server", "Serving on", "polder", "server", "--dir", w.data(), "--listen", "127.0.0.1:7800")
	plan := filepath.Join(w.dir, "plan.yaml")
	write(t, plan, attachedPlan)
	w.polder("plan", "apply", "-f", plan, "--yes")
	token := filepath.Join(w.dir, "join.token")
	secret, err := w.output(filepath.Join(w.bin, "polder"), "token", "create", "--join", worker)
	if err != nil {
		t.Fatal(err)
	}
	write(t, token, secret)
	w.start("agent", "Agent of node", "polder", "agent", "--server", "127.0.0.1:7800", "--token-file", token, "--dir", filepath.Join(w.dir, "a"), "--node", worker,
		"--kubelet", workerCgroup, "--runtime", "process", "--capacity", "cpu=1,memory=2Gi")
	w.awaitSays("ready", filepath.Join(w.bin, "polder"), "node", "list")
	return w
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// makeCgroup makes a cgroup in every hierarchy, as a kubelet wants it, until the test ends.
func makeCgroup(t *testing.T, name string) {
	t.Helper()
	mounts, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		mounts = []string{"/sys/fs/cgroup/cgroup.procs"}
	}
	for _, m := range mounts {
		dir := filepath.Join(filepath.Dir(m), name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { removeCgroup(dir) })
	}
}

// removeCgroup removes a cgroup with those below it, as far as they are empty.
func removeCgroup(dir string) {
	below, _ := filepath.Glob(filepath.Join(dir, "*", "cgroup.procs"))
	for _, b := range below {
		removeCgroup(filepath.Dir(b))
	}
	_ = os.Remove(dir)
}

// attach starts the door with an account that may do what it needs and no more.
func (w *world) attach() {
	w.t.Helper()
	door := filepath.Join(w.dir, "door.kubeconfig")
	w.start("door", "attached to Kubernetes", w.kube()[0], "attach", "--dir", w.data(), "--kubeconfig", door)
}

// account makes the kubeconfig of that account.
func (w *world) account() {
	w.t.Helper()
	manifest := filepath.Join(w.dir, "rbac.yaml")
	write(w.t, manifest, w.must(w.kube()[0], "rbac"))
	w.kubectl("apply", "-f", manifest)
	token := strings.TrimSpace(w.kubectl("-n", "polder-system", "create", "token", "polder-kube"))
	door := filepath.Join(w.dir, "door.kubeconfig")
	admin, err := os.ReadFile(filepath.Join(w.data(), "kube/admin.kubeconfig"))
	if err != nil {
		w.t.Fatal(err)
	}
	write(w.t, door, string(admin))
	w.kubectl("--kubeconfig", door, "config", "set-credentials", "door", "--token", token)
	w.kubectl("--kubeconfig", door, "config", "set-context", "--current", "--user", "door")
}

// ours makes a Deployment one of our scheduler's.
func ours(text string) string {
	return strings.Replace(text, "    spec:\n      termination", "    spec:\n      schedulerName: polder\n      termination", 1)
}

// TestAttached: in a cluster that somebody else has made, our pods run on leases and others' are counted; what is borrowed goes back with
// notice; the door's end ends nothing.
func TestAttached(t *testing.T) {
	w := newAttachedWorld(t)
	polder, serve := filepath.Join(w.bin, "polder"), "trap 'exit 0' TERM; while :; do sleep 0.1; done"
	w.apply(daemons, "daemonset.apps/daemon") // before anybody attaches
	w.account()
	w.attach()
	w.awaitSays("daemon-", polder, "ps", "--role", "system")

	w.apply(ours(deployment("online", "web", 2, "100m", serve)), "deployment.apps/web")
	w.awaitSays("ready=2.", append(w.kube(), "get", "deployment", "-n", "online", "web", "-o", "jsonpath=ready={.status.readyReplicas}.")...)
	if ps := w.polder("ps", "--role", "online"); strings.Count(ps, "web-") != 2 || strings.Count(ps, "cpu=0.1,") != 2 {
		t.Errorf("leases of two pods of 100m:\n%s", ps)
	}
	w.kubectl("delete", "deployment", "-n", "online", "web")
	w.await("the end of the leases", func() (string, bool) {
		ps := w.polder("ps")
		return ps, !strings.Contains(ps, "web-")
	})

	// Pods borrow all that is left; the door goes and comes back; a native task claims.
	w.apply(ours(deployment("offline", "lender", 3, "300m", serve)), "deployment.apps/lender")
	w.awaitSays("ready=3.", append(w.kube(), "get", "deployment", "-n", "offline", "lender", "-o", "jsonpath=ready={.status.readyReplicas}.")...)
	started := append(w.kube(), "get", "pods", "-A", "-o", "jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].containerID}{\"\\n\"}{end}")
	before := w.must(started...)
	w.crash("door")
	w.attach()
	if after := w.must(started...); after != before {
		t.Errorf("the door's end and start touched pods:\n%s\n%s", before, after)
	}
	w.polder("ask", "submit", "--name", "native", "--role", "online", "--cpu", "300m", "--memory", "16Mi", "--runtime", "process", "--", "sh", "-c", "while :; do sleep 1; done")
	w.awaitSays("PolderNotice", append(w.kube(), "get", "pods", "-n", "offline", "-o", "jsonpath={.items[*].status.conditions[*].reason}")...)
	w.awaitSays("running", polder, "ps", "--role", "online")
	if out := w.polder("notice", "list", "--all"); !strings.Contains(out, "left") || strings.Contains(fmt.Sprint(linesOf(out, "lender-")), "expired") {
		t.Errorf("pods under notice leave in time:\n%s", out)
	}
	if out := w.kubectl("get", "daemonset", "-n", "system", "daemon", "-o", "jsonpath={.status.numberReady}"); out != "1" {
		t.Errorf("the daemon: %s ready", out)
	}
	for _, namespace := range []string{"offline", "system"} {
		w.kubectl("delete", "deployments,daemonsets", "-n", namespace, "--all")
	}
	for _, id := range strings.Fields(w.polder("ask", "list", "-o", "name")) { // an agent that ends leaves its tasks running
		if strings.HasPrefix(id, "native-") {
			w.polder("ask", "cancel", id)
		}
	}
	w.await("no pods and an empty pool", func() (string, bool) {
		out := w.kubectl("get", "pods", "-A", "-o", "name") + w.polder("ps")
		return out, strings.Count(out, "\n") <= 1
	})
}
