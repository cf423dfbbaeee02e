package volume

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

// TestMounts: a pod mounts the pool's volumes that its claims have, whether the caches know it yet or not, and no others count.
func TestMounts(t *testing.T) {
	claim := func(name, volume string) *v1.PersistentVolumeClaim {
		return &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: v1.PersistentVolumeClaimSpec{VolumeName: volume}}
	}
	volume := func(name, by string) *v1.PersistentVolume {
		return &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: by}},
			Spec: v1.PersistentVolumeSpec{PersistentVolumeSource: v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: "/x"}}}}
	}
	all := []any{claim("b", "pvc-2"), claim("a", "pvc-1"), claim("theirs", "nfs-1"), claim("none", ""), claim("lost", "pvc-9"),
		volume("pvc-1", Provisioner), volume("pvc-2", Provisioner), volume("nfs-1", "somebody.example/nfs")}
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	for _, name := range []string{"b", "a", "a", "theirs", "none", "lost", "missing"} {
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name}}})
	}
	pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}})
	for _, cached := range []bool{true, false} {
		client := fake.NewClientset()
		core := informers.NewSharedInformerFactory(client, 0).Core().V1()
		m := Mounts{client, core.PersistentVolumeClaims().Lister(), core.PersistentVolumes().Lister()}
		for _, o := range all {
			var err error
			switch o := o.(type) {
			case *v1.PersistentVolumeClaim:
				if cached && o.Name != "none" {
					_ = core.PersistentVolumeClaims().Informer().GetStore().Add(o)
					continue
				}
				_, err = client.CoreV1().PersistentVolumeClaims("shop").Create(t.Context(), o, metav1.CreateOptions{})
			case *v1.PersistentVolume:
				if cached {
					_ = core.PersistentVolumes().Informer().GetStore().Add(o)
					continue
				}
				_, err = client.CoreV1().PersistentVolumes().Create(t.Context(), o, metav1.CreateOptions{})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		mounts, err := m.Of(t.Context(), pod)
		if err != nil || len(mounts) != 2 || mounts[0].Volume != "pvc-1" || mounts[1].Volume != "pvc-2" {
			t.Errorf("cached %v: %v, %v", cached, mounts, err)
		}
	}
}
