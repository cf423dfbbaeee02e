// Package cluster is the one state machine of Polder: everything the leader knows, and every decision it takes.
//
// [Cluster.Step] takes one event and the time and returns what is to be done about it, in order; the same events at the
// same times give the same effects, byte for byte. It does no I/O, starts no goroutine, reads no clock and logs nothing:
// the server feeds it and carries its effects out, the simulator does the same in virtual time. A Cluster belongs to one
// goroutine. [Cluster.Invariants] checks the lending contract on the live state.
//
// Decisions are taken on [Tick], once per turn, however many events came before it.
package cluster
