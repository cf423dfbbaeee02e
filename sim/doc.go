// Package sim runs a whole Polder cluster in one process and in virtual time: the same core that decides for real machines,
// with simulated agents, workloads and faults around it.
//
// A [Scenario] says what there is, what happens and what is expected; [Run] plays it and returns a [Report]. Chance comes
// from the scenario's seed alone, so a seed always gives the same trace, byte for byte. What agents do is a model (latency,
// start-up, lost connections, notices heeded or not); what is decided is not: it is [cluster.Cluster], checked by its own
// invariants on the way. Nothing here opens a socket or reads a clock to decide by.
//
// A run belongs to one goroutine; several runs may go on at the same time.
package sim
