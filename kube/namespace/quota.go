package namespace

import (
	"context"
	"reflect"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	polderv1 "polder.dev/polder/api/polder/v1"
	polder "polder.dev/polder/core/resource"
)

// QuotaName is the name of the mirror in each namespace.
const QuotaName = "polder"

// quotaNames are the resources a quota shows, by the pool's kinds.
var quotaNames = map[string]v1.ResourceName{"cpu": v1.ResourceRequestsCPU, "memory": v1.ResourceRequestsMemory}

// mirrorAll writes the quota of every namespace that has a role of its own.
func (m *Map) mirrorAll(ctx context.Context, roles map[string]*polderv1.RoleStatus) error {
	namespaces, err := m.namespaces.List(labels.Everything())
	if err != nil {
		return err
	}
	quotas, err := m.kube.CoreV1().ResourceQuotas("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + QuotaName})
	if err != nil {
		return err
	}
	have := map[string]*v1.ResourceQuota{}
	for i := range quotas.Items {
		have[quotas.Items[i].Namespace] = &quotas.Items[i]
	}
	whole := m.capacity()
	for _, ns := range namespaces {
		role := ns.Annotations[RoleAnnotation]
		if role == "" {
			role = RoleName(ns.Name)
		}
		if r := roles[role]; r != nil && ns.DeletionTimestamp == nil {
			if err := m.mirror(ctx, ns.Name, have[ns.Name], QuotaStatus(r, whole)); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
				return err
			}
		}
	}
	return nil
}

// capacity is what the nodes for pods have in all.
func (m *Map) capacity() polder.Resources {
	out := polder.Resources{}
	for _, n := range m.nodes.All() {
		for kind, a := range n.Capacity {
			out[kind] = out[kind].Add(a)
		}
	}
	return out
}

// mirror writes one quota where it says anything else.
func (m *Map) mirror(ctx context.Context, namespace string, have *v1.ResourceQuota, want v1.ResourceQuotaStatus) error {
	api := m.kube.CoreV1().ResourceQuotas(namespace)
	var err error
	if have == nil {
		q := &v1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: QuotaName, Namespace: namespace}, Spec: v1.ResourceQuotaSpec{Hard: want.Hard}}
		if have, err = api.Create(ctx, q, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	if !same(have.Spec.Hard, want.Hard) {
		if len(have.Status.Hard) > 0 && !same(have.Spec.Hard, have.Status.Hard) { // what was written here last is in both
			m.events.Eventf(have, nil, v1.EventTypeWarning, "PutBack", "Update", "this quota shows what the pool promises the namespace's role, and was edited; it says again what is so: change the role in the plan")
		}
		have = have.DeepCopy()
		have.Spec.Hard = want.Hard
		if have, err = api.Update(ctx, have, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	if same(have.Status.Hard, want.Hard) && same(have.Status.Used, want.Used) {
		return nil
	}
	have = have.DeepCopy()
	have.Status = want
	_, err = api.UpdateStatus(ctx, have, metav1.UpdateOptions{})
	return err
}

func same(a, b v1.ResourceList) bool {
	return reflect.DeepEqual(texts(a), texts(b))
}

func texts(l v1.ResourceList) map[v1.ResourceName]string {
	out := map[v1.ResourceName]string{}
	for name, q := range l {
		out[name] = q.String()
	}
	return out
}

// QuotaStatus is a role as a quota. Hard is the most the role may hold: the least of its limit, its guarantee and what it may
// borrow, and what the nodes have. Used is what its tasks hold, whatever door they came through.
func QuotaStatus(r *polderv1.RoleStatus, capacity polder.Resources) v1.ResourceQuotaStatus {
	out := v1.ResourceQuotaStatus{Hard: v1.ResourceList{}, Used: v1.ResourceList{}}
	for kind, name := range quotaNames {
		out.Hard[name] = quantity(kind, min(bound(r.GetEffective(), kind), capacity[kind]))
		out.Used[name] = quantity(kind, amount(r.Usage, kind))
	}
	return out
}

// bound is the least of a role's bounds on a kind.
func bound(e *polderv1.EffectiveRole, kind string) polder.Amount {
	most := polder.Unlimited
	if _, ok := e.Limit[kind]; ok {
		most = amount(e.Limit, kind)
	}
	if _, ok := e.Borrow[kind]; ok {
		most = min(most, amount(e.Guarantee, kind).Add(amount(e.Borrow, kind)))
	}
	return most
}

func amount(texts map[string]string, kind string) polder.Amount {
	a, err := polder.ParseValue(kind, texts[kind])
	if err != nil {
		return 0
	}
	return a
}

func quantity(kind string, a polder.Amount) resource.Quantity {
	if polder.Scale(kind) == 1 {
		return *resource.NewQuantity(int64(a), resource.BinarySI)
	}
	return *resource.NewMilliQuantity(int64(a), resource.DecimalSI)
}
