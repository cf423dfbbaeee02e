// Package traffic counts what comes through doors: requests, what was refused, and who makes offers to whom.
//
// A door puts a [Counter] before its handler and into the [Book]; the native API counts its own calls. The server shows the
// book, as far as whoever asks may see it. A door that is a program of its own reports itself, and a door that nobody opened is in
// the book with the reason.
//
// # What it is not
//
// It is not the audit trail: it knows no callers and forgets at a restart. It judges nothing.
//
// Everything is safe for concurrent use and starts no goroutine.
package traffic
