package volume

import (
	"context"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

const (
	// Class is the name of the StorageClass that is always there.
	Class = "polder"
	// Provisioner is whose classes are ours, by whatever name.
	Provisioner = "polder.dev/volume"
)

const defaultClass = "storageclass.kubernetes.io/is-default-class"

// keepClass makes the class where it is not there. One that is there stays as somebody has it: it may say what it likes of everything that
// can be changed.
func (k *keeper) keepClass(ctx context.Context) error {
	switch have, err := k.classes.Get(Class); {
	case err == nil && have.Provisioner != Provisioner:
		k.Logger.Warn("a StorageClass of another provisioner has the name of the pool's; make a class of the pool's by another name, or delete it", "class", Class, "provisioner", have.Provisioner)
		return nil
	case err == nil || !apierrors.IsNotFound(err):
		return err
	}
	all, err := k.classes.List(labels.Everything())
	if err != nil {
		return err
	}
	class := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: Class}, Provisioner: Provisioner, AllowVolumeExpansion: new(true),
		ReclaimPolicy: new(v1.PersistentVolumeReclaimDelete), VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer),
	}
	if !slices.ContainsFunc(all, func(c *storagev1.StorageClass) bool { return c.Annotations[defaultClass] == "true" }) {
		class.Annotations = map[string]string{defaultClass: "true"}
	}
	_, err = k.Client.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// unfit says why a claim of a class of ours can never be had; empty is that it can.
func unfit(claim *v1.PersistentVolumeClaim, class *storagev1.StorageClass) string {
	s := claim.Spec
	size := s.Resources.Requests[v1.ResourceStorage]
	switch {
	case class.VolumeBindingMode == nil || *class.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer:
		return fmt.Sprintf("StorageClass %s does not wait for a pod, and a volume of the pool is on one node: set its volumeBindingMode to WaitForFirstConsumer", class.Name)
	case len(class.Parameters) > 0:
		return fmt.Sprintf("StorageClass %s has parameters, and volumes of the pool know none: take them away", class.Name)
	case len(class.MountOptions) > 0:
		return fmt.Sprintf("StorageClass %s has mountOptions, and a volume of the pool is a directory: take them away", class.Name)
	case s.VolumeMode != nil && *s.VolumeMode != v1.PersistentVolumeFilesystem:
		return "a volume of the pool is a directory and no block device: set volumeMode to Filesystem"
	case len(s.AccessModes) == 0 || slices.ContainsFunc(s.AccessModes, elsewhere):
		return "a volume of the pool is on one node: set accessModes to ReadWriteOnce or ReadWriteOncePod, and nothing else"
	case s.Selector != nil:
		return "the claim has a selector, and volumes of the pool are made for their claims: take it away"
	case s.DataSource != nil || s.DataSourceRef != nil:
		return "the claim has a data source, and volumes of the pool begin empty: take it away"
	case s.VolumeAttributesClassName != nil && *s.VolumeAttributesClassName != "":
		return "the claim has a volumeAttributesClassName, and volumes of the pool have no such attributes: take it away"
	case size.Sign() <= 0:
		return "the claim requests no storage: set resources.requests.storage"
	}
	return ""
}

// elsewhere reports whether an access mode is for several nodes.
func elsewhere(m v1.PersistentVolumeAccessMode) bool {
	return m != v1.ReadWriteOnce && m != v1.ReadWriteOncePod
}
