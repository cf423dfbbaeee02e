// Command polder is the whole of Polder in one binary: the server, the agent, both together on one machine ("up"), and
// the operator's verbs. This package only joins package cli to the processes; it decides nothing.
package main
