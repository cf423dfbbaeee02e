package volume

import (
	"context"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"polder.dev/polder/kube/pool"
)

// mounting is a pod with claims, of which the last is made for it alone.
func mounting(claims ...string) *v1.Pod {
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	for _, name := range claims {
		v := v1.Volume{Name: name, VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}
		if own, ok := strings.CutPrefix(name, "web-"); ok {
			v = v1.Volume{Name: own, VolumeSource: v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{}}}
		}
		p.Spec.Volumes = append(p.Spec.Volumes, v)
	}
	return p
}

// TestRoom: the scheduler passes over nodes without room for what is to be made, and looks at nothing else.
func TestRoom(t *testing.T) {
	w := newWorld(t)
	nodes := pool.WatchNodes(w.client, w.keeper.Logger)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); nodes.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	<-nodes.Ready()
	w.newClaim("shop", "five", "5Gi", nil)
	w.newClaim("shop", "web-eight", "8Gi", nil)
	w.newClaim("shop", "bound", "10Gi", func(c *v1.PersistentVolumeClaim) { c.Spec.VolumeName = "x" })
	w.newClaim("shop", "theirs", "10Gi", func(c *v1.PersistentVolumeClaim) { c.Spec.StorageClassName = new("ssd") })
	w.newClaim("shop", "block", "1Gi", func(c *v1.PersistentVolumeClaim) { c.Spec.VolumeMode = new(v1.PersistentVolumeBlock) })
	w.look()
	p := &Plugin{nodes: nodes, claims: w.keeper.claims, classes: w.keeper.classes}
	info := framework.NewNodeInfo()
	info.SetNode(node("n1", nil)) // 12Gi
	for claims, want := range map[string]fwk.Code{
		"": fwk.Skip, "bound theirs": fwk.Skip, "unknown": fwk.Skip, "block": fwk.UnschedulableAndUnresolvable,
		"five bound": fwk.Success, "web-eight": fwk.Success, "five web-eight": fwk.UnschedulableAndUnresolvable,
	} {
		pod, state := mounting(strings.Fields(claims)...), framework.NewCycleState()
		_, s := p.PreFilter(t.Context(), state, pod, nil)
		if s.IsSuccess() {
			s = p.Filter(t.Context(), state, pod, info)
		}
		if s.Code() != want {
			t.Errorf("%q: %v, %v", claims, s, s.Message())
		}
	}
}
