package reclaim

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	"k8s.io/client-go/tools/events"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/kube/claim"
	"polder.dev/polder/kube/pool"
)

// drain is the kind of notice for which a pod leaves at once: its node is going away, and its controller makes another elsewhere.
const drain = "drain"

const (
	lookEvery = time.Second
	margin    = 2 * time.Second // for the eviction itself, before a pod's own grace
	callLimit = 10 * time.Second
	reconnect = time.Second
	confirm   = 5 * time.Second // between two looks at which notices are open
)

// Book knows which pod a task is the lease of, and tells the pool what pods cost; package claim has it.
type Book interface {
	ByTask(task string) (claim.Entry, bool)
	Leases() map[types.UID]claim.Entry
	SetCosts(ctx context.Context, costs map[types.UID]claim.Cost) error
}

// Cluster is what [Run] works with.
type Cluster struct {
	Pool    *pool.Client
	Book    Book
	Client  kubernetes.Interface
	Pods    corelisters.PodLister                   // synced
	Budgets policylisters.PodDisruptionBudgetLister // synced
	Events  events.EventRecorder
	Logger  *slog.Logger
}

// Run follows the pool's notices until ctx is done.
func Run(ctx context.Context, c Cluster) {
	r := &reclaimer{Cluster: c, open: map[string]*asked{}, now: time.Now}
	r.list = r.underNotice
	news := make(chan *polderv1.Notice)
	go r.listen(ctx, news)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case n, ok := <-news:
			if !ok {
				return
			}
			r.take(ctx, n)
			r.steer(ctx)
		case <-tick.C:
			r.confirm(ctx)
			for _, id := range slices.Sorted(maps.Keys(r.open)) {
				r.press(ctx, r.open[id])
			}
			r.steer(ctx)
		}
	}
}

// asked is an open notice and how far it is.
type asked struct {
	notice *polderv1.Notice
	pod    *v1.Pod   // as it was seen last
	shown  time.Time // the deadline that the pod shows
	held   bool      // a budget holds the eviction back, and the pod was told
	evict  bool      // an eviction was granted
	over   bool      // deleted at the deadline
}

type reclaimer struct {
	Cluster
	open      map[string]*asked // by task
	confirmed time.Time
	doubt     map[string]bool // tasks whose pods show a notice that was not open when confirmed
	now       func() time.Time
	list      func(context.Context) (map[string]bool, error) // the tasks under an open notice
}

// listen passes notices on until ctx is done, then closes news.
func (r *reclaimer) listen(ctx context.Context, news chan<- *polderv1.Notice) {
	defer close(news)
	for ctx.Err() == nil {
		err := r.follow(ctx, news)
		if ctx.Err() != nil {
			return
		}
		r.Logger.Warn("lost sight of the pool's notices; trying again", "error", err)
		select {
		case <-time.After(reconnect):
		case <-ctx.Done():
		}
	}
}

func (r *reclaimer) follow(ctx context.Context, news chan<- *polderv1.Notice) error {
	stream, err := r.Pool.Notices.Watch(ctx, connect.NewRequest(&polderv1.NoticeServiceWatchRequest{}))
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		select {
		case news <- stream.Msg().Notice:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return stream.Err()
}

// take notes a notice and shows it on its pod.
func (r *reclaimer) take(ctx context.Context, n *polderv1.Notice) {
	was := r.open[n.Task]
	switch {
	case n.State == "open":
		if was == nil {
			was = &asked{}
			r.open[n.Task] = was
		}
		was.notice = n
		r.press(ctx, was)
	case n.State == "withdrawn":
		delete(r.open, n.Task)
		if pod := r.pod(n.Task); pod != nil {
			r.clear(ctx, pod)
		}
	default:
		delete(r.open, n.Task)
		if n.State == "expired" && was != nil && was.pod != nil && !was.over {
			r.delete(ctx, was.pod, was) // the agent was faster
		}
	}
}

// confirm forgets notices that are not open any more, and clears the pods that still show one the second time it looks: the end of a
// notice may have been missed. Those that did leave are gone by then.
func (r *reclaimer) confirm(ctx context.Context) {
	if r.now().Sub(r.confirmed) < confirm {
		return
	}
	told := map[string]*v1.Pod{} // by task
	for _, e := range r.Book.Leases() {
		if pod := r.podOf(e); pod != nil && pod.Annotations[IDAnnotation] != "" {
			told[e.Task] = pod
		}
	}
	if r.confirmed = r.now(); len(told)+len(r.open) == 0 {
		return
	}
	open, err := r.list(ctx)
	if err != nil {
		return // the pool does not answer: what was said last counts
	}
	for task := range r.open {
		if !open[task] {
			delete(r.open, task)
		}
	}
	doubt := map[string]bool{}
	for task, pod := range told {
		switch {
		case open[task] || pod.DeletionTimestamp != nil || finished(pod):
		case r.doubt[task]:
			r.clear(ctx, pod)
		default:
			doubt[task] = true
		}
	}
	r.doubt = doubt
}

// underNotice asks the pool which tasks are under an open notice.
func (r *reclaimer) underNotice(ctx context.Context) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	out, req := map[string]bool{}, &polderv1.NoticeServiceListRequest{PageSize: 1000}
	for {
		res, err := r.Pool.Notices.List(ctx, connect.NewRequest(req))
		if err != nil {
			return nil, err
		}
		for _, n := range res.Msg.Notices {
			out[n.Task] = true
		}
		if req.PageToken = res.Msg.NextPageToken; req.PageToken == "" {
			return out, nil
		}
	}
}

// pod finds the pod of a task; nil when it is none's, or gone, or not for the pool to send away.
func (r *reclaimer) pod(task string) *v1.Pod {
	e, ok := r.Book.ByTask(task)
	if !ok || e.Stays {
		return nil
	}
	return r.podOf(e)
}

// podOf is the pod that a lease is of; nil when it is gone.
func (r *reclaimer) podOf(e claim.Entry) *v1.Pod {
	namespace, name, _ := strings.Cut(e.Pod, "/")
	pod, err := r.Pods.Pods(namespace).Get(name)
	if err != nil || pod.UID != e.UID {
		return nil
	}
	return pod
}

// press does what is due for one notice.
func (r *reclaimer) press(ctx context.Context, a *asked) {
	pod := r.pod(a.notice.Task)
	if pod == nil || finished(pod) {
		return
	}
	a.pod = pod
	deadline := a.notice.Deadline.AsTime()
	if shown := deadline.Truncate(time.Second); !a.shown.Equal(shown) && r.show(ctx, pod, a.notice) {
		a.shown = shown
	}
	left := deadline.Sub(r.now())
	switch {
	case pod.DeletionTimestamp != nil && left > 0:
	case left <= 0 && !a.over:
		a.over = r.delete(ctx, pod, a)
	case (a.notice.Kind == drain || left <= graceOf(pod)+margin) && !a.evict && left > 0:
		r.evict(ctx, pod, a, left)
	}
}

func finished(pod *v1.Pod) bool {
	return pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
}

// graceOf is the time a pod wants between the order to end and its end.
func graceOf(pod *v1.Pod) time.Duration {
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return 0
}

// evict asks for the pod's eviction. It gets the grace it wants, or what the notice leaves of it.
func (r *reclaimer) evict(ctx context.Context, pod *v1.Pod, a *asked, left time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	grace := int64(max(time.Second, min(graceOf(pod), left-time.Second)) / time.Second)
	err := r.Client.PolicyV1().Evictions(pod.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace},
		DeleteOptions: &metav1.DeleteOptions{GracePeriodSeconds: &grace, Preconditions: &metav1.Preconditions{UID: &pod.UID}},
	})
	switch {
	case err == nil || apierrors.IsNotFound(err):
		a.evict = true
	case apierrors.IsTooManyRequests(err):
		if !a.held {
			r.Events.Eventf(pod, nil, v1.EventTypeWarning, "EvictionHeldBack", "Evict",
				"a budget for disruption holds the eviction back: %v; at the deadline the pool's notice counts", err)
		}
		a.held = true
	default:
		r.Logger.Warn("a pod could not be evicted; trying again", "pod", pod.Namespace+"/"+pod.Name, "error", err)
	}
}

// delete ends a pod at its deadline, whatever a budget says.
func (r *reclaimer) delete(ctx context.Context, pod *v1.Pod, a *asked) bool {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	text := "the notice of the pool is over: the lease goes to " + a.notice.Claimant
	if a.held {
		text += ", though a budget for disruption would keep the pod: what the pool has promised goes first"
		r.patch(ctx, pod, object{}, disrupted(overruled, text, r.now()))
	}
	r.Events.Eventf(pod, nil, v1.EventTypeWarning, "NoticeExpired", "Delete", "%s", text)
	grace := int64(1)
	err := r.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &grace, Preconditions: &metav1.Preconditions{UID: &pod.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		r.Logger.Warn("a pod could not be deleted at its deadline", "pod", pod.Namespace+"/"+pod.Name, "error", err)
		return false
	}
	return true
}

// words say what a notice asks for.
func words(n *polderv1.Notice) string {
	var amount []string
	for _, name := range slices.Sorted(maps.Keys(n.Amount)) {
		amount = append(amount, name+"="+n.Amount[name])
	}
	return fmt.Sprintf("the pool asks for %s back, for %s, by %s", strings.Join(amount, ","), n.Claimant, n.Deadline.AsTime().Format(time.RFC3339))
}
