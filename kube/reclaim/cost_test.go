package reclaim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"polder.dev/polder/kube/claim"
)

// run adds running, ready pods of the label app=NAME, the first of them started first.
func (w *world) run(app string, n int, change func(i int, p *v1.Pod)) {
	for i := range n {
		name := fmt.Sprintf("%s%d", app, i)
		since := metav1.NewTime(start.Add(time.Duration(i) * time.Second))
		p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "offline", Name: name, UID: types.UID(name), Labels: map[string]string{"app": app}, Annotations: map[string]string{}},
			Status: v1.PodStatus{Phase: v1.PodRunning, StartTime: &since, Conditions: []v1.PodCondition{{Type: v1.PodReady, Status: v1.ConditionTrue}}}}
		if change != nil {
			change(i, p)
		}
		_ = w.pods.Add(p)
		_ = w.kube.Tracker().Add(p)
		w.book.leases[p.UID] = claim.Entry{UID: p.UID, Pod: "offline/" + name, Task: name + ".0"}
	}
}

// protect adds a budget that allows so many disruptions of an app.
func (w *world) protect(app string, allowed int32, change func(*policyv1.PodDisruptionBudget)) {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "offline", Name: app},
		Spec:   policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
		Status: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed, DesiredHealthy: 1, CurrentHealthy: 1 + allowed}}
	if change != nil {
		change(b)
	}
	_ = w.budgets.Add(b)
}

// guarded lists the pods that the pool was told to spare.
func (w *world) guarded() string {
	w.steer(w.t.Context())
	var out []string
	for uid, e := range w.book.leases {
		if e.Cost.Guarded {
			out = append(out, string(uid))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// TestBudgetsGuard: all but as many as a budget allows are guarded, and those that cost least, and started last, are not.
func TestBudgetsGuard(t *testing.T) {
	unready := func(which ...int) func(int, *v1.Pod) {
		return func(i int, p *v1.Pod) {
			if slices.Contains(which, i) {
				p.Status.Conditions = nil
			}
		}
	}
	for name, c := range map[string]struct {
		pods   func(int, *v1.Pod)
		budget func(*policyv1.PodDisruptionBudget)
		allow  int32
		want   string
	}{
		"none is allowed": {want: "db0 db1 db2"},
		"one is":          {allow: 1, want: "db0 db1"},
		"all are":         {allow: 3, want: ""},
		"a deletion cost": {allow: 1, want: "db1 db2", pods: func(i int, p *v1.Pod) {
			p.Annotations[v1.PodDeletionCost] = []string{"-5", "0", "nonsense"}[i]
		}},
		"a priority goes before costs": {allow: 1, want: "db0 db2", pods: func(i int, p *v1.Pod) {
			p.Annotations[v1.PodDeletionCost] = fmt.Sprint(i)
			p.Spec.Priority = new([]int32{1, 0, 1}[i])
		}},
		"who is not ready may go when the others are enough": {pods: unready(2), want: "db0 db1"},
		"but not before": {pods: unready(2), want: "db0 db1 db2", budget: func(b *policyv1.PodDisruptionBudget) { b.Status.CurrentHealthy = 0 }},
		"unless the budget says so": {pods: unready(2), want: "db0 db1", budget: func(b *policyv1.PodDisruptionBudget) {
			b.Status.CurrentHealthy, b.Spec.UnhealthyPodEvictionPolicy = 0, new(policyv1.AlwaysAllow)
		}},
		"of another namespace": {want: "", budget: func(b *policyv1.PodDisruptionBudget) { b.Namespace = "online" }},
		"of nobody":            {want: "", budget: func(b *policyv1.PodDisruptionBudget) { b.Spec.Selector = nil }},
		"of everybody":         {want: "db0 db1 db2 web0", budget: func(b *policyv1.PodDisruptionBudget) { b.Spec.Selector = &metav1.LabelSelector{} }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.run("db", 3, c.pods)
			w.run("web", 1, nil)
			w.protect("db", c.allow, c.budget)
			if got := w.guarded(); got != c.want {
				t.Errorf("guarded are %q, want %q", got, c.want)
			}
		})
	}
}

// TestWhoWasToldCounts: a pod under notice uses its budget up before the budget knows.
func TestWhoWasToldCounts(t *testing.T) {
	w := newWorld(t)
	w.run("db", 3, nil)
	w.protect("db", 1, nil)
	if got := w.guarded(); got != "db0 db1" {
		t.Fatalf("guarded are %q", got)
	}
	n := notice("open", 30*time.Second)
	n.Task = "db2.0"
	w.take(t.Context(), n)
	if got := w.guarded(); got != "db0 db1" {
		t.Errorf("with db2 under notice guarded are %q", got)
	}
	n.State = "withdrawn"
	w.take(t.Context(), n)
	w.run("late", 1, nil)
	if got := w.guarded(); got != "db0 db1" {
		t.Errorf("with the notice withdrawn guarded are %q", got)
	}
}

// TestCostsAreToldOnce: only what has changed is said.
func TestCostsAreToldOnce(t *testing.T) {
	w := newWorld(t)
	w.run("db", 2, func(i int, p *v1.Pod) { p.Annotations[v1.PodDeletionCost] = fmt.Sprint(i) })
	w.steer(t.Context())
	w.steer(t.Context())
	if len(w.book.told) != 1 || len(w.book.told[0]) != 1 || w.book.told[0]["db1"] != (claim.Cost{Amount: 1}) {
		t.Errorf("told: %v", w.book.told)
	}
}

// TestDeadlineOverrulesABudget, and the pod says so.
func TestDeadlineOverrulesABudget(t *testing.T) {
	w := newWorld(t)
	w.budget = true
	w.take(t.Context(), notice("open", 30*time.Second))
	w.at(29 * time.Second)
	if len(w.evicted) > 0 {
		t.Error("evicted in spite of the budget")
	}
	var last *v1.PodCondition
	w.kube.PrependReactor("delete", "pods", w.beforeDelete(&last))
	n := notice("expired", 30*time.Second) // the agent is faster
	if w.take(t.Context(), n); last == nil || last.Reason != overruled || !strings.Contains(last.Message, "a budget for disruption would keep the pod") {
		t.Errorf("at its deadline the pod said %+v", last)
	}
}
