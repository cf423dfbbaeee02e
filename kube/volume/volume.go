package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"connectrpc.com/connect"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/events"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/kube/mirror"
)

const (
	// Class is the name of the StorageClass.
	Class = "polder"
	// Provisioner is what a StorageClass names to have its volumes made here.
	Provisioner = "polder.dev/volume"

	selectedNode  = "volume.kubernetes.io/selected-node" // set by the scheduler
	provisionedBy = "pv.kubernetes.io/provisioned-by"

	claimLabel = "kube.polder.dev/claim" // namespace/name, on the pool's volume

	lookEvery = time.Second
	callLimit = 30 * time.Second // a volume is waited for, see Get of the API
)

// Roles says which role pays for a namespace, or why none does.
type Roles interface {
	RoleOf(namespace string) (role string, why error)
}

// Cluster is what [Run] works with. The listers are synced.
type Cluster struct {
	Pool    polderv1connect.VolumeServiceClient
	Roles   Roles
	Client  kubernetes.Interface
	Claims  corelisters.PersistentVolumeClaimLister
	Volumes corelisters.PersistentVolumeLister
	Nodes   corelisters.NodeLister
	Classes storagelisters.StorageClassLister
	Events  events.EventRecorder
	Logger  *slog.Logger
}

// Run makes and deletes volumes until ctx is done.
func Run(ctx context.Context, c Cluster) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if err := c.look(ctx); err != nil && ctx.Err() == nil {
			c.Logger.Warn("volumes could not be brought up to date with their claims", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Register makes the StorageClass, unless somebody has changed or made one of that name. It is the default, as the only one.
func Register(ctx context.Context, client kubernetes.Interface) error {
	class := &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: Class, Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: Provisioner, VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer), ReclaimPolicy: new(v1.PersistentVolumeReclaimDelete),
	}
	_, err := client.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// look does what is due.
func (c Cluster) look(ctx context.Context) error {
	claims, err := c.Claims.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, claim := range claims {
		if class := c.due(claim); class != nil {
			c.provision(ctx, claim, class)
		}
	}
	volumes, err := c.Volumes.List(labels.Everything())
	for _, v := range volumes {
		if v.Annotations[provisionedBy] == Provisioner && v.Status.Phase == v1.VolumeReleased && v.Spec.PersistentVolumeReclaimPolicy == v1.PersistentVolumeReclaimDelete && v.DeletionTimestamp == nil {
			c.delete(ctx, v)
		}
	}
	return err
}

// due is the class of a claim that waits for a volume of ours on a node that is known; nil when it does not.
func (c Cluster) due(claim *v1.PersistentVolumeClaim) *storagev1.StorageClass {
	if claim.Status.Phase != v1.ClaimPending || claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil || claim.Annotations[selectedNode] == "" || claim.Spec.StorageClassName == nil {
		return nil
	}
	class, err := c.Classes.Get(*claim.Spec.StorageClassName)
	if err != nil || class.Provisioner != Provisioner {
		return nil
	}
	if _, err := c.Volumes.Get(nameOf(claim)); err == nil {
		return nil // and is about to be bound
	}
	return class
}

// nameOf is the name of a claim's volume, in Kubernetes and in the pool.
func nameOf(claim *v1.PersistentVolumeClaim) string { return "pvc-" + string(claim.UID) }

// provision makes a claim's volume, and says on the claim why it cannot.
func (c Cluster) provision(ctx context.Context, claim *v1.PersistentVolumeClaim, class *storagev1.StorageClass) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	v, err := c.make(ctx, claim, class)
	if err == nil {
		_, err = c.Client.CoreV1().PersistentVolumes().Create(ctx, v, metav1.CreateOptions{})
	}
	switch {
	case err == nil:
		c.Events.Eventf(claim, nil, v1.EventTypeNormal, "ProvisioningSucceeded", "Provision", "volume %s of the pool is on node %s", v.Name, claim.Annotations[selectedNode])
		return
	case apierrors.IsAlreadyExists(err) || ctx.Err() != nil:
		return // the lister is late, or the next look goes on
	}
	c.Events.Eventf(claim, nil, v1.EventTypeWarning, "ProvisioningFailed", "Provision", "%s", sentence(err))
	// The scheduler is to look again: another node may have room.
	patch, _ := json.Marshal(map[string]any{"metadata": map[string]any{"uid": claim.UID, "annotations": map[string]any{selectedNode: nil}}}) // of plain values: never fails
	_, err = c.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Patch(ctx, claim.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		c.Logger.Warn("a claim for a volume could not be given back to the scheduler", "claim", claim.Namespace+"/"+claim.Name, "error", err)
	}
}

// make makes the pool's volume and describes it as Kubernetes'.
func (c Cluster) make(ctx context.Context, claim *v1.PersistentVolumeClaim, class *storagev1.StorageClass) (*v1.PersistentVolume, error) {
	node, err := c.Nodes.Get(claim.Annotations[selectedNode])
	if err != nil {
		return nil, err
	}
	role, err := c.Roles.RoleOf(claim.Namespace)
	if err == nil {
		err = supported(claim, node)
	}
	if err != nil {
		return nil, err
	}
	size := claim.Spec.Resources.Requests[v1.ResourceStorage]
	name := nameOf(claim)
	_, err = c.Pool.Create(ctx, connect.NewRequest(&polderv1.VolumeServiceCreateRequest{
		Name: name, Role: role, Size: fmt.Sprint(size.Value()), Node: node.Labels[mirror.PoolNodeLabel], Labels: map[string]string{claimLabel: claim.Namespace + "/" + claim.Name},
	}))
	if err != nil {
		return nil, err
	}
	res, err := c.Pool.Get(ctx, connect.NewRequest(&polderv1.VolumeServiceGetRequest{Name: name, UntilReady: true}))
	switch {
	case err != nil:
		return nil, err
	case res.Msg.State != "ready": // it must not stand in the way of one elsewhere
		_, err = c.Pool.Delete(ctx, connect.NewRequest(&polderv1.VolumeServiceDeleteRequest{Name: name}))
		return nil, errors.Join(fmt.Errorf("volume %s of the pool is %s: %s", name, res.Msg.State, res.Msg.Reason.GetMessage()), err)
	}
	return describe(claim, class, node, res.Msg.Path), nil
}

// supported says what of a claim can not be had.
func supported(claim *v1.PersistentVolumeClaim, node *v1.Node) error {
	switch {
	case node.Labels[mirror.PoolNodeLabel] == "":
		return fmt.Errorf("node %s is none of the pool", node.Name)
	case claim.Spec.VolumeMode != nil && *claim.Spec.VolumeMode == v1.PersistentVolumeBlock:
		return fmt.Errorf("volumes of the pool are directories: leave out volumeMode: Block")
	case claim.Spec.Selector != nil:
		return fmt.Errorf("a volume is made for each claim: leave out the selector")
	case claim.Spec.DataSource != nil || claim.Spec.DataSourceRef != nil:
		return fmt.Errorf("volumes of the pool are empty at first: leave out the data source")
	case slices.Contains(claim.Spec.AccessModes, v1.ReadWriteMany) || slices.Contains(claim.Spec.AccessModes, v1.ReadOnlyMany):
		return fmt.Errorf("volumes of the pool are on one node: ask for ReadWriteOnce")
	}
	return nil
}

// describe is Kubernetes' side of a volume.
func describe(claim *v1.PersistentVolumeClaim, class *storagev1.StorageClass, node *v1.Node, path string) *v1.PersistentVolume {
	policy := v1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: nameOf(claim), Annotations: map[string]string{provisionedBy: Provisioner}},
		Spec: v1.PersistentVolumeSpec{
			Capacity:    v1.ResourceList{v1.ResourceStorage: claim.Spec.Resources.Requests[v1.ResourceStorage]},
			AccessModes: claim.Spec.AccessModes, StorageClassName: class.Name, PersistentVolumeReclaimPolicy: policy,
			ClaimRef:               &v1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			PersistentVolumeSource: v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: path}},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
				MatchExpressions: []v1.NodeSelectorRequirement{{Key: mirror.PoolNodeLabel, Operator: v1.NodeSelectorOpIn, Values: []string{node.Labels[mirror.PoolNodeLabel]}}},
			}}}},
		},
	}
}

// delete deletes the volume of a claim that is gone, in the pool first.
func (c Cluster) delete(ctx context.Context, v *v1.PersistentVolume) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	_, err := c.Pool.Delete(ctx, connect.NewRequest(&polderv1.VolumeServiceDeleteRequest{Name: v.Name}))
	if err == nil || connect.CodeOf(err) == connect.CodeNotFound {
		err = c.Client.CoreV1().PersistentVolumes().Delete(ctx, v.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &v.UID}})
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		c.Events.Eventf(v, nil, v1.EventTypeWarning, "VolumeFailedDelete", "Delete", "%s", sentence(err))
	}
}

// sentence is an error without the code that the pool's API has for it.
func sentence(err error) string {
	var refused *connect.Error
	if errors.As(err, &refused) {
		return "the pool refuses: " + refused.Message()
	}
	return err.Error()
}
