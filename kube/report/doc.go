// Package report tells the pool what comes through the Kubernetes door: how many requests its API server answered, and what it
// refused, from the counters the API server keeps itself. The pool's list of doors shows it.
//
// # What it is not
//
// It counts nothing itself and knows no callers: requests of the control plane's own parts are among the others.
//
// [Run] is called once; it starts no goroutine.
package report
