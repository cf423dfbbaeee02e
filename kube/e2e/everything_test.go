//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
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
	w.awaitSays("every-minute-", append(w.kube(), "get", "jobs", "-n", "online", "-o", "name")...)
	w.awaitSays("every-minute-", append(w.kube(), "get", "pods", "-n", "online", "--field-selector", "status.phase=Succeeded", "-o", "name")...)

	alice(t, w)
	w.kubectl("delete", "-f", "testdata/everything.yaml", "--wait=false")
	w.await("the end of the leases", func() (string, bool) {
		ps := w.polder("ps")
		return ps, strings.Count(ps, "\n") <= 1
	})
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
	for line := range strings.Lines(w.polder("token", "list")) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "alice" {
			w.polder("token", "revoke", f[0])
		}
	}
	w.await("the end of alice's token", func() (string, bool) {
		out, err := w.run(append(as, "get", "pods", "-n", "online")...)
		return out, err != nil && strings.Contains(out, "Unauthorized")
	})
}
