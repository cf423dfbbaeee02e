// Package port finds a port of this machine that nobody has.
//
// It does not keep it: who wants it takes it at once. Free may be called from any goroutine.
package port
