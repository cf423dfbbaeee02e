// Package namespace makes namespaces and roles one: a namespace's pods are a role's, every role has a namespace, and a quota in
// the namespace mirrors the role.
//
// A namespace names its role with the annotation polder.dev/role. Without it a namespace belongs to the role of the same name;
// "--" in a namespace's name stands for "/" in a role's path, so corp/search has the namespace corp--search. Every other
// namespace, Kubernetes' own among them, belongs to a role named at the start.
//
// The role is the truth. The quota is written, never read: what is edited there is put back.
//
// A [Map] is safe for concurrent use; [Map.Run] is one goroutine.
package namespace
