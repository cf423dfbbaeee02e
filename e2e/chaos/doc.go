// Command chaos gives real tasks notice while the processes that promised them their time are killed at random moments, and
// counts what must not happen: tasks ended before their time, tasks lost, tasks run twice.
//
//	go run ./e2e/chaos -notices 1000 -work 1m -seed 1
//
// A server and three agents run as processes. Offline tasks borrow everything; pulses of online demand take it back; a monkey
// kills the server or an agent with SIGKILL, mostly between a notice and its deadline, and starts it again. What happened is
// judged from the tasks' own side (see package witness), not from what Polder says. The seed decides what is tried; what
// comes of it depends on the machine, so the same seed need not give the same story.
//
// The exit code is 1 when anything happened that must not.
package main
