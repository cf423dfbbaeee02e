// Package fields judges what a client of the Engine API wants of a container, field by field, from one table: what works, what
// only callers with the permission "host" get, and what is refused, with the reason.
//
// [Decode] reads JSON so that nobody can read it otherwise: a key twice, or one that differs from a known one only in case, is
// an error, because an engine would take it and a check would not have seen it. What was checked is what is sent on: callers
// encode the decoded tree again instead of passing bytes along. A field that is not in the table is refused by its path, never
// dropped.
//
// Everything here is pure and safe for concurrent use.
package fields
