// Package mirror shows the pool's nodes to Kubernetes as Node objects, and keeps them true.
//
// The pool decides whether a node is there: a node of the pool is a Node with the node's capacity whether or not its kubelet
// runs, since the agent starts that with the first pod. One that does not answer the pool is tainted, and Kubernetes moves its
// pods as it does when it has found out itself. A cordoned or draining node is unschedulable. One that was removed from the pool
// is deleted.
//
// While a kubelet runs its own word counts for conditions, addresses and images; this package then only minds the taints.
//
// [Run] is one goroutine.
package mirror
