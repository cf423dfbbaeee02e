package claim

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"connectrpc.com/connect"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/kube/pool"
)

const (
	lookEvery   = time.Second            // between two looks at the pool's tasks
	lookSoon    = 100 * time.Millisecond // where something is known to have changed
	lookShare   = 20                     // a look takes at most one part in so many of the time
	retryEvery  = 15 * time.Second       // for pods that wait, whose sentence may be old
	lastSeconds = 10 * time.Second       // for the agent to see by itself that a pod is over
)

// Cluster is Kubernetes, as [Book.Run] needs it.
type Cluster struct {
	Client kubernetes.Interface
	Pods   corelisters.PodLister // synced
	Events events.EventRecorder
	Queue  Activator
}

// Run keeps pods and leases together until ctx is done.
func (b *Book) Run(ctx context.Context, c Cluster) {
	k := newKeeper(b, c)
	for {
		began := time.Now()
		if err := k.look(ctx); err != nil && ctx.Err() == nil {
			b.log.Warn("the pods' leases could not be compared with the pool's tasks", "error", err)
		}
		rest := time.Since(began) * lookShare
		if !pause(ctx, max(lookSoon, rest), nil) || !pause(ctx, max(0, lookEvery-max(lookSoon, rest)), b.poke) {
			return
		}
	}
}

// pause waits for a time to pass or for wake; it reports whether to go on.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-t.C:
	}
	return true
}

// keeper is a running [Book.Run].
type keeper struct {
	*Book
	Cluster
	over    map[types.UID]time.Time // since when a pod is over whose lease is not
	news    map[types.UID]bool      // pods whose reason to wait became known
	retried time.Time
	counted map[types.UID]time.Time // when it was tried to count a pod of somebody else's
	said    map[types.UID]string    // why that is not counted
}

func newKeeper(b *Book, c Cluster) *keeper {
	return &keeper{Book: b, Cluster: c, over: map[types.UID]time.Time{}, news: map[types.UID]bool{}, counted: map[types.UID]time.Time{}, said: map[types.UID]string{}}
}

// view is both sides at one time.
type view struct {
	pods  map[types.UID]*v1.Pod
	tasks map[types.UID]*polderv1.Task
	asks  map[types.UID]*polderv1.Ask

	// What a pod has beside its lease or its ask: the door was not told that it has one, and claimed again.
	spareTasks, spareAsks []string
}

// look compares both sides once.
func (k *keeper) look(ctx context.Context) error {
	v, err := k.see(ctx)
	if err != nil {
		return err
	}
	k.merge(v)
	k.tidy(ctx, v.spareTasks, v.spareAsks)
	for uid, t := range v.tasks {
		k.tend(ctx, t, v.pods[uid])
	}
	for uid := range v.asks {
		if pod := v.pods[uid]; pod == nil || finished(pod) || pod.Spec.NodeName != "" && k.guest == "" {
			k.release(ctx, uid)
		}
	}
	for uid, pod := range v.pods {
		if v.tasks[uid] == nil && pod.Spec.NodeName != "" && !finished(pod) {
			k.withoutLease(ctx, pod)
		}
	}
	k.activate(v)
	k.forget(v)
	return nil
}

// see reads the pool first: a pod of a lease is in the lister by then, if it still is anywhere.
func (k *keeper) see(ctx context.Context) (view, error) {
	v := view{pods: map[types.UID]*v1.Pod{}, tasks: map[types.UID]*polderv1.Task{}, asks: map[types.UID]*polderv1.Ask{}}
	leases := map[types.UID][]*polderv1.Task{}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	asks := &polderv1.AskServiceListRequest{State: "open", PageSize: 1000}
	for {
		res, err := k.client.Asks.List(ctx, connect.NewRequest(asks))
		if err != nil {
			return v, err
		}
		for _, a := range res.Msg.Asks {
			if uid := types.UID(a.GetSpec().GetTask().GetLabels()[UIDLabel]); uid != "" && a.Pending > 0 && a.Spec.Task.Labels[ClusterLabel] == k.cluster {
				k.ask(&v, uid, a)
			}
		}
		if asks.PageToken = res.Msg.NextPageToken; asks.PageToken == "" {
			break
		}
	}
	tasks := &polderv1.TaskServiceListRequest{PageSize: 1000}
	for {
		res, err := k.client.Tasks.List(ctx, connect.NewRequest(tasks))
		if err != nil {
			return v, err
		}
		for _, t := range res.Msg.Tasks {
			if uid := types.UID(t.Labels[UIDLabel]); uid != "" && t.Runtime == pool.KubeRuntime && t.Node != "" && t.Labels[ClusterLabel] == k.cluster {
				leases[uid] = append(leases[uid], t)
			}
		}
		if tasks.PageToken = res.Msg.NextPageToken; tasks.PageToken == "" {
			break
		}
	}
	pods, err := k.Pods.List(labels.Everything())
	for _, pod := range pods {
		v.pods[pod.UID] = pod
	}
	for uid, all := range leases {
		k.lease(&v, uid, all)
	}
	return v, err
}

// ask keeps one ask of a pod, the one that is known if it is there.
func (k *keeper) ask(v *view, uid types.UID, a *polderv1.Ask) {
	was := v.asks[uid]
	if e, _ := k.Get(uid); was != nil && e.Ask != a.Id {
		a, was = was, a
	}
	if v.asks[uid] = a; was != nil {
		v.spareAsks = append(v.spareAsks, was.Id)
	}
}

// lease finds out which of a pod's tasks is its lease. One that was given back before the pod was bound is none any more, and the pod may
// have another by now.
func (k *keeper) lease(v *view, uid types.UID, all []*polderv1.Task) {
	pod := v.pods[uid]
	bound := pod != nil && pod.Spec.NodeName != ""
	e, _ := k.Get(uid)
	rank := func(t *polderv1.Task) int {
		switch {
		case bound && pod.Annotations[TaskAnnotation] == t.Id:
			return 0
		case e.Task == t.Id:
			return 1
		case bound && pod.Spec.NodeName == t.Node:
			return 2
		}
		return 3
	}
	if pod != nil && !bound {
		all = slices.DeleteFunc(all, func(t *polderv1.Task) bool {
			return t.State == polderv1.TaskState_TASK_STATE_STOPPING || k.givenBack(t.Id)
		})
	}
	if len(all) == 0 {
		return
	}
	slices.SortStableFunc(all, func(a, b *polderv1.Task) int { return cmp.Compare(rank(a), rank(b)) })
	v.tasks[uid] = all[0]
	for _, t := range all[1:] {
		if t.State != polderv1.TaskState_TASK_STATE_STOPPING {
			v.spareTasks = append(v.spareTasks, t.Id)
		}
	}
}

// merge brings the book up to date with the pool.
func (k *keeper) merge(v view) {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.given, func(_ string, at time.Time) bool { return time.Since(at) > time.Minute })
	for uid, t := range v.tasks {
		e := k.entries[uid]
		if e.Task != t.Id {
			e = Entry{UID: uid, Pod: t.Labels[PodLabel], Role: t.Role, Task: t.Id, Node: t.Node, Volumes: mounted(t.Labels), Since: time.Now()}
		}
		e.Stays = t.Labels[StaysLabel] == "true"
		e.Funding, e.Cost = t.Funding, Cost{t.Cost.GetGuarded(), t.Cost.GetAmount()}
		k.entries[uid] = e
	}
	for uid, a := range v.asks {
		if e := k.entries[uid]; !e.Held() {
			k.news[uid] = e.Refusal == "" && a.Reason != nil
			k.entries[uid] = Entry{UID: uid, Pod: a.Spec.Task.Labels[PodLabel], Role: a.Spec.Role, Ask: a.Id, Refusal: sentence(a.Reason), Volumes: mounted(a.Spec.Task.Labels)}
		}
	}
	for uid, e := range k.entries {
		gone := e.Held() && v.tasks[uid] == nil && time.Since(e.Since) > callLimit || e.Ask != "" && v.asks[uid] == nil && v.tasks[uid] == nil
		if gone || !e.Held() && e.Ask == "" && v.pods[uid] == nil {
			delete(k.entries, uid)
		}
	}
}

// tend looks after one lease.
func (k *keeper) tend(ctx context.Context, t *polderv1.Task, pod *v1.Pod) {
	switch {
	case pod == nil || finished(pod):
		k.end(ctx, t)
	case t.Labels[StaysLabel] == "true" && !k.owns(pod) && (pod.Spec.NodeName == t.Node || pod.Spec.NodeName == ""):
	case t.State == polderv1.TaskState_TASK_STATE_STOPPING && pod.DeletionTimestamp == nil && pod.Spec.NodeName != "":
		k.delete(ctx, pod, nil, "Stopped", "the pool stops the pod's lease "+t.Id+": "+sentence(t.Reason))
	case pod.Spec.NodeName != "" && pod.Spec.NodeName != t.Node:
		k.release(ctx, pod.UID)
	default:
		delete(k.over, pod.UID)
		k.annotate(ctx, t, pod)
	}
}

// end gives a lease back whose pod is over. The agent does so by itself when it sees the pod's processes go; this is for pods
// that never came, and for agents that do not see.
func (k *keeper) end(ctx context.Context, t *polderv1.Task) {
	uid := types.UID(t.Labels[UIDLabel])
	since, ok := k.over[uid]
	if !ok {
		k.over[uid] = time.Now()
		return
	}
	if time.Since(since) > lastSeconds {
		delete(k.over, uid)
		k.release(ctx, uid)
	}
}

// withoutLease is for a pod that is bound and has no lease: it had one that is over, or somebody else bound it.
func (k *keeper) withoutLease(ctx context.Context, pod *v1.Pod) {
	if e, ok := k.Get(pod.UID); ok && e.Held() || pod.DeletionTimestamp != nil {
		return // claimed while we looked, or on its way out
	}
	if k.others(pod) {
		k.count(ctx, pod)
		return
	}
	r, err := k.request(pod)
	if err != nil {
		k.Events.Eventf(pod, nil, v1.EventTypeWarning, "NoLease", "Adopt", "the pool has no lease for the pod: %v", err)
		return
	}
	if pod.Annotations[TaskAnnotation] != "" {
		soon := int64(1)
		k.delete(ctx, pod, &soon, "LeaseEnded", "the pod's lease "+pod.Annotations[TaskAnnotation]+" is over")
		return
	}
	refusal, err := k.adopt(ctx, pod, r)
	switch {
	case err != nil:
		k.log.Warn("a pod that was bound elsewhere could not be adopted", "pod", pod.Namespace+"/"+pod.Name, "error", err)
	case refusal != "":
		k.Events.Eventf(pod, nil, v1.EventTypeWarning, "NoLease", "Adopt", "somebody bound the pod without asking the pool, which refuses: %s", refusal)
		k.delete(ctx, pod, nil, "NoLease", refusal)
	}
}

// adopt claims the place where a pod already is.
func (k *keeper) adopt(ctx context.Context, pod *v1.Pod, r *request) (refusal string, err error) {
	if _, ok := k.nodes.Get(pod.Spec.NodeName); !ok {
		return "", fmt.Errorf("node %s is none of the pool", pod.Spec.NodeName)
	}
	if err := k.mount(ctx, pod, r); err != nil {
		return "", fmt.Errorf("its volumes: %w", err)
	}
	if refusal, err = k.take(ctx, entryOf(pod, r), r, pod.Spec.NodeName); refusal != "" {
		k.release(ctx, pod.UID) // it need not wait: it is to go
	}
	return refusal, err
}

// delete has Kubernetes end a pod, with its hooks and grace.
func (k *keeper) delete(ctx context.Context, pod *v1.Pod, grace *int64, reason, message string) {
	k.Events.Eventf(pod, nil, v1.EventTypeWarning, reason, "Delete", "%s", message)
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	err := k.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: grace, Preconditions: &metav1.Preconditions{UID: &pod.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		k.log.Warn("a pod could not be deleted", "pod", pod.Namespace+"/"+pod.Name, "error", err)
	}
}

// activate has the scheduler try pods again that got a lease, and now and then all that wait.
func (k *keeper) activate(v view) {
	all := time.Since(k.retried) > retryEvery
	if all {
		k.retried = time.Now()
	}
	pods := map[string]*v1.Pod{}
	for uid, pod := range v.pods {
		e, known := k.Get(uid)
		if pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil && (e.Held() || k.news[uid] || all && waits(pod, known)) {
			pods[pod.Namespace+"/"+pod.Name] = pod
		}
	}
	clear(k.news)
	if len(pods) > 0 && k.Queue != nil {
		k.Queue.Activate(klog.Background(), pods)
	}
}

// waits reports whether a pod was tried and refused.
func waits(pod *v1.Pod, known bool) bool {
	return known || slices.ContainsFunc(pod.Status.Conditions, func(c v1.PodCondition) bool {
		return c.Type == v1.PodScheduled && c.Status == v1.ConditionFalse
	})
}

// finished reports whether a pod will run nothing any more.
func finished(pod *v1.Pod) bool {
	return pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
}
