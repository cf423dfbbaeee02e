package volume

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	fwk "k8s.io/kube-scheduler/framework"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/kube/pool"
)

// Name is the plugin's in the scheduler's configuration.
const Name = "PolderVolume"

// Plugin is the scheduler's side of claims: which nodes have room for those that have no volume yet. Who binds them is the stock plugin.
type Plugin struct {
	nodes   *pool.Nodes
	claims  corelisters.PersistentVolumeClaimLister
	classes storagelisters.StorageClassLister
}

// Factory makes the plugin, for the scheduler to call.
func Factory(nodes *pool.Nodes) func(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) {
	return func(_ context.Context, _ runtime.Object, h fwk.Handle) (fwk.Plugin, error) {
		f := h.SharedInformerFactory()
		return &Plugin{nodes: nodes, claims: f.Core().V1().PersistentVolumeClaims().Lister(), classes: f.Storage().V1().StorageClasses().Lister()}, nil
	}
}

// Name is the plugin's name.
func (p *Plugin) Name() string { return Name }

// EventsToRegister says what may help a pod that was refused here. Room that comes back is told by the pool.
func (p *Plugin) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		{Event: fwk.ClusterEvent{Resource: fwk.PersistentVolumeClaim, ActionType: fwk.Add | fwk.Update}},
		{Event: fwk.ClusterEvent{Resource: fwk.StorageClass, ActionType: fwk.Add | fwk.Update}},
	}, nil
}

// need is the disk for the volumes that are to be made for a pod.
type need resource.Amount

// Clone implements the scheduler's StateData: it does not change.
func (n need) Clone() fwk.StateData { return n }

// PreFilter adds up what is to be made. A pod without is not looked at again.
func (p *Plugin) PreFilter(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	var total resource.Amount
	for _, name := range claimsOf(pod) {
		claim, err := p.claims.PersistentVolumeClaims(pod.Namespace).Get(name)
		if apierrors.IsNotFound(err) {
			continue // for the stock plugin to say
		}
		if err != nil {
			return nil, fwk.AsStatus(err)
		}
		class := classOf(claim, p.classes)
		if class == nil || claim.Spec.VolumeName != "" {
			continue
		}
		if why := unfit(claim, class); why != "" {
			return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, fmt.Sprintf("claim %s: %s", name, why))
		}
		total = total.Add(sizeOf(claim))
	}
	if total == 0 {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	state.Write(Name, need(total))
	return nil, nil
}

// PreFilterExtensions are none: other pods of Kubernetes change nothing about disks.
func (p *Plugin) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Filter lets nodes pass that have room in the pool's picture.
func (p *Plugin) Filter(_ context.Context, state fwk.CycleState, _ *v1.Pod, info fwk.NodeInfo) *fwk.Status {
	data, err := state.Read(Name)
	if err != nil {
		return fwk.AsStatus(err)
	}
	n, ok := p.nodes.Get(info.Node().Name)
	if !ok || n.Available[disk] >= resource.Amount(data.(need)) {
		return nil // what is no node of the pool is refused already
	}
	return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "too little disk free in the pool for the pod's volumes")
}

// SignPod adds nothing: a pod with claims is signed with them by the stock plugin, and where its volumes have room is asked each time.
func (p *Plugin) SignPod(_ context.Context, pod *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	if len(claimsOf(pod)) > 0 {
		return nil, fwk.NewStatus(fwk.Unschedulable, "the pod has claims of volumes")
	}
	return nil, nil
}

// claimsOf are the names of a pod's claims, with those that are made for it alone.
func claimsOf(pod *v1.Pod) []string {
	var out []string
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			out = append(out, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			out = append(out, ephemeral.VolumeClaimName(pod, v))
		}
	}
	return out
}
