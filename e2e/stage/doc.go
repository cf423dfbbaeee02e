// Package stage puts a whole pool of real processes on this machine for the stories in e2e: programs built from this source,
// a server, and agents that joined it by token, each in a directory of its own, on loopback only.
//
// It checks nothing; that is what the stories are for. A [Pool] belongs to one goroutine; a [Process] may be used from any.
package stage
