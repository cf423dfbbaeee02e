// Package waste accounts for every resource-second of a pool: who had it, who used it, and why nobody did.
//
// A [Book] is fed with what changes: a lease begins or ends, a node has more idle or less, something waits. Between two
// changes nothing moves, so an amount times the time it stood still is all there is to add, in whole numbers. Work per change
// does not depend on how many roles, nodes or tasks there are.
//
// Before a lease begins or ends, unless it was closed in the last ten seconds, the book is closed: what stood until then is divided
// among the roles so that in every row of every role
//
//	guarantee + borrowed = used + lent + idle
//
// exactly, where idle is the sum over one closed list of reasons ([Reason]). A row covers a role and everything below it; the
// root's is the pool. Closing follows these rules, and a reader may rely on them:
//
//   - A lease is used by its role. It is borrowed by every role below the one whose guarantee pays for it; what is under notice,
//     and has given its funding away, is borrowed by all of its roles.
//   - What was borrowed in the market of a role comes first from what that role has promised to no child, then from the children,
//     in proportion to what each of them offered; only then from what they would not lend.
//   - Why something was idle is decided at each instant for the pool, in the order of the list of reasons: first what a machine
//     is to blame for, then what waits and what holds it up, then that nobody wanted it. What was idle for a reason is divided
//     among the roles whose guarantee was idle, in proportion; what was not lent or was kept warm first among those that did so.
//
// It decides nothing, and it does not know tasks, nodes or asks. A Book belongs to one goroutine; a [Report] is the caller's.
package waste
