// Package reclaim decides whom to ask back when a claim inside a guarantee finds its capacity lent out.
//
// It is the upward sweep of docs/design/lending.md: charge the claimant to its role, and at each ancestor whose hold rule
// that breaks ask back just enough of what is funded there and leaves in time. It returns a plan; it sends no notice and
// knows no clock. A [Round] works on its caller's ledger and belongs to the caller's goroutine.
package reclaim
