package mirror

import (
	"maps"
	"reflect"
	"regexp"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"polder.dev/polder/kube/pool"
)

// Labels of the Nodes.
const (
	PoolNodeLabel   = "polder.dev/node" // the node's name in the pool
	poolLabel       = "polder.dev/pool"
	attributePrefix = "attribute.polder.dev/" // before a node's own attributes
)

// cordonedAnnotation says that it was the pool that made a Node unschedulable.
const cordonedAnnotation = "polder.dev/cordoned"

var labelValue = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$`)

// mostPods is how many pods a kubelet takes.
const mostPods = 110

// desired is a Node as it is created.
func desired(n pool.Node) *v1.Node {
	return &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: objectName(n.Name), Labels: labels(n)}}
}

func labels(n pool.Node) map[string]string {
	out := map[string]string{PoolNodeLabel: n.Name, v1.LabelHostname: objectName(n.Name), v1.LabelOSStable: "linux"}
	if n.Pool != "" {
		out[poolLabel] = n.Pool
	}
	for name, value := range n.Attributes {
		if !labelValue.MatchString(value) || len(value) > 63 {
			continue
		}
		out[attributePrefix+name] = value
		switch name {
		case "zone":
			out[v1.LabelTopologyZone] = value
		case "region":
			out[v1.LabelTopologyRegion] = value
		}
	}
	return out
}

// describe sets labels, taints and whether the node takes pods; it reports whether anything changed.
func describe(node *v1.Node, n pool.Node, awake bool) bool {
	before := node.DeepCopy()
	if node.Labels == nil {
		node.Labels = map[string]string{}
	}
	maps.Copy(node.Labels, labels(n))
	node.Spec.Taints = taints(node, n, awake)
	switch out := n.State == "cordoned" || n.State == "draining"; {
	case out && !node.Spec.Unschedulable:
		if node.Annotations == nil {
			node.Annotations = map[string]string{}
		}
		node.Spec.Unschedulable, node.Annotations[cordonedAnnotation] = true, n.State
	case !out && node.Annotations[cordonedAnnotation] != "":
		node.Spec.Unschedulable = false
		delete(node.Annotations, cordonedAnnotation)
	}
	return !reflect.DeepEqual(before, node)
}

// taints are those of others, and ours.
func taints(node *v1.Node, n pool.Node, awake bool) []v1.Taint {
	var out []v1.Taint
	for _, t := range node.Spec.Taints {
		if t.Key != v1.TaintNodeUnreachable && t.Key != v1.TaintNodeNotReady {
			out = append(out, t)
		}
	}
	switch {
	case n.State == pool.Unreachable:
		added := metav1.Now()
		if i := slices.IndexFunc(node.Spec.Taints, func(t v1.Taint) bool { return t.Key == v1.TaintNodeUnreachable && t.TimeAdded != nil }); i >= 0 {
			added = *node.Spec.Taints[i].TimeAdded
		}
		out = append(out, v1.Taint{Key: v1.TaintNodeUnreachable, Effect: v1.TaintEffectNoExecute, TimeAdded: &added})
	case awake && ready(node) != nil && ready(node).Status == v1.ConditionFalse:
		out = append(out, v1.Taint{Key: v1.TaintNodeNotReady, Effect: v1.TaintEffectNoSchedule})
	}
	return out
}

func ready(node *v1.Node) *v1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == v1.NodeReady {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

// report says what a kubelet that does not run would say; it reports whether anything changed.
func (m *mirror) report(node *v1.Node, n pool.Node, awake bool) bool {
	before := node.Status.DeepCopy()
	c := v1.NodeCondition{Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "KubeletAsleep", Message: "the agent starts the kubelet with the first pod"}
	switch {
	case n.State == pool.Unreachable:
		c.Status, c.Reason, c.Message = v1.ConditionUnknown, "Unreachable", "the agent does not answer the pool"
	case awake:
		return false
	}
	m.set(node, c)
	node.Status.Capacity, node.Status.Allocatable = amounts(node.Status.Capacity, n), amounts(node.Status.Allocatable, n)
	return !reflect.DeepEqual(before, &node.Status)
}

// set puts a condition in the place of the one before, if it says something else.
func (m *mirror) set(node *v1.Node, c v1.NodeCondition) {
	old := ready(node)
	if old != nil && old.Status == c.Status && (c.Status == v1.ConditionTrue || old.Reason == c.Reason) {
		return
	}
	c.LastTransitionTime = metav1.NewTime(m.now())
	c.LastHeartbeatTime = c.LastTransitionTime
	if old == nil {
		node.Status.Conditions = append(node.Status.Conditions, c)
		return
	}
	*old = c
}

// amounts are the pool's, over what a kubelet said before.
func amounts(old v1.ResourceList, n pool.Node) v1.ResourceList {
	out := v1.ResourceList{}
	maps.Copy(out, old)
	for name, q := range map[v1.ResourceName]*resource.Quantity{
		v1.ResourceCPU:              resource.NewMilliQuantity(int64(n.Capacity["cpu"]), resource.DecimalSI),
		v1.ResourceMemory:           resource.NewQuantity(int64(n.Capacity["memory"]), resource.BinarySI),
		v1.ResourceEphemeralStorage: resource.NewQuantity(int64(n.Capacity["disk"]), resource.BinarySI),
		v1.ResourcePods:             resource.NewQuantity(mostPods, resource.DecimalSI),
	} {
		if have, ok := old[name]; !ok || have.Cmp(*q) != 0 && name != v1.ResourceEphemeralStorage {
			out[name] = *q
		}
	}
	return out
}
