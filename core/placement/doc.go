// Package placement decides which node of a pool a task goes to, and says why when none will do.
//
// An [Index] holds the nodes of one pool: attributes, capacity, what is available now, host ports, and how many tasks of
// each group run where. What a task needs is a [Shape]; [Index.Compile] turns it into a [Compiled] that shares its
// bitmaps and counters with every other shape that asks the same. [Index.Place] finds a node, [Index.Explain] counts the
// nodes by the first filter that refuses them, in this order: cordoned, constraint, ports, spread, anti-affinity,
// resources.
//
// How it is fast: node ids are dense, so a filter is a bitmap and 64 nodes are refused by one machine word. Available
// amounts lie in one flat array, with the largest amount per kind kept per block of 64 nodes and per distinct set of
// constraints. These maxima are upper bounds: a raise makes a block's bounds void, a visit that finds nothing makes them
// exact. So a change costs the same however many shapes wait, and no node that fits is ever missed.
//
// It is not an allocator: it decides neither who may have a node nor how much of it is free; the caller keeps that ledger
// and reports it with [Index.SetAvailable]. Place changes nothing; the caller commits. An Index and everything compiled
// by it belong to one goroutine. The same calls in the same order give the same answers.
package placement
