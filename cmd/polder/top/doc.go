// Package top is a full-screen terminal view of tables that change: one table at a time, with the keys people know from k9s.
//
// It knows nothing of a pool. Whoever calls [Run] hands over [Kind]s: what a table is called, how it is read, what stands
// behind a row, and what may be done to one. A table is read again and again while it is looked at; rows keep the order they
// are given in, and the cursor stays on its row, not on its line. When a read fails, the last table stays, with the reason
// below it.
//
// # What it is not
//
// It keeps no history and holds no connection: reading is the kinds' business. It prints nothing where there is no terminal.
//
// [Run] owns the terminal until it returns and calls the kinds' functions on goroutines of its own, one read of a table at a
// time; functions of one kind may run beside those of another.
package top
