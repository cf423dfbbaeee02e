package kube

import (
	"os"
	"path/filepath"
	"testing"
)

// TestForgedMirror: a lease whose pod says that its cgroup is that of another pod does not keep that one from its end.
func TestForgedMirror(t *testing.T) {
	w := newWorld(t)
	w.attach()
	pod := "kubepods/burstable/pod" + uid
	w.makeDir(pod)
	if err := os.WriteFile(filepath.Join(w.root, pod, "cgroup.procs"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w.start()
	s := spec()
	s.TaskID = "fake-1.0"
	s.Labels[UIDLabel], s.Labels[StaticLabel], s.Labels[StaysLabel] = "99999999-0000-4000-8000-000000000000", uid, "true"
	if _, err := w.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.look()
	if err := w.Kill(t.Context(), "web-1.0"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(w.root, pod, "memory.max")); err != nil {
		t.Errorf("the pod's processes were left alone: %v", err)
	}
}
