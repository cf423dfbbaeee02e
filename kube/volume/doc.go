// Package volume makes the pool's volumes those of Kubernetes: claims of the StorageClass "polder" are leases of disk, on the guarantee of
// their namespace's role, on the node that the scheduler chose for the first pod.
//
// [Run] keeps the class and does what external provisioners and resizers do. A claim with a chosen node becomes a volume of the pool, then a
// PersistentVolume of the kind local, which no other node can mount. When the pool refuses, the claim says so in the pool's sentence and
// the choice is taken back, so that the scheduler makes another. A claim that grows resizes the lease. A released PersistentVolume whose
// policy is Delete is deleted, with what is in it; one with Retain stays, in the pool too. Every step can be repeated: the volume has the
// claim's uid in its name, and a finalizer is on the claim before there is a volume, and on the PersistentVolume until there is
// none. So nothing is left behind, wherever the controller was cut off.
//
// [Plugin] is the scheduler's side: nodes with too little disk left are passed over before anything is tried, and pods whose claims cannot
// be had at all are told why.
//
// [Mounts] tells the pool which volumes a pod mounts: the pod's lease names them, so that the pool deletes none of them and keeps the pod on
// their node. It mounts nothing: that is the kubelet's part. Which of the pool's other tasks mount a volume is unknown to Kubernetes.
//
// The package never deletes a volume because it does not know it: who loses Kubernetes' data keeps what is on the disks.
//
// Run has several goroutines, of which no two work on one object. The Plugin is called by the scheduler as its framework promises.
package volume
