// Package controlplane runs a stock Kubernetes control plane in one process: etcd, kube-apiserver, kube-controller-manager and
// kube-scheduler, each through its own public package, with the options its command line has.
//
// Three things are not stock, and only these. The scheduler has one plugin more. The node lifecycle controller is left out:
// whether a node is there is for the pool to say, and package mirror says it. The quota controller and its admission plugin are
// left out: a quota here is a mirror of the role, which package namespace writes.
//
// The controller manager, the scheduler and the door's own controllers call the API server's handlers without a connection, each under its own
// name and with its permissions; everybody else comes through TLS. [Config.Wire] has them call as separate processes would.
//
// Everything it keeps is below one directory: etcd's data, an authority with its certificates, the key of service accounts, and
// kubeconfigs. The authority is Kubernetes' own: Polder's signs no certificates but its own members'.
//
// [Run] is called once in a process: the components have global state.
package controlplane
