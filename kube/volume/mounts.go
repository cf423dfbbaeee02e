package volume

import (
	"cmp"
	"context"
	"slices"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// Mounts knows which of the pool's volumes pods mount.
type Mounts struct {
	Client  kubernetes.Interface
	Claims  corelisters.PersistentVolumeClaimLister // synced
	Volumes corelisters.PersistentVolumeLister      // synced
}

// Of are the volumes of the pool that a pod's claims have, each once, in order of their names. A claim that has no volume yet, or one of
// somebody else's, adds nothing. For a pod of which everything is in the caches nobody is asked.
func (m Mounts) Of(ctx context.Context, pod *v1.Pod) ([]*polderv1.Mount, error) {
	var out []*polderv1.Mount
	for _, name := range claimsOf(pod) {
		volume, err := m.volumeOf(ctx, pod.Namespace, name)
		if err != nil {
			return nil, err
		}
		if volume == "" || slices.ContainsFunc(out, func(o *polderv1.Mount) bool { return o.Volume == volume }) {
			continue
		}
		// The kubelet mounts it where the pod says, perhaps several times.
		out = append(out, &polderv1.Mount{Volume: volume, Target: volume})
	}
	slices.SortFunc(out, func(a, b *polderv1.Mount) int { return cmp.Compare(a.Volume, b.Volume) })
	return out, nil
}

// volumeOf is the name of a claim's volume in the pool; empty when it has none of ours. The caches may be older than what the scheduler saw
// when it bound the claim.
func (m Mounts) volumeOf(ctx context.Context, namespace, name string) (string, error) {
	claim, err := m.Claims.PersistentVolumeClaims(namespace).Get(name)
	if err != nil || claim.Spec.VolumeName == "" {
		claim, err = m.Client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) {
		return "", nil // for the stock plugin to say
	}
	if err != nil || claim.Spec.VolumeName == "" {
		return "", err
	}
	pv, err := m.Volumes.Get(claim.Spec.VolumeName)
	if apierrors.IsNotFound(err) {
		pv, err = m.Client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	}
	if err != nil || !ours(pv) {
		return "", gone(err)
	}
	return pv.Name, nil
}
