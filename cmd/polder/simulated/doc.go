// Package simulated fills a real server with nodes and teams that exist only in this process, to see a busy pool without
// machines: for the console, for trying a plan, for tests.
//
// The server, its decisions, permissions and notices are real. A simulated node speaks the agents' protocol and starts nothing:
// a task "sleep 90" ends after that time, every other one runs until it is stopped, and one under notice leaves somewhere
// before its deadline. Nodes say so in their attribute simulated=true. It measures nothing: how long a simulated task takes
// to start is made up.
//
// [Run] may be called once for a server; it returns when its context ends, with everything it started stopped.
package simulated
