// Package fetch gets a task's artifacts: files by http or https, unpacked where that is wanted, into the task's own
// directory and nowhere else.
//
// It keeps no cache. It runs as the agent, so it fetches nothing that is not on the network: no file of the machine. All functions
// are safe for concurrent use on different directories.
package fetch
