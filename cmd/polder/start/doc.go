// Package start runs the long-lived verbs of the command line: server, agent, up and demo. It puts the pieces together and
// decides nothing else; every function returns when its context ends, with what it started stopped.
package start
