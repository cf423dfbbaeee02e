// Package volume makes volumes of the pool for claims of Kubernetes: it is the provisioner of the StorageClass "polder".
//
// A PersistentVolumeClaim of the class waits until the scheduler has found a node for its first pod. Then a volume of the
// namespace's role is made there, paid by the role's own guarantee like every volume of the pool, and a PersistentVolume of the type
// "local" leads to its directory. So the pod, and every later one with the claim, runs on that node. When the pool refuses, an event on the
// claim has its sentence, and the scheduler looks for another node. When the claim is deleted the volume is, with what is in it, unless
// the PersistentVolume says Retain.
//
// It mounts nothing: that is the kubelet's part. Which of the pool's tasks mount a volume is unknown to Kubernetes, and the other way
// round; a volume of this package is for pods.
//
// [Run] is one goroutine.
package volume
