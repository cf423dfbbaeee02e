//go:build e2e

package e2e

import (
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

	w.kubectl("delete", "-f", "testdata/everything.yaml", "--wait=false")
	w.await("the end of the leases", func() (string, bool) {
		ps := w.polder("ps")
		return ps, strings.Count(ps, "\n") <= 1
	})
}
