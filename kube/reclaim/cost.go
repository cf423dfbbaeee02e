package reclaim

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"polder.dev/polder/kube/claim"
)

// lease is a pod with a lease, as its cost is worked out.
type lease struct {
	pod  *v1.Pod
	gone bool // it was told to leave, or is on its way out
	cost claim.Cost
}

// steer tells the pool what losing each pod would cost, where that has changed: then the pool asks those back first whom their owner
// would let go, as far as it has a choice.
func (r *reclaimer) steer(ctx context.Context) {
	budgets, err := r.Budgets.List(labels.Everything())
	if err != nil {
		return // a lister of a cache does not fail
	}
	known, leases := r.Book.Leases(), map[types.UID]*lease{}
	for uid, e := range known {
		if pod := r.podOf(e); pod != nil {
			leases[uid] = &lease{pod: pod, gone: r.open[e.Task] != nil || pod.DeletionTimestamp != nil, cost: claim.Cost{Amount: deletionCost(pod)}}
		}
	}
	guard(leases, budgets)
	news := map[types.UID]claim.Cost{}
	for uid, l := range leases {
		if l.cost != known[uid].Cost && !l.gone {
			news[uid] = l.cost
		}
	}
	if len(news) == 0 {
		return
	}
	if err := r.Book.SetCosts(ctx, news); err != nil {
		r.Logger.Warn("the pool could not be told which pods to spare; trying again", "pods", len(news), "error", err)
	}
}

// deletionCost is what the owner of a pod wrote, zero where that is no number.
func deletionCost(pod *v1.Pod) int64 {
	n, _ := strconv.ParseInt(pod.Annotations[v1.PodDeletionCost], 10, 32)
	return n
}

// guard marks the pods whose eviction a budget for disruption would refuse after the others have left: of those that it watches all but
// as many as it still allows, the cheapest first.
func guard(leases map[types.UID]*lease, budgets []*policyv1.PodDisruptionBudget) {
	for _, b := range budgets {
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil || selector.Empty() && b.Spec.Selector == nil {
			continue
		}
		allowed, up := int(b.Status.DisruptionsAllowed), []*lease{}
		for _, l := range leases {
			switch {
			case l.pod.Namespace != b.Namespace || !selector.Matches(labels.Set(l.pod.Labels)) || !counts(l.pod, b):
			case l.gone && l.pod.DeletionTimestamp == nil:
				allowed-- // the budget does not know yet
			case !l.gone:
				up = append(up, l)
			}
		}
		slices.SortFunc(up, cheaper)
		for _, l := range up[min(len(up), max(0, allowed)):] {
			l.cost.Guarded = true
		}
	}
}

// counts reports whether a budget stands in the way of a pod's eviction: not where the pod is not ready, and the budget lets such pods go.
func counts(pod *v1.Pod, b *policyv1.PodDisruptionBudget) bool {
	if pod.Status.Phase != v1.PodRunning {
		return false
	}
	if slices.ContainsFunc(pod.Status.Conditions, func(c v1.PodCondition) bool { return c.Type == v1.PodReady && c.Status == v1.ConditionTrue }) {
		return true
	}
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policyv1.AlwaysAllow {
		return false
	}
	return b.Status.DesiredHealthy == 0 || b.Status.CurrentHealthy < b.Status.DesiredHealthy
}

// cheaper is the order in which the pool would ask pods of one role back that nobody guards.
func cheaper(a, b *lease) int {
	return cmp.Or(cmp.Compare(priority(a.pod), priority(b.pod)), cmp.Compare(a.cost.Amount, b.cost.Amount),
		b.started().Compare(a.started()), cmp.Compare(a.pod.UID, b.pod.UID))
}

func (l *lease) started() time.Time {
	if l.pod.Status.StartTime == nil {
		return time.Time{}
	}
	return l.pod.Status.StartTime.Time
}

func priority(pod *v1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}
