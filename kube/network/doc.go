// Package network is what all nodes of one machine share so that their pods find each other: the bridge of pods, kube-proxy for
// the addresses of services, a name server, and a way to the API server.
//
//	pod ──▶ name server at the bridge's address ──▶ CoreDNS in this process ──▶ services and endpoints of the API
//	pod ──▶ service's address ──▶ kube-proxy's rules of this machine ──▶ pod
//	pod ──▶ service "kubernetes" ──▶ the bridge's address, [RelayPort] ──▶ API server, wherever it listens
//
// Rules for packets belong to a machine, or more exactly to a network namespace, and so does all of this: every node of it calls
// [Run], and one at a time serves; when it ends another one goes on. The rules stay meanwhile, so connections do not notice; a
// name may be asked for twice. The last one takes the rules and the bridge away, if no pod is left.
//
// It makes no network between machines and no addresses of pods: CNI does.
//
// Run is called once in a process.
package network
