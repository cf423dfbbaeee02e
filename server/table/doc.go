// Package table is a sorted map whose copies cost nothing: readers keep a copy while its owner goes on writing.
//
// A [Map] is a B+ tree with copy-on-write pages. [Map.Snapshot] takes constant time; afterwards a write copies only the
// pages on its path, once per snapshot. It is not a cache and not a database: it holds what it is given.
//
// A Map belongs to one goroutine. A snapshot that nobody writes to may be read by any number at once.
package table
