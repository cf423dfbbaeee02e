// Package server is the leader: it feeds the one state machine of package cluster with what clients and agents say and
// carries out what it decides.
//
// # The writer
//
// One goroutine owns the cluster. Commands wait in a bounded queue; a caller that finds it full is told ResourceExhausted.
// A turn takes all that is queued, steps through it, lets the cluster decide once, and then: commands for agents go to
// their sessions at once; what must be durable goes, as one atomic write fenced by the leadership, to the persister; the
// new picture is published to readers. Callers whose change must survive the leader are answered when the write is durable.
// When a write fails or the leadership is lost, nothing more is acknowledged and [Server.Run] returns an error.
//
// # Readers
//
// Readers get the picture of the last turn and never touch the writer. Watchers get it with every change after it, without
// a gap, from a bounded log; a watcher that falls out of the log is told OutOfRange and lists again.
//
// # Who may do what
//
// Every procedure is a line of one table: the permission it needs and how the roles it touches follow from the decoded
// request. A procedure without a line keeps the server from starting. Every change and every denial is in the audit trail
// before anything happens.
//
// # What it is not
//
// It takes no scheduling decision and starts no task. It keeps leases, tasks and notices in memory only, where agents do
// not hold them on disk themselves; what is written is plans, asks, nodes and identities.
//
// A Server is safe for concurrent use; it runs once.
package server
