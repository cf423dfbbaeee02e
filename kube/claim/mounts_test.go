package claim

import (
	"context"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	v1 "k8s.io/api/core/v1"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// volumes are what the tests' pods mount, by the pod's name.
type volumes map[string][]string

func (v volumes) Of(_ context.Context, pod *v1.Pod) ([]*polderv1.Mount, error) {
	var out []*polderv1.Mount
	for _, name := range v[pod.Name] {
		out = append(out, &polderv1.Mount{Volume: name, Target: name})
	}
	return out, nil
}

// volume makes a volume on the node.
func (w *world) volume(name string) {
	w.t.Helper()
	req := &polderv1.VolumeServiceCreateRequest{Name: name, Role: "online", Size: "64Mi", Node: "n1"}
	if _, err := w.client.Volumes.Create(w.t.Context(), connect.NewRequest(req)); err != nil {
		w.t.Fatal(err)
	}
	w.await("volume "+name, func() bool { return w.get(name).State == "ready" })
}

func (w *world) get(name string) *polderv1.Volume {
	w.t.Helper()
	res, err := w.client.Volumes.Get(w.t.Context(), connect.NewRequest(&polderv1.VolumeServiceGetRequest{Name: name}))
	if err != nil {
		w.t.Fatal(err)
	}
	return res.Msg
}

const planWithDisk = `
roles:
  online: {guarantee: {cpu: 800m, disk: 512Mi}, lendGrace: 2s}
  offline: {reclaimGrace: 1s}
`

// TestVolumesAreInTheLease: the pool knows which pod mounts a volume, and refuses to delete it.
func TestVolumesAreInTheLease(t *testing.T) {
	w := newWorld(t, planWithDisk)
	w.volume("data")
	w.book.SetVolumes(volumes{"a": {"data"}})
	pod := w.pod("online", "a", "500m")
	if s := w.schedule(pod); !s.IsSuccess() {
		t.Fatal(s)
	}
	e, _ := w.book.Get(pod.UID)
	if by := w.get("data").UsedBy; !slices.Equal(by, []string{e.Task}) || e.Volumes != 1 {
		t.Errorf("used by %v, the entry %+v", by, e)
	}
	_, err := w.client.Volumes.Delete(t.Context(), connect.NewRequest(&polderv1.VolumeServiceDeleteRequest{Name: "data"}))
	if err == nil || !strings.Contains(err.Error(), e.Task) {
		t.Errorf("deleting what a pod mounts: %v", err)
	}
	clear(w.book.entries)
	w.look()
	if e, _ := w.book.Get(pod.UID); e.Volumes != 1 {
		t.Errorf("rebuilt: %+v", e)
	}
	w.book.release(t.Context(), pod.UID)
	w.await("nobody's mount", func() bool { return len(w.get("data").UsedBy) == 0 })
	if _, err := w.client.Volumes.Delete(t.Context(), connect.NewRequest(&polderv1.VolumeServiceDeleteRequest{Name: "data"})); err != nil {
		t.Errorf("deleting it afterwards: %v", err)
	}
}

// TestVolumeThatIsMadeAfterTheLease: a pod waits in the pool while its claim has no volume yet. The lease that it gets is exchanged for one
// that names the volume.
func TestVolumeThatIsMadeAfterTheLease(t *testing.T) {
	w := newWorld(t, planWithDisk)
	w.volume("data")
	mine := volumes{}
	w.book.SetVolumes(mine)
	lender, pod := w.pod("offline", "a", "900m"), w.pod("online", "b", "500m")
	if s := w.schedule(lender); !s.IsSuccess() {
		t.Fatal(s)
	}
	w.await("the lease in the picture", func() bool { n, _ := w.nodes.Get("n1"); return n.Available["cpu"] < 500 })
	if s := w.schedule(pod); s.IsSuccess() {
		t.Fatal("it did not wait")
	}
	w.book.release(t.Context(), lender.UID)
	held := func() bool { w.look(); e, _ := w.book.Get(pod.UID); return e.Held() }
	w.await("the first lease", held)
	first, _ := w.book.Get(pod.UID)
	mine["b"] = []string{"data"} // the scheduler has chosen the node, and the volume was made there
	if s := w.schedule(pod); s.IsSuccess() || !strings.Contains(s.Message(), "its volumes were made after it got a lease: it waits in the pool as b-") {
		t.Fatalf("with a lease that names no volume: %v", s)
	}
	w.await("the second lease", held)
	if s := w.schedule(pod); !s.IsSuccess() {
		t.Fatalf("with a lease that names it: %v", s)
	}
	second, _ := w.book.Get(pod.UID)
	if by := w.get("data").UsedBy; second.Task == first.Task || !slices.Equal(by, []string{second.Task}) {
		t.Errorf("leases %s and %s, used by %v", first.Task, second.Task, by)
	}
	w.await("the end of the first", func() bool {
		return !slices.ContainsFunc(w.tasks(), func(t *polderv1.Task) bool { return t.Id == first.Task })
	})
}
