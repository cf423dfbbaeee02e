// Package lending keeps the books of one pool: who uses what, whose guarantee pays for it, and what may still be lent.
//
// Every role is a small market between its children. A [Ledger] holds, per role, how much is funded there by hold value
// and how much the children's idle guarantees supply by lend grace, and answers whether one more charge keeps the hold
// rule and the inflow rule (docs/design/lending.md). Work per charge is proportional to the depth of the tree and the
// number of distinct hold values, never to the number of tasks or roles.
//
// It knows neither nodes nor tasks nor time, and it decides nothing about whom to ask back; see core/reclaim. A Ledger
// is owned by one goroutine.
package lending
