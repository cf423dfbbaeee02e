//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestPodsShareThePool: pods run on leases and give them back; a Deployment of a guaranteed role takes back what batch tasks
// borrow; pods that borrow are told, evicted in time and gone when a native task claims.
func TestPodsShareThePool(t *testing.T) {
	w := newWorld(t)
	w.awaitSays("node-2", append(w.kube(), "get", "nodes")...)
	ready := func(namespace, name string, n int) {
		t.Helper()
		w.awaitSays(fmt.Sprint("ready=", n, "."), append(w.kube(), "get", "deployment", "-n", namespace, name, "-o", "jsonpath=ready={.status.readyReplicas}.")...)
	}

	w.deploy("online", "web", 2, "100m")
	ready("online", "web", 2)
	if ps := w.polder("ps"); strings.Count(ps, "running") != 2 || strings.Count(ps, " online ") < 2 {
		t.Errorf("leases of two pods:\n%s", ps)
	}
	if out := w.kubectl("logs", "-n", "online", "deploy/web"); !strings.Contains(out, "serving") {
		t.Errorf("logs: %s", out)
	}
	if out := w.kubectl("exec", "-n", "online", "deploy/web", "--", "echo", "hello"); !strings.Contains(out, "hello") {
		t.Errorf("exec: %s", out)
	}
	quota := append(w.kube(), "get", "resourcequota", "-n", "online", "polder", "-o", "jsonpath={.status.used.requests\\.cpu}")
	w.awaitSays("200m", quota...)
	w.kubectl("delete", "deployment", "-n", "online", "web")
	w.await("the end of the leases", func() (string, bool) {
		ps := w.polder("ps")
		return ps, !strings.Contains(ps, "web-")
	})

	// Batch tasks borrow nearly everything; the guaranteed Deployment gets its share back.
	w.polder("ask", "submit", "--name", "batch", "--role", "offline", "--count", "6", "--cpu", cores(w, 16), "--memory", "16Mi", "--runtime", "process", "--", "sh", "-c", "while :; do sleep 1; done")
	w.awaitSays("running", filepath.Join(w.bin, "polder"), "ps", "--role", "offline")
	w.deploy("online", "web", 2, cores(w, 25))
	w.awaitSays("it waits in the pool as web-", append(w.kube(), "get", "pods", "-n", "online", "-o", "jsonpath={.items[*].status.conditions[*].message}")...)
	ready("online", "web", 2)
	w.awaitSays("web-", filepath.Join(w.bin, "polder"), "notice", "list", "--all")

	// The other way round: pods borrow, and a native task of the guaranteed role claims.
	w.kubectl("delete", "deployment", "-n", "online", "web")
	asks := w.polder("ask", "list", "-o", "name")
	for _, id := range strings.Fields(asks) {
		if strings.HasPrefix(id, "batch-") {
			w.polder("ask", "cancel", id)
		}
	}
	w.await("an empty pool", func() (string, bool) {
		ps := w.polder("ps")
		return ps, strings.Count(ps, "\n") <= 1
	})
	w.deploy("offline", "lender", 6, cores(w, 16))
	ready("offline", "lender", 6)
	w.polder("ask", "submit", "--name", "native", "--role", "online", "--count", "2", "--cpu", cores(w, 25), "--memory", "16Mi", "--runtime", "process", "--", "sh", "-c", "while :; do sleep 1; done")
	w.awaitSays("PolderNotice", append(w.kube(), "get", "pods", "-n", "offline", "-o", "jsonpath={.items[*].status.conditions[*].reason}")...)
	w.awaitSays("native", filepath.Join(w.bin, "polder"), "ps", "--role", "online")
	if out := w.polder("notice", "list", "--all"); !strings.Contains(out, "left") || strings.Contains(strings.Join(linesOf(out, "lender-"), "\n"), "expired") {
		t.Errorf("pods under notice leave in time:\n%s", out)
	}
	w.kubectl("delete", "deployment", "-n", "offline", "lender")
	w.await("no pods", func() (string, bool) {
		out := w.kubectl("get", "pods", "-A", "-o", "name")
		return out, out == ""
	})
}

// linesOf are the lines that begin with a word.
func linesOf(text, word string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, word) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// cores is a percentage of the whole pool's processors, as an amount.
func cores(w *world, percent int) string {
	w.t.Helper()
	out := w.kubectl("get", "nodes", "-o", "jsonpath={range .items[*]}{.status.allocatable.cpu}{\"\\n\"}{end}")
	milli := 0
	for _, text := range strings.Fields(out) {
		n := 0
		if m, ok := strings.CutSuffix(text, "m"); ok {
			fmt.Sscan(m, &n)
		} else {
			fmt.Sscan(text, &n)
			n *= 1000
		}
		milli += n
	}
	return fmt.Sprintf("%dm", milli*percent/100)
}
