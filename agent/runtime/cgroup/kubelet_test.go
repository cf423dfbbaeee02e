package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPodOfAnothersKubelet is found wherever that kubelet keeps it: both drivers, every quality of service, any root.
func TestPodOfAnothersKubelet(t *testing.T) {
	const uid = "0b6f7e0e-2a3c-4a56-9c1d-1f2e3d4c5b6a"
	slice := "pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"
	for _, c := range []struct{ root, dir string }{
		{"/", "kubepods/pod" + uid},
		{"/", "kubepods/besteffort/pod" + uid},
		{"/kubelet", "kubelet/kubepods/burstable/pod" + uid},
		{"/", "kubepods.slice/kubepods-" + slice},
		{"/", "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-" + slice},
		{"/my-kubelet", "my_kubelet.slice/my_kubelet-kubepods.slice/my_kubelet-kubepods-besteffort.slice/my_kubelet-kubepods-besteffort-" + slice},
	} {
		root, open := fakeV2(t)
		tree := open("n1")
		if err := tree.FollowKubelet(c.root); err != nil {
			t.Fatal(err)
		}
		if tree.KubeletRuns() {
			t.Errorf("%s: a kubelet that has made nothing runs", c.root)
		}
		if err := os.MkdirAll(filepath.Join(root, c.dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if dir, ok := tree.Pod(uid); dir != c.dir || !ok || !tree.KubeletRuns() {
			t.Errorf("root %s: %q, %v, want %q", c.root, dir, ok, c.dir)
		}
	}
}

func TestRootOfAKubelet(t *testing.T) {
	_, open := fakeV2(t)
	for _, root := range []string{"", "kubelet", "/kubelet/", "/a/../b"} {
		if err := open("n1").FollowKubelet(root); err == nil || !strings.Contains(err.Error(), "cgroupRoot") {
			t.Errorf("%q: %v", root, err)
		}
	}
}
