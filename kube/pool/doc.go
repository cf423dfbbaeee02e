// Package pool is the Kubernetes door's way to Polder: the native API with a token over TLS, as anybody else has it, and a
// picture of the pool's nodes that follows every change.
//
// It decides nothing and keeps nothing: claims and their pods are of package claim.
//
// A [Client] and a [Nodes] are safe for concurrent use. [Nodes.Run] is one goroutine; it ends with its context.
package pool
