// Package docker is the Docker door: the whole pool as one Docker host, for the docker program and everything else that speaks
// the Engine API.
//
// # What a call becomes
//
// Each call is one of: placed (a container is made where its lease would fit), sent to the node that has the container,
// asked of every engine and merged, answered from the pool's own books, or refused with a reason. [Endpoints] is the table. Engines
// are reached through the native API only, over their agents, on behalf of the caller and with the caller's permissions.
//
// # Containers and tasks
//
// A container is made by create and holds nothing. Start claims a lease for it, on the node where it is if there is room, else
// elsewhere: it is made anew there, because it has not run yet. Every start is a task of its own. A restart policy is the pool's:
// the task comes back where there is room. The door's id of a container is its own and stays the same when the container is made
// again on another node.
//
// # Where the truth is
//
// The door keeps no books that it cannot rebuild: containers, volumes and networks are what the engines have under Polder's
// labels, leases and tasks are the pool's. What it remembers of where a container is, is only to ask less often.
//
// # What it is not
//
// It does not schedule, and it grants nothing: what a caller may is judged by the server, call by call. It does not pass on
// bytes that it has not understood where they decide what runs; see package fields. The streams of BuildKit, which decide that inside
// themselves, are for callers who may do on a machine what they like.
//
// A [Door] is safe for concurrent use. Each request is served by its own goroutine and those of its streams, which end with it.
package docker
