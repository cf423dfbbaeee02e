// Package role holds the role tree: the plan an operator writes, its calendar windows, its validation, and the effective
// tree at an instant.
//
// It says what is promised to whom at a time. It does not know tasks, nodes or usage. A [Plan] is data; a [Tree] is
// immutable after it is built and safe to share.
package role
