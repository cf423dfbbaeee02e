// Package mesos is the door of frameworks written for Mesos: schedulers, executors and operators' tools connect to it as to
// a Mesos master (and to its agents), unmodified.
//
// A role of Mesos is a role of Polder's tree; "*" is one that the configuration names. An offer shows what a role could
// claim now on one node; accepting it claims, as the framework's principal, through the native API. A command task is a task of the
// pool. A custom executor is one, too, and so is each of its tasks: that one holds the lease and runs nothing. What a
// principal may do is decided by the pool's one table of permissions, at each call.
//
// Borrowed capacity comes as revocable resources to frameworks that know them, and a notice as an inverse offer that names
// the resources and starts at the deadline.
//
// It is not Mesos: what it refuses, and why, is in docs/mesos.md. Frameworks, their executors and tasks, and the updates they have
// not acknowledged are in the cluster's store, written by the door that leads. What a crash takes with it, 20 ms at most, it finds in the
// pool by the tasks' labels.
//
// One mutex guards the books; calls to the server are made without it. A stream has a bounded queue: a framework that does
// not read is disconnected. A Door is safe for concurrent use; it runs once.
package mesos
