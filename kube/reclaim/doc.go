// Package reclaim says notices in Kubernetes' terms. A pod whose lease is asked back gets the condition DisruptionTarget, an event
// and annotations that say for whom, how much and by when. It is evicted through the Eviction API, so that budgets for
// disruption are heard, so long before the deadline that its own grace fits in; from a node that is drained, at once. A budget may
// hold an eviction back until the deadline; then the notice counts, and the pod is deleted. A withdrawn notice clears the
// condition.
//
// Who leaves is for the pool to choose. It is told beforehand what losing each pod would cost: a pod whose eviction a budget for
// disruption would refuse is guarded, and the annotation controller.kubernetes.io/pod-deletion-cost counts among the others. So a
// notice breaks a budget only where the pool has no other choice; then the contract of the pool goes first, and the pod's condition
// and an event say so.
//
// The package does not enforce the deadline: the agent does, even when nothing of Kubernetes runs.
//
// [Run] is one goroutine beside the one that listens for notices.
package reclaim
