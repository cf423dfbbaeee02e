package volume

import (
	"context"
	"fmt"
	"slices"

	"connectrpc.com/connect"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
)

// ours reports whether a PersistentVolume is one of the pool's volumes.
func ours(pv *v1.PersistentVolume) bool {
	return pv.Annotations[provisionedBy] == Provisioner && pv.Spec.Local != nil
}

// volume brings one PersistentVolume up to date: when nobody wants it any more, it goes, from the pool first.
func (k *keeper) volume(ctx context.Context, name string) error {
	pv, err := k.volumes.Get(name)
	if err != nil {
		return gone(err)
	}
	if !ours(pv) || !over(pv) {
		return nil
	}
	// What is deleted does not come back: the cache may be of yesterday.
	pv, err = k.Client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return gone(err)
	}
	if !ours(pv) || !over(pv) {
		return nil
	}
	if pv.Spec.PersistentVolumeReclaimPolicy == v1.PersistentVolumeReclaimDelete {
		if err := k.drop(ctx, name); err != nil {
			if refuses(err) {
				k.warn(pv, "VolumeFailedDelete", "Delete", sentence(err))
			}
			return err
		}
	}
	return k.remove(ctx, pv)
}

// over reports whether a PersistentVolume is to go: it is released and its policy says so, or somebody deletes it and no claim has it.
func over(pv *v1.PersistentVolume) bool {
	if pv.DeletionTimestamp != nil {
		return pv.Status.Phase != v1.VolumeBound
	}
	return pv.Status.Phase == v1.VolumeReleased && pv.Spec.PersistentVolumeReclaimPolicy == v1.PersistentVolumeReclaimDelete
}

// remove deletes a PersistentVolume of which the pool has nothing more, or is to keep what it has.
func (k *keeper) remove(ctx context.Context, pv *v1.PersistentVolume) error {
	api := k.Client.CoreV1().PersistentVolumes()
	if pv.DeletionTimestamp == nil {
		err := api.Delete(ctx, pv.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pv.UID}})
		if err != nil {
			return gone(err)
		}
		if pv, err = api.Get(ctx, pv.Name, metav1.GetOptions{}); err != nil {
			return gone(err)
		}
	}
	if !slices.Contains(pv.Finalizers, finalizer) {
		return nil
	}
	pv.Finalizers = without(pv.Finalizers)
	_, err := api.Update(ctx, pv, metav1.UpdateOptions{})
	return gone(err)
}

// grow resizes the volume of a claim that requests more than it has. A directory has no file system of its own to be resized.
func (k *keeper) grow(ctx context.Context, claim *v1.PersistentVolumeClaim) error {
	pv, err := k.volumes.Get(claim.Spec.VolumeName)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if ref := pv.Spec.ClaimRef; !ours(pv) || ref == nil || ref.UID != claim.UID || claim.Status.Phase != v1.ClaimBound {
		return nil
	}
	has := pv.Spec.Capacity[v1.ResourceStorage]
	if want := sizeOf(claim); want > resource.Amount(has.Value()) {
		if has, err = k.resize(ctx, claim, pv, want); err != nil {
			return err
		}
	}
	if shown := claim.Status.Capacity[v1.ResourceStorage]; shown.Cmp(has) >= 0 {
		return nil
	}
	claim = claim.DeepCopy()
	if claim.Status.Capacity == nil {
		claim.Status.Capacity = v1.ResourceList{}
	}
	claim.Status.Capacity[v1.ResourceStorage] = has
	claim.Status.Conditions = slices.DeleteFunc(claim.Status.Conditions, func(c v1.PersistentVolumeClaimCondition) bool {
		return c.Type == v1.PersistentVolumeClaimResizing || c.Type == v1.PersistentVolumeClaimFileSystemResizePending
	})
	_, err = k.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, claim, metav1.UpdateOptions{})
	if err == nil {
		k.Events.Eventf(claim, nil, v1.EventTypeNormal, "VolumeResizeSuccessful", "Resize", "volume %s has %s", pv.Name, has.String())
	}
	return gone(err)
}

// resize makes a volume larger in the pool, then its PersistentVolume.
func (k *keeper) resize(ctx context.Context, claim *v1.PersistentVolumeClaim, pv *v1.PersistentVolume, size resource.Amount) (quantity.Quantity, error) {
	_, err := k.Pool.Resize(ctx, connect.NewRequest(&polderv1.VolumeServiceResizeRequest{Name: pv.Name, Size: resource.FormatValue(disk, size)}))
	if err != nil {
		if err = answer(err); refuses(err) {
			k.warn(claim, "VolumeResizeFailed", "Resize", sentence(err))
		}
		return quantity.Quantity{}, fmt.Errorf("resizing: %w", err)
	}
	pv = pv.DeepCopy()
	has := *quantity.NewQuantity(int64(size), quantity.BinarySI)
	pv.Spec.Capacity[v1.ResourceStorage] = has
	_, err = k.Client.CoreV1().PersistentVolumes().Update(ctx, pv, metav1.UpdateOptions{})
	return has, err
}
