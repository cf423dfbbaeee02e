package mirror

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/kube/pool"
)

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func poolNode(state string) pool.Node {
	return pool.Node{Node: &polderv1.Node{Name: "Node_1", State: state, Attributes: map[string]string{"zone": "a", "note": "two words"}},
		Capacity: resource.Resources{"cpu": 1500, "memory": 1 << 30, "disk": 10 << 30}}
}

type world struct {
	*mirror
	t *testing.T
}

func newWorld(t *testing.T) *world {
	return &world{&mirror{client: fake.NewClientset(), now: func() time.Time { return now }}, t}
}

// pass is one node's part of a pass.
func (w *world) pass(n pool.Node, awake bool) *v1.Node {
	w.t.Helper()
	api := w.client.CoreV1().Nodes()
	have, err := api.Get(w.t.Context(), "node_1", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		have = nil
	}
	if err := w.one(w.t.Context(), n, have, awake); err != nil {
		w.t.Fatal(err)
	}
	got, err := api.Get(w.t.Context(), "node_1", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func TestNodeIsThereBeforeItsKubelet(t *testing.T) {
	n := newWorld(t).pass(poolNode(pool.Ready), false)
	cpu, memory := n.Status.Allocatable[v1.ResourceCPU], n.Status.Capacity[v1.ResourceMemory]
	if cpu.String() != "1500m" || memory.String() != "1Gi" || ready(n) == nil || ready(n).Status != v1.ConditionTrue || len(n.Spec.Taints) > 0 {
		t.Errorf("%+v", n)
	}
	if n.Labels[PoolNodeLabel] != "Node_1" || n.Labels[v1.LabelTopologyZone] != "a" || n.Labels[attributePrefix+"zone"] != "a" || n.Labels[attributePrefix+"note"] != "" {
		t.Errorf("labels %v", n.Labels)
	}
}

// TestPoolSaysWhetherANodeIsThere, as long as somebody else's taints stay.
func TestPoolSaysWhetherANodeIsThere(t *testing.T) {
	w := newWorld(t)
	n := w.pass(poolNode(pool.Ready), true)
	n.Spec.Taints = append(n.Spec.Taints, v1.Taint{Key: "mine", Effect: v1.TaintEffectNoSchedule}, v1.Taint{Key: v1.TaintNodeNotReady, Effect: v1.TaintEffectNoSchedule})
	if _, err := w.client.CoreV1().Nodes().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	n = w.pass(poolNode(pool.Unreachable), true)
	if len(n.Spec.Taints) != 2 || n.Spec.Taints[0].Key != "mine" || n.Spec.Taints[1].Key != v1.TaintNodeUnreachable || ready(n).Status != v1.ConditionUnknown {
		t.Errorf("unreachable: %+v, %+v", n.Spec.Taints, ready(n))
	}
	added := n.Spec.Taints[1].TimeAdded
	if n = w.pass(poolNode(pool.Unreachable), true); !n.Spec.Taints[1].TimeAdded.Equal(added) {
		t.Error("the taint's time moves")
	}
	if n = w.pass(poolNode(pool.Ready), false); len(n.Spec.Taints) != 1 || ready(n).Status != v1.ConditionTrue {
		t.Errorf("back: %+v, %+v", n.Spec.Taints, ready(n))
	}
}

// TestKubeletsWordCounts while it runs.
func TestKubeletsWordCounts(t *testing.T) {
	w := newWorld(t)
	n := w.pass(poolNode(pool.Ready), false)
	ready(n).Status = v1.ConditionFalse
	if _, err := w.client.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	n = w.pass(poolNode(pool.Ready), true)
	if ready(n).Status != v1.ConditionFalse || len(n.Spec.Taints) != 1 || n.Spec.Taints[0].Key != v1.TaintNodeNotReady {
		t.Errorf("awake and not ready: %+v, %+v", n.Spec.Taints, ready(n))
	}
}

// TestCordonIsTold, and a person's own cordon stays.
func TestCordonIsTold(t *testing.T) {
	w := newWorld(t)
	if n := w.pass(poolNode("draining"), false); !n.Spec.Unschedulable {
		t.Error("draining, and schedulable")
	}
	n := w.pass(poolNode(pool.Ready), false)
	if n.Spec.Unschedulable {
		t.Error("ready again, and unschedulable")
	}
	n.Spec.Unschedulable = true
	if _, err := w.client.CoreV1().Nodes().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := w.pass(poolNode(pool.Ready), false); !n.Spec.Unschedulable {
		t.Error("somebody's own cordon is gone")
	}
}

func TestAwake(t *testing.T) {
	w := newWorld(t)
	for name, age := range map[string]time.Duration{"fresh": 10 * time.Second, "old": time.Minute} {
		at := metav1.NewMicroTime(now.Add(-age))
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: v1.NamespaceNodeLease, Name: name}, Spec: coordinationv1.LeaseSpec{RenewTime: &at}}
		if _, err := w.client.CoordinationV1().Leases(l.Namespace).Create(t.Context(), l, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	awake, err := w.awake(t.Context())
	if err != nil || !awake["fresh"] || awake["old"] || awake["none"] {
		t.Errorf("%v, %v", awake, err)
	}
}

// TestDeletedNodeComesBack: it is the pool's, and its pods still run.
func TestDeletedNodeComesBack(t *testing.T) {
	w := newWorld(t)
	w.pass(poolNode(pool.Ready), true)
	if err := w.client.CoreV1().Nodes().Delete(t.Context(), "node_1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := w.pass(poolNode(pool.Ready), true); n.Labels[PoolNodeLabel] != "Node_1" {
		t.Errorf("it is back as %+v", n)
	}
}
