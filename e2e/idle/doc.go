// Command idle measures what Polder costs while nothing happens: processor and memory of agents with idle tasks, of the
// shells that wait for the tasks, and of the server.
//
//	go run ./e2e/idle -tasks 50 -for 60s
//
// A server and three agents run as processes, each agent with so many tasks that sleep. Everything is read from /proc. Memory
// is resident memory, which counts pages shared with other processes in full; for the shells, of which there are many, it is
// their proportional share of it as well (PSS).
package main
