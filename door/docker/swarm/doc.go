// Package swarm is the part of the Docker door that speaks swarm mode: services, tasks, nodes, secrets and configs. The pool is
// one swarm with one manager, this door.
//
// # Where the truth is
//
// What is wanted, services with their tasks, secrets and configs, is in the store, each write fenced by a leadership of the door's
// own, and written before anything is done about it. What runs is the pool's: each task of a service is an ask of one task there, in
// the service's role, under a label with the swarm's id of it. After a restart both are read and compared: what is wanted and not
// there is started, what is there and not wanted is stopped. What to want of tasks is decided by package orchestrator.
//
// Secrets are sealed in the store with a key of the cluster's certificate authority. They reach the machine of a task as files in the
// task's own directory, and nothing else.
//
// # What it is not
//
// It does not choose who goes first, and does not start containers: it claims leases, or asks for them, like any scheduler. It knows
// engines only through [Containers], which the door implements.
//
// A [Swarm] is safe for concurrent use. Run owns every goroutine; they end with it.
package swarm
