package volume

import (
	"os"
	"testing"

	"connectrpc.com/connect"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/kube/pool"
)

// TestRetain: what its owner wants kept stays, in Kubernetes until somebody deletes it there, and in the pool after that.
func TestRetain(t *testing.T) {
	w := newWorld(t)
	keep := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "keep"}, Provisioner: Provisioner, ReclaimPolicy: new(v1.PersistentVolumeReclaimRetain),
		VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer)}
	if err := w.kube.Tracker().Add(keep); err != nil {
		t.Fatal(err)
	}
	c := w.provided("data", "1Gi", func(c *v1.PersistentVolumeClaim) { c.Spec.StorageClassName = new("keep") })
	w.release(c)
	w.run(object{kindVolume, "", nameOf(c)})
	pv := w.persistent(c)
	if pv == nil || pv.DeletionTimestamp != nil || w.inPool(c) == nil {
		t.Fatalf("released, there is %v and %v", pv, w.inPool(c))
	}
	pv.DeletionTimestamp = &metav1.Time{}
	w.set("persistentvolumes", pv)
	w.run(object{kindVolume, "", nameOf(c)})
	v := w.inPool(c)
	if v == nil || len(w.persistent(c).Finalizers) > 0 {
		t.Fatalf("deleted, there is %v and %v", w.persistent(c), v)
	}
	if _, err := os.Stat(v.Path); err != nil {
		t.Error(err)
	}
}

// TestDeletedWhileBound: a PersistentVolume that somebody deletes is there as long as its claim.
func TestDeletedWhileBound(t *testing.T) {
	w := newWorld(t)
	c := w.provided("data", "1Gi", nil)
	pv := w.persistent(c)
	pv.DeletionTimestamp = &metav1.Time{}
	w.set("persistentvolumes", pv)
	if w.run(object{kindVolume, "", pv.Name}); w.inPool(c) == nil || len(w.persistent(c).Finalizers) == 0 {
		t.Fatal("it is gone under its claim")
	}
	w.release(c)
	w.run(object{kindVolume, "", pv.Name})
	if w.inPool(c) != nil || len(w.persistent(c).Finalizers) > 0 {
		t.Errorf("there is left %v, %v", w.inPool(c), w.persistent(c))
	}
}

// TestInUse: what another door's task wants to mount is not deleted; when that is over, it is.
func TestInUse(t *testing.T) {
	w := newWorld(t)
	c := w.provided("data", "1Gi", nil)
	res, err := w.client.Asks.Submit(t.Context(), connect.NewRequest(&polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{{Role: "shop", Count: 1, Task: &polderv1.TaskSpec{
		Runtime: pool.KubeRuntime, Resources: map[string]string{"cpu": "1"}, Mounts: []*polderv1.Mount{{Volume: nameOf(c), Target: "/data"}}}}}}))
	if err != nil || res.Msg.Results[0].Refused != nil {
		t.Fatal(err, res)
	}
	w.release(c)
	o := object{kindVolume, "", nameOf(c)}
	if err := w.try(o); !refuses(err) || w.persistent(c) == nil || w.inPool(c) == nil || !w.heard("Warning", "VolumeFailedDelete", "is mounted by") {
		t.Fatalf("%v, and its owner was told %q", err, w.said)
	}
	task := res.Msg.Results[0].Ask.Id + ".0"
	w.await("the end of its task", func() bool {
		_, _ = w.client.Tasks.Kill(t.Context(), connect.NewRequest(&polderv1.KillRequest{Ids: []string{task}})) // it may not have begun
		return len(w.inPool(c).UsedBy) == 0
	})
	w.run(o)
	if w.persistent(c) != nil || w.inPool(c) != nil {
		t.Errorf("there is left %v, %v", w.persistent(c), w.inPool(c))
	}
}

// TestForged: a PersistentVolume that names a volume which was not made for a claim does not delete it.
func TestForged(t *testing.T) {
	w := newWorld(t)
	if _, err := w.client.Volumes.Create(t.Context(), connect.NewRequest(&polderv1.VolumeServiceCreateRequest{Name: "pvc-precious", Role: "shop", Size: "1Gi"})); err != nil {
		t.Fatal(err)
	}
	pv := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-precious", Annotations: map[string]string{provisionedBy: Provisioner}},
		Spec:   v1.PersistentVolumeSpec{PersistentVolumeSource: v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: "/x"}}, PersistentVolumeReclaimPolicy: v1.PersistentVolumeReclaimDelete},
		Status: v1.PersistentVolumeStatus{Phase: v1.VolumeReleased}}
	if err := w.kube.Tracker().Add(pv); err != nil {
		t.Fatal(err)
	}
	if err := w.try(object{kindVolume, "", pv.Name}); !refuses(err) || !w.heard("VolumeFailedDelete", "was not made for a claim") {
		t.Errorf("%v, and its owner was told %q", err, w.said)
	}
}

// TestGrow: a claim that requests more has it, or the pool's reason; its PersistentVolume never says more than the pool does.
func TestGrow(t *testing.T) {
	w := newWorld(t)
	c := w.provided("data", "2Gi", nil)
	request := func(size string) {
		now := w.claim(c)
		now.Spec.Resources.Requests[v1.ResourceStorage] = quantity.MustParse(size)
		w.set("persistentvolumeclaims", now)
	}
	has := func() [3]string {
		return [3]string{w.inPool(c).Size, w.persistent(c).Spec.Capacity.Storage().String(), w.claim(c).Status.Capacity.Storage().String()}
	}
	request("3Gi")
	w.run(claimed(c))
	if got := has(); got != [3]string{"3Gi", "3Gi", "3Gi"} || !w.heard("Normal", "VolumeResizeSuccessful", "3Gi") {
		t.Errorf("after growth pool, PersistentVolume and claim say %q; it was told %q", got, w.said)
	}
	request("11Gi")
	if err := w.try(claimed(c)); !refuses(err) || !w.heard("Warning", "VolumeResizeFailed", "the pool refuses: ") {
		t.Errorf("%v, and the claim was told %q", err, w.said)
	}
	request("4Gi") // more modest
	w.run(claimed(c))
	if got := has(); got != [3]string{"4Gi", "4Gi", "4Gi"} {
		t.Errorf("pool, PersistentVolume and claim say %q", got)
	}
}
