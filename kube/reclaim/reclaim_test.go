package reclaim

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	kubetesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/kube/claim"
)

var start = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// book has pods' leases.
type book struct {
	leases map[types.UID]claim.Entry
	told   []map[types.UID]claim.Cost
}

func (b *book) ByTask(task string) (claim.Entry, bool) {
	for _, e := range b.leases {
		if e.Task == task {
			return e, true
		}
	}
	return claim.Entry{}, false
}

func (b *book) Leases() map[types.UID]claim.Entry { return maps.Clone(b.leases) }

// SetCosts does at once what the pool does, and notes what it was told.
func (b *book) SetCosts(_ context.Context, costs map[types.UID]claim.Cost) error {
	b.told = append(b.told, costs)
	for uid, c := range costs {
		e := b.leases[uid]
		e.Cost = c
		b.leases[uid] = e
	}
	return nil
}

// world is a pod with a grace of ten seconds and a reclaimer with a clock of the test's.
type world struct {
	*reclaimer
	t       *testing.T
	kube    *fake.Clientset
	pods    cache.Indexer
	budgets cache.Indexer
	book    *book
	listed  map[string]bool // what the pool says is under notice; nil: what the reclaimer knows
	clock   time.Time
	budget  bool // holds evictions back
	evicted []int64
}

func newWorld(t *testing.T) *world {
	grace := int64(10)
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "offline", Name: "a", UID: "u1"}, Spec: v1.PodSpec{TerminationGracePeriodSeconds: &grace}}
	index := func() cache.Indexer {
		return cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	}
	w := &world{t: t, kube: fake.NewClientset(pod), clock: start, pods: index(), budgets: index(),
		book: &book{leases: map[types.UID]claim.Entry{"u1": {UID: "u1", Pod: "offline/a", Task: "a.0"}}}}
	_ = w.pods.Add(pod)
	w.kube.PrependReactor("create", "pods", func(a kubetesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "eviction" {
			return false, nil, nil
		}
		if w.budget {
			return true, nil, apierrors.NewTooManyRequests("the budget is used up", 1)
		}
		e := a.(kubetesting.CreateAction).GetObject().(*policyv1.Eviction)
		w.evicted = append(w.evicted, *e.DeleteOptions.GracePeriodSeconds)
		return true, e, nil
	})
	w.reclaimer = &reclaimer{open: map[string]*asked{}, now: func() time.Time { return w.clock },
		list: func(context.Context) (map[string]bool, error) {
			open := map[string]bool{}
			for task := range w.open {
				open[task] = w.listed == nil || w.listed[task]
			}
			return open, nil
		},
		Cluster: Cluster{Book: w.book, Client: w.kube, Pods: corelisters.NewPodLister(w.pods), Budgets: policylisters.NewPodDisruptionBudgetLister(w.budgets), Events: events.NewFakeRecorder(100), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}}
	return w
}

func notice(state string, length time.Duration) *polderv1.Notice {
	return &polderv1.Notice{Id: "n1", Task: "a.0", State: state, Claimant: "online (web)", Amount: map[string]string{"cpu": "1"},
		Issued: timestamppb.New(start), Deadline: timestamppb.New(start.Add(length))}
}

// at moves the clock and does what is due.
func (w *world) at(after time.Duration) {
	w.clock = start.Add(after)
	for _, a := range w.open {
		w.press(w.t.Context(), a)
	}
}

// current is the pod as Kubernetes has it; nil when it is deleted.
func (w *world) current() *v1.Pod {
	w.t.Helper()
	p, err := w.kube.CoreV1().Pods("offline").Get(w.t.Context(), "a", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func condition(p *v1.Pod) *v1.PodCondition {
	i := slices.IndexFunc(p.Status.Conditions, func(c v1.PodCondition) bool { return c.Type == v1.DisruptionTarget })
	if i < 0 {
		return nil
	}
	return &p.Status.Conditions[i]
}

// TestNoticeIsToldAndThePodEvictedInTime.
func TestNoticeIsToldAndThePodEvictedInTime(t *testing.T) {
	w := newWorld(t)
	w.take(t.Context(), notice("open", 30*time.Second))
	p := w.current()
	c := condition(p)
	if c == nil || c.Status != v1.ConditionTrue || !strings.Contains(c.Message, "cpu=1 back, for online (web), by 2026-11-30T12:00:30Z") {
		t.Fatalf("condition %+v", c)
	}
	if p.Annotations[ClaimantAnnotation] != "online (web)" || p.Annotations[DeadlineAnnotation] != "2026-11-30T12:00:30Z" {
		t.Errorf("annotations %v", p.Annotations)
	}
	if w.at(17 * time.Second); len(w.evicted) > 0 {
		t.Error("evicted while there was time")
	}
	w.at(18 * time.Second)
	w.at(19 * time.Second)
	if !slices.Equal(w.evicted, []int64{10}) {
		t.Errorf("evictions with graces %v", w.evicted)
	}
}

// TestDrainEvictsAtOnce: there is nothing to wait for.
func TestDrainEvictsAtOnce(t *testing.T) {
	w := newWorld(t)
	n := notice("open", 5*time.Minute)
	n.Kind = "drain"
	w.take(t.Context(), n)
	if !slices.Equal(w.evicted, []int64{10}) {
		t.Errorf("evictions with graces %v", w.evicted)
	}
}

// TestShortNotice: the grace is what the notice leaves.
func TestShortNotice(t *testing.T) {
	w := newWorld(t)
	w.take(t.Context(), notice("open", 5*time.Second))
	if !slices.Equal(w.evicted, []int64{4}) {
		t.Errorf("evictions with graces %v", w.evicted)
	}
}

// TestBudgetHoldsBackUntilTheDeadline, and no longer.
func TestBudgetHoldsBackUntilTheDeadline(t *testing.T) {
	w := newWorld(t)
	w.budget = true
	w.take(t.Context(), notice("open", 30*time.Second))
	w.at(20 * time.Second)
	w.at(29 * time.Second)
	if w.current() == nil {
		t.Fatal("deleted before the deadline")
	}
	if w.at(30 * time.Second); w.current() != nil {
		t.Error("the pod is there after its deadline")
	}
}

// TestMissedWithdrawalIsTakenOff: the end of a notice came while nobody listened.
func TestMissedWithdrawalIsTakenOff(t *testing.T) {
	w := newWorld(t)
	w.take(t.Context(), notice("open", 30*time.Second))
	_ = w.pods.Update(w.current())
	w.listed = map[string]bool{}
	for _, after := range []time.Duration{10, 16} {
		w.clock = start.Add(after * time.Second)
		w.confirm(t.Context())
	}
	if c := condition(w.current()); c != nil {
		t.Errorf("still %+v", c)
	}
	if w.at(time.Hour); w.current() == nil || len(w.evicted) > 0 {
		t.Error("the pod was sent away all the same")
	}
}

// TestWithdrawnNoticeIsTakenOff.
func TestWithdrawnNoticeIsTakenOff(t *testing.T) {
	w := newWorld(t)
	w.take(t.Context(), notice("open", 30*time.Second))
	w.take(t.Context(), notice("withdrawn", 30*time.Second))
	p := w.current()
	if c := condition(p); c != nil || p.Annotations[IDAnnotation] != "" {
		t.Errorf("still %+v, %v", c, p.Annotations)
	}
	if w.at(time.Hour); w.current() == nil || len(w.evicted) > 0 {
		t.Error("the pod was sent away all the same")
	}
}

// TestLaterDeadlineIsShown, and others' notices are not ours.
func TestLaterDeadlineIsShown(t *testing.T) {
	w := newWorld(t)
	w.take(t.Context(), notice("open", 30*time.Second))
	w.take(t.Context(), notice("open", 60*time.Second))
	if p := w.current(); p.Annotations[DeadlineAnnotation] != "2026-11-30T12:01:00Z" {
		t.Errorf("annotations %v", p.Annotations)
	}
	if w.at(18 * time.Second); len(w.evicted) > 0 {
		t.Error("evicted for the earlier deadline")
	}
	other := notice("open", time.Second)
	other.Task = "batch.0"
	w.take(t.Context(), other)
	if w.at(2 * time.Second); w.current() == nil {
		t.Error("a notice for another task ended the pod")
	}
}

// TestTroubleIsTriedAgain: what could not be shown is shown later.
func TestTroubleIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	away := true
	w.kube.PrependReactor("patch", "pods", func(kubetesting.Action) (bool, runtime.Object, error) {
		return away, nil, errors.New("the API server is away")
	})
	w.take(t.Context(), notice("open", 30*time.Second))
	away = false
	if w.at(time.Second); condition(w.current()) == nil {
		t.Error("the notice is not shown")
	}
}

// beforeDelete notes the condition that a pod has when it is deleted.
func (w *world) beforeDelete(last **v1.PodCondition) kubetesting.ReactionFunc {
	return func(kubetesting.Action) (bool, runtime.Object, error) {
		p, err := w.kube.Tracker().Get(v1.SchemeGroupVersion.WithResource("pods"), "offline", "a") // the client would wait for itself
		if err == nil {
			*last = condition(p.(*v1.Pod))
		}
		return false, nil, nil
	}
}
