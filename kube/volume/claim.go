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

	"polder.dev/polder/kube/mirror"
)

// selectedNode is where the scheduler says on which node it wants a claim's volume.
const selectedNode = "volume.kubernetes.io/selected-node"

// finalizer is on a claim while its volume is made, and on a PersistentVolume as long as the pool has the volume.
const finalizer = "polder.dev/volume"

// claim brings one claim up to date.
func (k *keeper) claim(ctx context.Context, namespace, name string) error {
	claim, err := k.claims.PersistentVolumeClaims(namespace).Get(name)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	case claim.DeletionTimestamp != nil:
		return k.abandon(ctx, claim)
	case claim.Spec.VolumeName != "":
		if err := k.letGo(ctx, claim); err != nil {
			return err
		}
		return k.grow(ctx, claim)
	}
	class := classOf(claim, k.classes)
	if class == nil {
		return nil
	}
	if why := unfit(claim, class); why != "" {
		k.warn(claim, "ProvisioningFailed", "Provision", why)
		return nil
	}
	if claim.Annotations[selectedNode] == "" {
		return nil
	}
	return k.provision(ctx, claim, class)
}

// provision makes the volume of a claim and its PersistentVolume; what was made before is found.
func (k *keeper) provision(ctx context.Context, claim *v1.PersistentVolumeClaim, class *storagev1.StorageClass) error {
	wanted, why := k.want(claim)
	if why != nil {
		return k.reschedule(ctx, claim, why)
	}
	claim, err := k.hold(ctx, claim)
	if err != nil {
		return err
	}
	v, err := k.obtain(ctx, wanted)
	if refuses(err) {
		return k.reschedule(ctx, claim, err)
	}
	if err != nil {
		return err
	}
	hostname, err := k.hostname(v.Node)
	if err != nil {
		return err
	}
	pv, err := persistent(v, claim, class, hostname)
	if err != nil {
		return err
	}
	if _, err = k.Client.CoreV1().PersistentVolumes().Create(ctx, pv, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	if err == nil {
		k.Events.Eventf(claim, nil, v1.EventTypeNormal, "ProvisioningSucceeded", "Provision", "the pool made volume %s on node %s", v.Name, v.Node)
	}
	return k.letGo(ctx, claim)
}

// reschedule says why a claim cannot have its volume on the node that was chosen, and has the scheduler choose again.
func (k *keeper) reschedule(ctx context.Context, claim *v1.PersistentVolumeClaim, why error) error {
	k.warn(claim, "ProvisioningFailed", "Provision", sentence(why))
	claim = claim.DeepCopy()
	delete(claim.Annotations, selectedNode)
	_, err := k.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, claim, metav1.UpdateOptions{})
	return gone(err)
}

// abandon deletes what was made for a claim that is deleted before it had its PersistentVolume. With one, that is released.
func (k *keeper) abandon(ctx context.Context, claim *v1.PersistentVolumeClaim) error {
	if !slices.Contains(claim.Finalizers, finalizer) {
		return nil
	}
	_, err := k.Client.CoreV1().PersistentVolumes().Get(ctx, nameOf(claim), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		err = k.drop(ctx, nameOf(claim))
		if refuses(err) {
			k.warn(claim, "VolumeFailedDelete", "Delete", sentence(err))
		}
		if err == errDeleting {
			err = nil // the pool does the rest: nobody has seen it
		}
	}
	if err != nil {
		return err
	}
	return k.letGo(ctx, claim)
}

// hold keeps a claim known until its PersistentVolume is there.
func (k *keeper) hold(ctx context.Context, claim *v1.PersistentVolumeClaim) (*v1.PersistentVolumeClaim, error) {
	if slices.Contains(claim.Finalizers, finalizer) {
		return claim, nil
	}
	claim = claim.DeepCopy()
	claim.Finalizers = append(claim.Finalizers, finalizer)
	return k.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, claim, metav1.UpdateOptions{})
}

func (k *keeper) letGo(ctx context.Context, claim *v1.PersistentVolumeClaim) error {
	if !slices.Contains(claim.Finalizers, finalizer) {
		return nil
	}
	claim = claim.DeepCopy()
	claim.Finalizers = without(claim.Finalizers)
	_, err := k.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, claim, metav1.UpdateOptions{})
	return gone(err)
}

func without(finalizers []string) []string {
	return slices.DeleteFunc(finalizers, func(f string) bool { return f == finalizer })
}

// gone is for changes of what need not be there any more.
func gone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// poolNode is the name in the pool of one of Kubernetes' nodes.
func (k *keeper) poolNode(node string) (string, error) {
	n, err := k.nodes.Get(node)
	if err != nil {
		return "", fmt.Errorf("node %s: %w", node, err)
	}
	if name := n.Labels[mirror.PoolNodeLabel]; name != "" {
		return name, nil
	}
	return "", fmt.Errorf("node %s is none of the pool", node)
}

// hostname is what Kubernetes knows a node of the pool by.
func (k *keeper) hostname(poolNode string) (string, error) {
	nodes, err := k.nodes.List(labels.SelectorFromSet(labels.Set{mirror.PoolNodeLabel: poolNode}))
	if err != nil {
		return "", err
	}
	for _, n := range nodes {
		if name := n.Labels[v1.LabelHostname]; name != "" {
			return name, nil
		}
	}
	return "", fmt.Errorf("node %s of the pool is none of Kubernetes", poolNode)
}
