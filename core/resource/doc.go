// Package resource counts what machines have and tasks take: fixed-point amounts, vectors over resource kinds, port
// ranges, node attributes.
//
// It holds numbers and their written forms. It does not know roles, nodes or who owns what. Everything in it is a value
// or is owned by one goroutine; nothing locks.
package resource
