// Package orchestrator decides what the tasks of swarm services are to be: how many, on which nodes, of which version, and what
// follows when one ends.
//
// It is one state machine: [Machine.Step] takes an event and the time and returns effects, in order. Records to keep come first, so
// that whoever carries effects out writes down what is wanted before it happens. The same events at the same times give the same
// effects. [Machine.Due] is when time alone will change something.
//
// # What it is not
//
// It does no input or output, knows no clock and no protocol, and grants nothing: whether a task gets the place that was chosen for
// it is the pool's to say, and the answer is an event. It does not know what a container is; a service's template passes through it
// unread.
//
// A Machine is for one goroutine at a time.
package orchestrator
