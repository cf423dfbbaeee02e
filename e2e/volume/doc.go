// Package volume plays the life of a volume with real processes: what one task writes another one reads, the agent dies in between, and
// a deletion deletes; the same inside a reservation. It has only tests.
package volume
