// Package offer decides which role is shown which machine's idle capacity, for schedulers that are offered machines instead of
// asking for them.
//
// A [Book] knows the machines of one pool and what is idle there, the pool's ledger, and the takers: whoever wants offers, each
// for one role. [Book.Cycle] makes the offers that can be made. An offer is never more than the role could claim now: limits,
// what may be borrowed and the hold rule are observed for all open offers together, as if every one of them were accepted.
// Offers are a view all the same: accepting one is a claim, and the first claim wins. The book charges nothing in the ledger
// when it is not inside Cycle.
//
// The order is that of the tree, level by level: first who is below its guarantee, the furthest below before others; then by
// priority; then the smallest surplus for its weight. Open offers count as used. Among the takers of one role the one with the
// least goes first. It gets the idle machine with the lowest id that it has not declined, all that is idle there and its
// role may have.
//
// Exclusive offers (the default) show capacity to one taker at a time; with [Options.Optimistic] every taker is shown all that
// its role could claim.
//
// How it is fast: a level's children are in a heap, and an offer moves one child per level. Declined machines are a bitmap per
// taker. A cycle after which nothing changed costs nothing; see [Book.Cycle].
//
// It is not a door: it knows no protocol, does not send offers, and keeps nothing over a restart. A Book belongs to one
// goroutine; the same calls in the same order give the same offers.
package offer
