// Command worker is the task the stories run: it does nothing for a while, and says what happens to it over a unix socket.
// Whoever listens there learns of its death from the kernel, not from Polder.
//
// It is told what to do by its environment:
//
//	WITNESS   the socket; when it closes, the worker ends
//	LEDGER    a directory where it notes, for the kernel to judge, that an attempt ran and an instance runs
//	WORK      how long the work takes; 0s is for ever
//	CONDUCT   what it does with a notice: "done" answers done, "leave" ends, "stay" goes on until it is killed,
//	          "term" ends when it gets the stop signal, "bow" does so with code 0
//	THINK     how long it takes to do so
//	KILLGRACE the kill policy's grace its ask set, empty when it set none
//
// It is no example of a good task: it goes to the edges of what a task may do. One goroutine does everything.
package main
