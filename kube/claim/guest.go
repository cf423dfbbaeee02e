package claim

import (
	"context"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"polder.dev/polder/kube/pool"
)

// Labels of the leases of pods that somebody else has placed. The agent reads both.
const (
	StaticLabel = "kube.polder.dev/static" // the kubelet's own name of a pod from its files
	StaysLabel  = "kube.polder.dev/stays"  // "true": the end of the lease is not the pod's
)

// Annotations of the pods that stand for those of a kubelet's own files.
const (
	mirrorAnnotation = "kubernetes.io/config.mirror"
	hashAnnotation   = "kubernetes.io/config.hash"
)

// againAfter is how long a pod is left that could not be counted.
const againAfter = 15 * time.Second

// Guest says that the cluster is somebody else's, in which our scheduler has a name. It is called before the book is used. Pods of other
// schedulers, of daemon sets and of kubelets' own files are then counted, as leases that are never lent, and are not touched: one that the
// pool has no room for becomes an ask on its node. What is on nodes without an agent is not the pool's business.
func (b *Book) Guest(scheduler string) { b.guest = scheduler }

// InCluster says which cluster it is, where several share the pool: leases and asks of others' pods are theirs. It is called before the book is
// used.
func (b *Book) InCluster(id string) { b.cluster = id }

// owns reports whether a pod is for the pool to place and to end. Others' pods are where their owner says so with
// [PreemptibleAnnotation].
func (b *Book) owns(pod *v1.Pod) bool {
	if b.guest == "" {
		return true
	}
	if by := metav1.GetControllerOf(pod); pod.Annotations[mirrorAnnotation] != "" || by != nil && by.Kind == "DaemonSet" {
		return false // it would come back to where it was
	}
	free, _ := strconv.ParseBool(pod.Annotations[PreemptibleAnnotation])
	return pod.Spec.SchedulerName == b.guest || free
}

// request is what a pod wants of the pool, or why that cannot be said.
func (b *Book) request(pod *v1.Pod) (*request, error) {
	r, err := requestOf(pod, b.roles, b.defaults)
	if err == nil && b.cluster != "" {
		r.task.Labels[ClusterLabel] = b.cluster
	}
	if err != nil || b.owns(pod) {
		return r, err
	}
	r.task.Preemptible = new(false)
	r.task.Labels[StaysLabel] = "true"
	if pod.Annotations[mirrorAnnotation] != "" {
		r.task.Labels[StaticLabel] = pod.Annotations[hashAnnotation]
	}
	return r, nil
}

// others reports whether a pod without a lease is not ours to end: it is left where it is, and counted if it can be.
func (k *keeper) others(pod *v1.Pod) bool {
	if k.guest == "" {
		return false
	}
	return !k.agentAnswers(pod.Spec.NodeName) || !k.owns(pod) || pod.Annotations[TaskAnnotation] == ""
}

// agentAnswers reports whether the pool knows what is on a node. Where it does not, because the agent is down or gone, the kubelet may be well.
func (k *keeper) agentAnswers(node string) bool {
	n, ok := k.nodes.Get(node)
	return ok && n.State != pool.Unreachable
}

// count gives a pod that somebody else has placed a lease, or makes it an ask on its node.
func (k *keeper) count(ctx context.Context, pod *v1.Pod) {
	if !k.agentAnswers(pod.Spec.NodeName) || time.Since(k.counted[pod.UID]) < againAfter {
		return
	}
	if e, _ := k.Get(pod.UID); e.Ask != "" {
		return
	}
	k.counted[pod.UID] = time.Now()
	r, err := k.request(pod)
	if err != nil {
		k.say(pod, err.Error())
		return
	}
	r.task.Constraints = []string{"node in (" + pod.Spec.NodeName + ")"} // of the ask that is left when it is refused
	refusal, err := k.take(ctx, entryOf(pod, r), r, pod.Spec.NodeName)
	switch {
	case err != nil:
		k.log.Warn("a pod of another scheduler could not be counted; trying again", "pod", pod.Namespace+"/"+pod.Name, "error", err)
	case refusal != "":
		k.say(pod, refusal)
	}
}

// say puts into the log, and on the pod, why the pool does not count a pod; the same words once.
func (k *keeper) say(pod *v1.Pod, why string) {
	if k.said[pod.UID] == why {
		return
	}
	k.said[pod.UID] = why
	k.log.Warn("a pod runs that the pool has no lease for", "pod", pod.Namespace+"/"+pod.Name, "node", pod.Spec.NodeName, "reason", why)
	k.Events.Eventf(pod, nil, v1.EventTypeWarning, "NoLease", "Count", "the pod stays, and the pool does not count it: %s", why)
}

// forget drops what is remembered of pods that are gone.
func (k *keeper) forget(v view) {
	for uid := range k.counted {
		if v.pods[uid] == nil {
			delete(k.counted, uid)
			delete(k.said, uid)
		}
	}
}
