// Command reclaim measures how long capacity takes to come back: from an ask inside a guarantee to its task running, less what
// was promised to others on the way.
//
//	go run ./e2e/reclaim -conduct done -n 200
//	go run ./e2e/reclaim -conduct term -n 200
//	go run ./e2e/reclaim -conduct done -n 50 -runtime docker
//
// A server and three agents run as processes, full of borrowers. One ask after another takes one place back. What is measured
// is seen from the outside: from just before the ask is sent until the first instruction of the asker's task has told us so.
// From that go off the time a claim must persist (reclaimDelay) and the time the borrower used of its notice: what it took
// to answer, by its own clock; or the whole grace, when it stayed until the stop signal at the deadline. The rest is
// Polder's and the runtime's: deciding, telling, ending, starting. The borrower's place is taken again before the next ask.
package main
