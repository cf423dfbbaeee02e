// Package kube holds the leases of pods, for the Kubernetes door. A task of this runtime starts nothing: it is the pool's
// side of a pod that a real kubelet runs, and lasts as long as the pod's cgroup does.
//
//	door: claims a place ──▶ agent: task ──▶ this runtime: a record, and a kubelet if none runs
//	door: binds the pod  ──▶ kubelet: pod ──▶ cgroup polder/<node>/.kube/kubepods/…/pod<uid>
//	pod ends             ──▶ its cgroup goes ──▶ the task ends, the lease is free
//
// It is not a container runtime: containers are the kubelet's. Logs reads the files that the kubelet keeps, Exec runs the program that the
// node's file names for commands in pods, and Attach is [runtime.ErrUnsupported]. A stop signal is noted and sent to nobody: the door asks Kubernetes to end the pod, with its own
// hooks and grace. Kill needs nobody: it ends the processes of the pod and takes its cgroup's memory away, so that a kubelet
// that knows no better cannot start the pod again within what is no longer leased.
//
// The program of the node, a kubelet and what it needs, is named by a file that the door's control plane writes. While the
// file is not there the runtime is away. The program runs while there are tasks and for [Options.Idle] after the last one.
// It ends with the agent; pods go on, and the next agent's program takes them over.
//
// With [Options.Kubelet] the kubelet is somebody else's, of a cluster that the door is attached to: no program is started, pods are looked
// for where that kubelet keeps them, Exec is [runtime.ErrUnsupported], and a pod that somebody else has placed is counted and never touched.
//
// Each task has a file in the state directory, written before Start answers. All methods may be called from any goroutine.
package kube
