package volume

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// TestClaim: from a claim to a directory on the chosen node, and back to none.
func TestClaim(t *testing.T) {
	w := newWorld(t)
	c := w.newClaim("shop", "data", "2Gi", func(c *v1.PersistentVolumeClaim) { delete(c.Annotations, selectedNode) })
	if w.run(claimed(c)); w.inPool(c) != nil {
		t.Fatal("a volume was made before there was a pod")
	}
	c.Annotations = map[string]string{selectedNode: "n1"}
	w.set("persistentvolumeclaims", c)
	w.run(claimed(c))
	v, pv := w.inPool(c), w.persistent(c)
	if v == nil || v.Role != "shop" || v.Node != "n1" || v.Size != "2Gi" || v.State != ready || v.Labels[ClaimLabel] != "shop/data" {
		t.Fatalf("in the pool there is %v", v)
	}
	here := pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0]
	if pv.Spec.Local.Path != v.Path || here.Key != v1.LabelHostname || !slices.Equal(here.Values, []string{"n1"}) || pv.Spec.Capacity.Storage().String() != "2Gi" ||
		pv.Spec.ClaimRef.UID != c.UID || pv.Spec.PersistentVolumeReclaimPolicy != v1.PersistentVolumeReclaimDelete || pv.Spec.StorageClassName != Class || !slices.Contains(pv.Finalizers, finalizer) {
		t.Errorf("the PersistentVolume is %+v", pv)
	}
	if w.bind(c); len(w.claim(c).Finalizers) > 0 || !w.heard("Normal", "ProvisioningSucceeded", "on node n1") {
		t.Errorf("the claim is %+v, and was told %q", w.claim(c), w.said)
	}
	if w.run(object{kindVolume, "", pv.Name}); w.persistent(c) == nil {
		t.Fatal("a volume that is bound is gone")
	}
	w.release(c)
	w.run(object{kindVolume, "", pv.Name})
	if _, err := os.Stat(v.Path); w.persistent(c) != nil || w.inPool(c) != nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of the volume there is left: %v, %v, %v", w.persistent(c), w.inPool(c), err)
	}
}

// TestRefused: the claim has the pool's sentence, and the scheduler is to choose again.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	for name, x := range map[string]struct {
		namespace, size, node, says string
	}{
		"over the guarantee":      {"shop", "11Gi", "n1", "the pool refuses: role shop"},
		"no guarantee":            {"other", "1Gi", "n1", "the pool refuses: role other"},
		"nobody pays":             {"nobody", "1Gi", "n1", "no role pays for namespace nobody"},
		"a node that is gone":     {"shop", "1Gi", "n7", `"n7" not found`},
		"a node of somebody else": {"shop", "1Gi", "stranger", "node stranger is none of the pool"},
	} {
		c := w.newClaim(x.namespace, strings.ReplaceAll(name, " ", "-"), x.size, func(c *v1.PersistentVolumeClaim) { c.Annotations[selectedNode] = x.node })
		w.run(claimed(c))
		if _, still := w.claim(c).Annotations[selectedNode]; still || w.persistent(c) != nil || w.inPool(c) != nil || !w.heard("Warning", "ProvisioningFailed", x.says) {
			t.Errorf("%s: the claim is %+v, and was told %q", name, w.claim(c), w.said)
		}
	}
}

// TestNoRoomOnTheNode: what others hold of the disk is the pool's reason.
func TestNoRoomOnTheNode(t *testing.T) {
	w := newWorld(t)
	if _, err := w.client.Plans.Apply(t.Context(), connect.NewRequest(&polderv1.ApplyRequest{Plan: "roles: {shop: {guarantee: {disk: 20Gi}}}", BaseRevision: 2})); err != nil {
		t.Fatal(err)
	}
	w.provided("first", "8Gi", nil)
	c := w.newClaim("shop", "second", "5Gi", nil)
	w.run(claimed(c))
	if _, still := w.claim(c).Annotations[selectedNode]; still || !w.heard("ProvisioningFailed", "the pool refuses: node n1 does not take it now") {
		t.Errorf("the claim is %+v, and was told %q", w.claim(c), w.said)
	}
}

// TestUnfit: what the pool has none of is said, and nothing is asked for.
func TestUnfit(t *testing.T) {
	w := newWorld(t)
	class := func(name string, change func(*storagev1.StorageClass)) {
		s := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: Provisioner, VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer)}
		change(s)
		if err := w.kube.Tracker().Add(s); err != nil {
			t.Fatal(err)
		}
	}
	class("immediate", func(s *storagev1.StorageClass) { s.VolumeBindingMode = nil })
	class("fast", func(s *storagev1.StorageClass) { s.Parameters = map[string]string{"type": "ssd"} })
	class("mounted", func(s *storagev1.StorageClass) { s.MountOptions = []string{"noatime"} })
	of := func(name string) func(*v1.PersistentVolumeClaim) {
		return func(c *v1.PersistentVolumeClaim) { c.Spec.StorageClassName = &name }
	}
	for says, change := range map[string]func(*v1.PersistentVolumeClaim){
		"no block device":           func(c *v1.PersistentVolumeClaim) { c.Spec.VolumeMode = new(v1.PersistentVolumeBlock) },
		"set accessModes":           func(c *v1.PersistentVolumeClaim) { c.Spec.AccessModes = append(c.Spec.AccessModes, v1.ReadWriteMany) },
		"has a selector":            func(c *v1.PersistentVolumeClaim) { c.Spec.Selector = &metav1.LabelSelector{} },
		"has a data source":         func(c *v1.PersistentVolumeClaim) { c.Spec.DataSource = &v1.TypedLocalObjectReference{Name: "x"} },
		"volumeAttributesClassName": func(c *v1.PersistentVolumeClaim) { c.Spec.VolumeAttributesClassName = new("x") },
		"requests no storage":       func(c *v1.PersistentVolumeClaim) { c.Spec.Resources.Requests = nil },
		"does not wait for a pod":   of("immediate"), "has parameters": of("fast"), "has mountOptions": of("mounted"),
	} {
		c := w.newClaim("shop", strings.ToLower(strings.ReplaceAll(says, " ", "-")), "1Gi", change)
		w.run(claimed(c))
		if w.persistent(c) != nil || w.inPool(c) != nil || !w.heard("Warning", "ProvisioningFailed", says) {
			t.Errorf("%s: the claim was told %q", says, w.said)
		}
	}
}

// TestForeign: claims of other classes, and volumes of other provisioners, are not touched.
func TestForeign(t *testing.T) {
	w := newWorld(t)
	if err := w.kube.Tracker().Add(&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "ssd"}, Provisioner: "example.com/ssd"}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*v1.PersistentVolumeClaim){
		"ssd": func(c *v1.PersistentVolumeClaim) { c.Spec.StorageClassName = new("ssd") }, "unknown": func(c *v1.PersistentVolumeClaim) { c.Spec.StorageClassName = new("unknown") },
		"empty": func(c *v1.PersistentVolumeClaim) { c.Spec.StorageClassName = new("") }, "none": func(c *v1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil },
	} {
		w.run(claimed(w.newClaim("shop", name, "1Gi", change)))
	}
	pv := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "theirs", Annotations: map[string]string{provisionedBy: "example.com/ssd"}},
		Spec:   v1.PersistentVolumeSpec{PersistentVolumeSource: v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: "/x"}}, PersistentVolumeReclaimPolicy: v1.PersistentVolumeReclaimDelete},
		Status: v1.PersistentVolumeStatus{Phase: v1.VolumeReleased}}
	if err := w.kube.Tracker().Add(pv); err != nil {
		t.Fatal(err)
	}
	w.run(object{kindVolume, "", pv.Name})
	for _, a := range w.kube.Actions() {
		if v := a.GetVerb(); v != "list" && v != "get" && a.GetResource().Resource != "storageclasses" {
			t.Errorf("%s of %s", v, a.GetResource().Resource)
		}
	}
	if w.heard("") {
		t.Errorf("somebody was told %q", w.said)
	}
}

// TestAbandoned: a claim that is deleted before its PersistentVolume is there takes what was made along.
func TestAbandoned(t *testing.T) {
	w := newWorld(t)
	c := w.newClaim("shop", "data", "1Gi", nil)
	w.cut = 3 // the finalizer and the volume are there
	if err := w.try(claimed(c)); !errors.Is(err, errCut) || w.inPool(c) == nil {
		t.Fatalf("%v, and the pool has %v", err, w.inPool(c))
	}
	now := w.claim(c)
	now.DeletionTimestamp = &metav1.Time{}
	w.set("persistentvolumeclaims", now)
	w.restart()
	w.run(claimed(c))
	w.await("the end of the volume", func() bool { return w.inPool(c) == nil })
	if left := w.claim(c); left != nil && len(left.Finalizers) > 0 {
		t.Errorf("the claim is %+v", left)
	}
}

// TestTaken: a volume that somebody else made under the name is not given away.
func TestTaken(t *testing.T) {
	w := newWorld(t)
	c := w.newClaim("shop", "data", "1Gi", nil)
	_, err := w.client.Volumes.Create(t.Context(), connect.NewRequest(&polderv1.VolumeServiceCreateRequest{Name: nameOf(c), Role: "shop", Size: "1Gi"}))
	if err != nil {
		t.Fatal(err)
	}
	w.run(claimed(c))
	if w.persistent(c) != nil || !w.heard("ProvisioningFailed", "not for this claim") {
		t.Errorf("the claim was told %q", w.said)
	}
}

// TestCutOff: wherever the controller is cut off, another one goes on from there, to the same end.
func TestCutOff(t *testing.T) {
	w := newWorld(t)
	// until does what is to be done with an object, with a new controller after each failure.
	until := func(o object) {
		t.Helper()
		w.await("an end", func() bool {
			err := w.try(o)
			if err != nil && !errors.Is(err, errDeleting) {
				w.restart()
			}
			return err == nil
		})
	}
	for n := 1; ; n++ {
		c := w.newClaim("shop", "data", "1Gi", nil)
		w.cut = n
		until(claimed(c))
		if w.persistent(c) == nil {
			t.Fatalf("cut off at change %d there is no PersistentVolume", n)
		}
		w.bind(c)
		now := w.claim(c)
		now.Spec.Resources.Requests[v1.ResourceStorage] = quantity.MustParse("2Gi")
		w.set("persistentvolumeclaims", now)
		until(claimed(c))
		if v, got := w.inPool(c), w.claim(c); v.GetSize() != "2Gi" || got.Status.Capacity.Storage().String() != "2Gi" || len(got.Finalizers) > 0 {
			t.Fatalf("cut off at change %d the volume is %v, the claim %+v", n, v, got)
		}
		w.release(c)
		until(object{kindVolume, "", nameOf(c)})
		if w.persistent(c) != nil || w.inPool(c) != nil {
			t.Fatalf("cut off at change %d there is left %v, %v", n, w.persistent(c), w.inPool(c))
		}
		if w.cut > 0 {
			if n < 8 {
				t.Errorf("the life of a claim takes %d changes", n)
			}
			return
		}
	}
}
