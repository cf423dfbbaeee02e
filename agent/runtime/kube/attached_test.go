package kube

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/cgroup"
)

// attach makes the world's kubelet somebody else's, as one with the systemd driver.
func (w *world) attach() {
	w.Close()
	w.opt.Tree, w.opt.Config, w.opt.Kubelet = cgroup.Open(w.root, "n1"), "", "/"
	w.opt.Output = w.t.TempDir()
	w.open()
}

func (w *world) makeDir(dir string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Join(w.root, dir), 0o755); err != nil {
		w.t.Fatal(err)
	}
}

// TestKubeletOfOthers: the runtime is away until that kubelet runs, starts nothing, and holds a lease as long as the pod lasts.
func TestKubeletOfOthers(t *testing.T) {
	w := newWorld(t)
	w.attach()
	if err := w.Ping(t.Context()); !errors.Is(err, runtime.ErrUnavailable) || !strings.Contains(err.Error(), "cgroupRoot") {
		t.Fatalf("without a kubelet: %v", err)
	}
	w.makeDir("kubepods.slice")
	if err := w.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.start()
	pod := "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"
	w.makeDir(pod)
	w.look()
	if _, err := w.Exec(t.Context(), "web-1.0", runtime.ExecOptions{Command: []string{"ls"}}); !errors.Is(err, runtime.ErrUnsupported) || !strings.Contains(err.Error(), "kubectl exec") {
		t.Errorf("exec: %v", err)
	}
	os.RemoveAll(filepath.Join(w.root, pod))
	w.look()
	if s := w.state(); s.State != runtime.Exited {
		t.Errorf("its pod has gone: %+v", s)
	}
	if _, err := os.Stat(filepath.Join(w.root, "polder/n1", ".kube")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("cgroups of a kubelet of ours: %v", err)
	}
}

// TestPodThatStays: a static pod is found by the kubelet's name of it, and no end of a lease ends it.
func TestPodThatStays(t *testing.T) {
	w := newWorld(t)
	w.attach()
	const hash = "0123456789abcdef0123456789abcdef"
	pod := "kubepods/burstable/pod" + hash
	w.makeDir(pod)
	s := spec()
	s.Labels[StaticLabel], s.Labels[StaysLabel] = hash, "true"
	if _, err := w.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.look()
	if err := w.Kill(t.Context(), "web-1.0"); err != nil {
		t.Fatal(err)
	}
	if e := w.state().Exit; e == nil || !strings.Contains(e.Reason, "goes on") {
		t.Errorf("the lease: %+v", e)
	}
	if _, err := os.Stat(filepath.Join(w.root, pod, "memory.max")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pod was touched: %v", err)
	}
	s.TaskID, s.Labels[StaticLabel] = "web-2.0", "../x"
	if _, err := w.Start(t.Context(), s); !errors.Is(err, runtime.ErrInvalid) {
		t.Errorf("a name that is none: %v", err)
	}
}
