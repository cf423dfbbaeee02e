// Package bench measures the core: how much CPU time a decision costs, how that grows, and how far it is from what the machine
// could do at best. "make bench" runs it and prints one table.
//
// Every workload is made from a seed, so two runs do the same work. After a run a [Referee] that keeps no books of the core's
// looks at what runs: no machine over-committed, every guarantee, limit and the hold rule respected, every constraint met. A
// run it objects to counts for nothing and fails the program.
//
// Times are the CPU time of the whole process, the garbage collector's included, as the kernel accounts it. Wall time is beside it.
// No time decides a test: "go test ./bench" runs everything small, for the referee.
//
// It is not a load generator for a server, and it is no library for others.
package bench
