//go:build e2e

package e2e

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOneOfEach: a Deployment behind a Service, with a ConfigMap, a Secret and probes; a StatefulSet, a DaemonSet, a Job and a CronJob.
// Pods reach the Service, one pod of the StatefulSet and the API server by name.
func TestOneOfEach(t *testing.T) {
	w := newWorld(t)
	w.awaitSays("namespace/online", append(w.kube(), "get", "namespace", "online", "-o", "name")...)
	w.kubectl("apply", "-f", "testdata/everything.yaml")
	get := func(kind, name, path, want string) {
		t.Helper()
		w.awaitSays("="+want+".", append(w.kube(), "get", kind, "-n", "online", name, "-o", "jsonpath=={"+path+"}.")...)
	}
	get("deployment", "web", ".status.readyReplicas", "2")
	get("statefulset", "db", ".status.readyReplicas", "2")
	get("daemonset", "everywhere", ".status.numberReady", "2")
	get("job", "visit", ".status.succeeded", "1")
	const said = "hello-from-config swordfish"
	if out := w.kubectl("logs", "-n", "online", "job/visit"); strings.Count(out, said) != 2 || !strings.Contains(out, "I am db-1") {
		t.Errorf("the Service and a pod of the StatefulSet, by name:\n%s", out)
	}
	if out := w.kubectl("exec", "-n", "online", "db-0", "--", "web", "get", "http://kubernetes.default:443"); !strings.Contains(out, "HTTPS server") {
		t.Errorf("the API server, by name, without TLS:\n%s", out)
	}
	inside(t, w)
	volumes(t, w)
	w.awaitSays("every-minute-", append(w.kube(), "get", "jobs", "-n", "online", "-o", "name")...)
	w.awaitSays("every-minute-", append(w.kube(), "get", "pods", "-n", "online", "--field-selector", "status.phase=Succeeded", "-o", "name")...)

	alice(t, w)
	w.kubectl("delete", "-f", "testdata/everything.yaml", "--wait=false")
	w.kubectl("delete", "pvc", "-n", "online", "--all", "--wait=false")
	w.await("the end of the volumes", func() (string, bool) {
		list := w.polder("volume", "list") + w.kubectl("get", "pv", "-o", "name")
		return list, !strings.Contains(list, "pvc-")
	})
	w.await("the end of the leases", func() (string, bool) {
		ps := w.polder("ps")
		return ps, strings.Count(ps, "\n") <= 1
	})
}

// inside looks into a pod in every way that there is, through Kubernetes and through the pool.
func inside(t *testing.T, w *world) {
	t.Helper()
	w.awaitSays("tick", append(w.kube(), "logs", "-n", "online", "talks")...)
	for _, attach := range [][]string{{"attach", "-n", "online", "talks"}, {"logs", "-f", "--tail", "1", "-n", "online", "talks"}} {
		if out, _ := w.run(slices.Concat([]string{"timeout", "5"}, w.kube(), attach)...); !strings.Contains(out, "tick") { // until the time is over, which is an error
			t.Errorf("kubectl %v: %s", attach, out)
		}
	}
	if out := w.must("sh", "-c", "echo sent in | "+strings.Join(w.kube(), " ")+" exec -i -n online talks -- cat"); !strings.Contains(out, "sent in") {
		t.Errorf("kubectl exec -i: %s", out)
	}
	forward := strings.Join(w.kube(), " ") + " port-forward -n online db-0 18080:8080 & pid=$!; trap 'kill $pid' EXIT; " +
		"for i in $(seq 100); do " + filepath.Join(w.bin, "web") + " get http://127.0.0.1:18080 && exit; sleep 0.1; done; exit 1"
	if out := w.must("sh", "-c", forward); !strings.Contains(out, "I am db-0") {
		t.Errorf("kubectl port-forward: %s", out)
	}
	w.awaitSays("talks", append(w.kube(), "top", "pods", "-n", "online")...)
	if out := w.kubectl("top", "nodes"); !strings.Contains(out, "node-1") || !strings.Contains(out, "node-2") {
		t.Errorf("kubectl top nodes: %s", out)
	}
	task := strings.TrimSpace(w.kubectl("get", "pod", "-n", "online", "talks", "-o", `jsonpath={.metadata.annotations.polder\.dev/task}`))
	if out := w.polder("logs", "--tail", "2", task); out != "tick\ntick\n" {
		t.Errorf("polder logs %s: %q", task, out)
	}
	polder := filepath.Join(w.bin, "polder")
	if out := w.must("sh", "-c", "echo sent in | "+polder+" exec -i "+task+" -- sh -c 'cat; hostname'"); !strings.Contains(out, "sent in\ntalks\n") {
		t.Errorf("polder exec %s: %q", task, out)
	}
	if out, err := w.run(polder, "exec", task, "--", "sh", "-c", "echo bad >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(out, "bad") {
		t.Errorf("the exit code of polder exec: %v, %s", err, out)
	}
}

// volumes: what a pod of the StatefulSet has written is there for the next one of its name; a claim grows as far as the pool lets it.
func volumes(t *testing.T, w *world) {
	t.Helper()
	if list := w.polder("volume", "list"); strings.Count(list, "pvc-") != 2 || strings.Count(list, " online ") != 2 || !strings.Contains(list, "64Mi") {
		t.Errorf("the volumes of two claims, in the pool:\n%s", list)
	}
	mounted := "pvc-" + w.kubectl("get", "pvc", "-n", "online", "data-db-0", "-o", "jsonpath={.metadata.uid}")
	if out := w.polder("volume", "get", mounted); !strings.Contains(out, "db-0-") {
		t.Errorf("a volume that a pod mounts:\n%s", out)
	}
	if out, err := w.run(filepath.Join(w.bin, "polder"), "volume", "delete", mounted, "--yes"); err == nil || !strings.Contains(out, "db-0-") {
		t.Errorf("deleting what a pod mounts: %v\n%s", err, out)
	}
	node := w.kubectl("get", "pod", "-n", "online", "db-1", "-o", "jsonpath={.spec.nodeName}")
	w.kubectl("exec", "-n", "online", "db-1", "--", "sh", "-c", "echo kept > /data/word")
	w.kubectl("delete", "pod", "-n", "online", "db-1")
	w.awaitSays("kept", append(w.kube(), "exec", "-n", "online", "db-1", "--", "cat", "/data/word")...)
	if now := w.kubectl("get", "pod", "-n", "online", "db-1", "-o", "jsonpath={.spec.nodeName}"); now != node {
		t.Errorf("db-1 was on %s, where its volume is, and is on %s", node, now)
	}
	request := func(claim, size string) {
		w.kubectl("patch", "pvc", "-n", "online", claim, "-p", `{"spec":{"resources":{"requests":{"storage":"`+size+`"}}}}`)
	}
	request("data-db-1", "128Mi")
	w.awaitSays("128Mi", append(w.kube(), "get", "pvc", "-n", "online", "data-db-1", "-o", "jsonpath={.status.capacity.storage}")...)
	if list := w.polder("volume", "list"); !strings.Contains(list, "128Mi") {
		t.Errorf("the volume of a claim that has grown, in the pool:\n%s", list)
	}
	request("data-db-0", "1Ti") // more than the role is guaranteed
	w.awaitSays("the pool refuses: ", append(w.kube(), "get", "events", "-n", "online", "--field-selector", "reason=VolumeResizeFailed")...)
}

// alice has a token of the pool: refused without a rule, let in with one, refused when the token is revoked.
func alice(t *testing.T, w *world) {
	t.Helper()
	token, err := w.output(filepath.Join(w.bin, "polder"), "token", "create", "alice")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(w.dir, "alice.token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	w.polder("--token-file", file, "door", "env", "kube", "--dir", filepath.Join(w.dir, "alice"))
	as := append(w.kube(), "--kubeconfig", filepath.Join(w.dir, "alice", "config"))
	says := func(args ...string) string {
		t.Helper()
		out, err := w.run(append(as, args...)...)
		if err == nil {
			t.Errorf("alice may %v:\n%s", args, out)
		}
		return out
	}
	if out := says("get", "pods", "-n", "online"); !strings.Contains(out, "user:alice may not view on role online") {
		t.Errorf("the refusal:\n%s", out)
	}
	rules := filepath.Join(w.dir, "access.yaml")
	if err := os.WriteFile(rules, []byte("permissions:\n- {subject: 'user:alice', verbs: [view, exec], role: online}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.polder("access", "set", "-f", rules)
	w.awaitSays("db-0", append(as, "get", "pods", "-n", "online")...)
	w.awaitSays("I am db-0", append(as, "exec", "-n", "online", "db-0", "--", "web", "get", "http://db-0.db:8080")...)
	if out := says("auth", "can-i", "delete", "pods", "-n", "online"); !strings.HasPrefix(out, "no") {
		t.Errorf("can-i: %s", out)
	}
	says("get", "pods", "-n", "offline")
	says("create", "namespace", "offline--mine")
	shell, watch := w.begin(append(as, "exec", "-n", "online", "db-0", "--", "sh", "-c", "echo open; sleep 1000")...), w.begin(append(as, "get", "pods", "-n", "online", "-w")...)
	for line := range strings.Lines(w.polder("token", "list")) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "alice" {
			w.polder("token", "revoke", f[0])
		}
	}
	w.await("the end of alice's token", func() (string, bool) {
		out, err := w.run(append(as, "get", "pods", "-n", "online")...)
		return out, err != nil && strings.Contains(out, "Unauthorized")
	})
	for what, ended := range map[string]chan struct{}{"shell": shell, "watch": watch} {
		w.await("the end of the "+what+" that alice opened", func() (string, bool) {
			select {
			case <-ended:
				return "", true
			default:
				return "it is open", false
			}
		})
	}
}

// begin begins a command of a user that lasts, and waits until it says something. The channel is closed when it has ended.
func (w *world) begin(command ...string) chan struct{} {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), w.place[0], slices.Concat(w.place[1:], command)...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	in := bufio.NewReader(out)
	if _, err := in.ReadString('\n'); err != nil {
		w.t.Fatalf("%v says nothing: %v", command, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, in)
		_ = cmd.Wait()
	}()
	return ended
}
