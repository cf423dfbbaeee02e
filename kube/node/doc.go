// Package node is the machine's side of the Kubernetes door: a containerd and the stock kubelet, as children of one process that
// the agent starts with the first pod and stops some time after the last.
//
// The kubelet's cgroups are below the agent's, and it offers what the agent offers of the machine, whatever else the machine
// has. It joins as any kubelet does: with a token it asks the API server for a certificate.
//
// When [Run] ends it ends its children and leaves pods running; the next one takes them over. Where no pod runs any more it
// removes their sandboxes, networks and mounts. It is not a container runtime and watches no pods.
//
// Run is called once in a process.
package node
