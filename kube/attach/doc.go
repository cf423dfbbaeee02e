// Package attach is what the door needs to know before it works in a cluster of somebody else's: whether its API server is one that the
// scheduler in this program can work with, and whether the caller may do there what the door does.
//
// [Check] asks both and names everything that is missing. [Manifest] is what gives it: an account, one role, and bindings to that and
// to the roles that every cluster has for its scheduler. The package changes nothing in a cluster, and gives people no permissions: who may
// do what there stays for the cluster to say.
//
// All functions may be called from any goroutine.
package attach
