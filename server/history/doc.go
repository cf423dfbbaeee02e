// Package history remembers what roles had, used, borrowed and lent over the last hour, a sample every fifteen seconds, so that
// a curve does not begin when somebody opens a page.
//
// # What it is not
//
// It is not the book of waste, which adds up every second exactly; a sample says what was so at one instant. It is in memory
// and begins anew with every leader. Nothing decides by it.
//
// A [Book] is safe for concurrent use and starts no goroutine. Of a thousand roles with two resources it holds 12 MB, and never
// more than about 120.
package history
