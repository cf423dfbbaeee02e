package volume

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestClassIsKept: it is made, made again, and left as somebody has it.
func TestClassIsKept(t *testing.T) {
	w := newWorld(t)
	api := w.kube.StorageV1().StorageClasses()
	class := func() *storagev1.StorageClass {
		t.Helper()
		w.run(object{kind: kindClass})
		c, err := api.Get(t.Context(), Class, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	remove := func() {
		t.Helper()
		if err := api.Delete(t.Context(), Class, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	c := class()
	if c.Provisioner != Provisioner || *c.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer || *c.ReclaimPolicy != v1.PersistentVolumeReclaimDelete ||
		!*c.AllowVolumeExpansion || c.Annotations[defaultClass] != "true" {
		t.Errorf("the class is %+v", c)
	}
	c.Annotations[defaultClass] = "false"
	w.set("storageclasses", c)
	if c = class(); c.Annotations[defaultClass] != "false" {
		t.Error("it is the default again")
	}
	remove()
	if err := w.kube.Tracker().Add(&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "ssd", Annotations: map[string]string{defaultClass: "true"}}, Provisioner: "example.com/ssd"}); err != nil {
		t.Fatal(err)
	}
	if c = class(); c.Annotations[defaultClass] != "" {
		t.Error("there are two defaults")
	}
	remove()
	if err := w.kube.Tracker().Add(&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: Class}, Provisioner: "example.com/ssd"}); err != nil {
		t.Fatal(err)
	}
	if c = class(); c.Provisioner != "example.com/ssd" {
		t.Error("somebody else's class was replaced")
	}
}
