// Package reclaim decides whom to ask back when a claim inside a guarantee finds its capacity lent out.
//
// It is the upward sweep of docs/design/lending.md: charge the claimant to its role, and at each ancestor whose hold rule
// that breaks ask back just enough of what is funded there and leaves in time. It returns a plan; it sends no notice and
// knows no clock.
// A [Round] works on its caller's ledger and belongs to the caller's goroutine.
//
// A claim for which some node has room is planned unless nodes are missing, and so is one that a single unit's leaving
// serves, provided one of the first 64 such nodes is legal. Where several have to leave one node to make room the planner looks at two sets a node, the cheapest units and
// the fewest, each without whom nobody needs; it does not try all sets, so a claim that needs an odd mix may count as
// fragmented; so does one for which 64 nodes were tried in vain. Those where a single unit's leaving makes room are tried
// first, and the others have another 64 tries: a search is bounded whether it succeeds or not.
package reclaim
