// Package identity lets people into Kubernetes with their tokens of the pool, and lets them do there what they may do in the pool.
//
// [Callers] is an authenticator of tokens: the pool says whose a token is. The name in Kubernetes is the pool's, "user:alice". [Gate]
// is an authorizer: it says which verb on which role a request of Kubernetes amounts to, and asks the pool, with the caller's own
// token, whether the caller may do that. So there is one table of permissions and one place that reads it, and what is revoked
// or granted there holds here [TTL] later. What the pool does not allow, Kubernetes' own rules may still.
//
//	what is done in a namespace                                          verb on its role
//	read                                                                 view
//	read logs                                                            logs
//	exec, attach, port-forward, proxies, ephemeral containers            exec
//	create, change, delete; read a Secret, which every pod could         run
//	roles, bindings, quotas, impersonation, the status of objects        admin
//
// What reaches over all namespaces needs the verb on everything; Nodes are read with view and changed with node on the root; whatever
// else belongs to no namespace, and to Kubernetes' own ones, is read with view and changed with admin on the root.
//
// It keeps the tokens of those who called within a minute in memory, as well as of those with a watch, a log or a shell that is open, and nothing
// on disk. What is open is cut off when its permission goes, or the token it was opened with: see [Gate.Follow].
//
// Both are safe for concurrent use.
package identity
