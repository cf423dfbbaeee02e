package volume

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
)

// Labels of the pool's volumes that are made for claims.
const (
	ClaimLabel = "kube.polder.dev/claim"     // namespace/name
	uidLabel   = "kube.polder.dev/claim-uid" // whose name the volume has
)

const (
	disk          = "disk"
	namePrefix    = "pvc-"
	provisionedBy = "pv.kubernetes.io/provisioned-by"
)

// States of a volume, as the pool says them.
const (
	ready    = "ready"
	deleting = "deleting"
)

// errDeleting is for a volume that its node has not deleted yet.
var errDeleting = errors.New("its node has not deleted it yet")

// refusal is why the pool does not do what it was asked.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

// answer tells what the pool refuses from what may be tried again.
func answer(err error) error {
	var e *connect.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() {
	case connect.CodeNotFound, connect.CodeAlreadyExists, connect.CodeFailedPrecondition, connect.CodeAborted, connect.CodeInvalidArgument, connect.CodePermissionDenied:
		return &refusal{e.Message()}
	}
	return err
}

func refuses(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

// sentence is the pool's own, or what an error says.
func sentence(err error) string {
	if refuses(err) {
		return "the pool refuses: " + err.Error()
	}
	return err.Error()
}

// nameOf is the name of a claim's volume, in the pool and in Kubernetes.
func nameOf(claim *v1.PersistentVolumeClaim) string { return namePrefix + string(claim.UID) }

func sizeOf(claim *v1.PersistentVolumeClaim) resource.Amount {
	q := claim.Spec.Resources.Requests[v1.ResourceStorage]
	return resource.Amount(q.Value())
}

// want is what the pool is asked for, or why it need not be asked.
func (k *keeper) want(claim *v1.PersistentVolumeClaim) (*polderv1.VolumeServiceCreateRequest, error) {
	node, err := k.poolNode(claim.Annotations[selectedNode])
	if err != nil {
		return nil, err
	}
	role, err := k.Roles.RoleOf(claim.Namespace)
	if err != nil {
		return nil, err
	}
	return &polderv1.VolumeServiceCreateRequest{
		Name: nameOf(claim), Role: role, Node: node, Size: resource.FormatValue(disk, sizeOf(claim)),
		Labels: map[string]string{ClaimLabel: claim.Namespace + "/" + claim.Name, uidLabel: string(claim.UID)},
	}, nil
}

// obtain makes a volume, or finds the one that was made before, wherever it is, and returns it when it is ready.
func (k *keeper) obtain(ctx context.Context, wanted *polderv1.VolumeServiceCreateRequest) (*polderv1.Volume, error) {
	v, err := k.find(ctx, wanted.Name)
	if err == nil && v == nil {
		if _, err = k.Pool.Create(ctx, connect.NewRequest(wanted)); err != nil {
			return nil, answer(err)
		}
	}
	if err != nil {
		return nil, err
	}
	res, err := k.Pool.Get(ctx, connect.NewRequest(&polderv1.VolumeServiceGetRequest{Name: wanted.Name, UntilReady: true}))
	if err != nil {
		return nil, answer(err)
	}
	v = res.Msg
	switch {
	case v.Role != wanted.Role || !isOurs(v):
		return nil, &refusal{fmt.Sprintf("volume %s is there already, and not for this claim; delete it first", v.Name)}
	case v.State != ready:
		return nil, fmt.Errorf("volume %s is %s: %s", v.Name, v.State, v.Reason.GetMessage())
	case v.Path == "":
		return nil, fmt.Errorf("volume %s: the pool does not say where it is: give the token of the door the verb run on role %s", v.Name, v.Role)
	}
	return v, nil
}

// find looks a volume up; it is nil when there is none.
func (k *keeper) find(ctx context.Context, name string) (*polderv1.Volume, error) {
	res, err := k.Pool.Get(ctx, connect.NewRequest(&polderv1.VolumeServiceGetRequest{Name: name}))
	if connect.CodeOf(err) == connect.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, answer(err)
	}
	return res.Msg, nil
}

// isOurs reports whether a volume was made for the claim in its name.
func isOurs(v *polderv1.Volume) bool {
	uid, ok := strings.CutPrefix(v.Name, namePrefix)
	return ok && v.Labels[uidLabel] == uid
}

// drop deletes a volume of the pool. Without an error it is gone.
func (k *keeper) drop(ctx context.Context, name string) error {
	v, err := k.find(ctx, name)
	switch {
	case err != nil || v == nil:
		return err
	case !isOurs(v):
		return &refusal{fmt.Sprintf("volume %s was not made for a claim; delete it with polder volume delete", name)}
	case v.State == deleting:
		return errDeleting
	}
	_, err = k.Pool.Delete(ctx, connect.NewRequest(&polderv1.VolumeServiceDeleteRequest{Name: name}))
	if err != nil && connect.CodeOf(err) != connect.CodeNotFound {
		return answer(err)
	}
	if v, err = k.find(ctx, name); err == nil && v != nil {
		return errDeleting
	}
	return err
}

// persistent is the PersistentVolume of a volume that was made for a claim.
func persistent(v *polderv1.Volume, claim *v1.PersistentVolumeClaim, class *storagev1.StorageClass, hostname string) (*v1.PersistentVolume, error) {
	size, err := resource.ParseValue(disk, v.Size)
	if err != nil {
		return nil, fmt.Errorf("volume %s: size: %w", v.Name, err)
	}
	policy := v1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	here := v1.NodeSelectorRequirement{Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{hostname}}
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: v.Name, Annotations: map[string]string{provisionedBy: Provisioner}, Finalizers: []string{finalizer}},
		Spec: v1.PersistentVolumeSpec{
			Capacity: v1.ResourceList{v1.ResourceStorage: *quantity.NewQuantity(int64(size), quantity.BinarySI)}, AccessModes: claim.Spec.AccessModes,
			StorageClassName: class.Name, VolumeMode: new(v1.PersistentVolumeFilesystem), PersistentVolumeReclaimPolicy: policy,
			PersistentVolumeSource: v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: v.Path}},
			NodeAffinity:           &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{MatchExpressions: []v1.NodeSelectorRequirement{here}}}}},
			ClaimRef: &v1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name,
				UID: claim.UID, ResourceVersion: claim.ResourceVersion},
		},
	}, nil
}
