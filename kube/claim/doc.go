// Package claim lets kube-scheduler share the pool: a pod is bound only where the pool has granted its lease.
//
// [Plugin] is a plugin for kube-scheduler as a library, beside all of the stock ones. Filter looks at what is free in the
// pool's own picture of a node, whoever holds the rest. Reserve pencils the place in. Bind claims it while the scheduler goes on
// with the next pod, and binds the pod; the first claim wins. A pod that fits nowhere, or whose claim is refused, becomes an ask
// of its role: the pool decides in what order waiting pods of all doors are served, and asks borrowers to leave for those inside a
// guarantee. Until the pool answers, the pod's condition shows the pool's sentence. The answer is a lease on some node, and the pod
// is bound there.
//
// [Book] is what is known of pods' claims. It is rebuilt from the pool: tasks and asks carry the pod's uid. [Book.Run] keeps
// pods and leases together: a lease whose pod is gone is given back, a pod whose lease is over is deleted, and a pod that
// somebody else bound gets a lease of its own. Of two leases of one pod, which come when an answer of the pool is lost, one is given back.
//
// A lease names the volumes of the pool that its pod mounts. One that was granted before they were made is exchanged before the pod is bound.
//
// In a cluster of somebody else's, [Book.Guest], pods that another scheduler has placed are counted as leases that stay, and never touched.
//
// The package is not a scheduler: which of the nodes that fit is best is for the stock plugins to say.
//
// A Book is safe for concurrent use; Run is one goroutine. The Plugin is called by the scheduler as its framework promises.
package claim
