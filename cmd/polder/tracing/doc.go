// Package tracing tells an OpenTelemetry collector what became of asks: one trace an ask, with how long each of its tasks waited
// for a decision, how long its node took to start it, how long it ran, and the notices in between.
//
// It reads the stream of events like anybody else and needs nothing of the server. What happened is known when it is over, so a
// span is made with the times of the events at both of its ends.
//
// # What it is not
//
// It does not follow a request through the server's code, and begins where it begins: asks that were submitted before are not
// traced. It keeps no state that a restart would miss.
//
// A [Tracer] belongs to one goroutine. [Run] is one call for as long as the server leads.
package tracing
