// Package volume plays the life of a volume with real processes: what one task writes another one reads, the agent dies in between, and
// a deletion deletes. It has only tests.
package volume
