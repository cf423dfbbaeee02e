// Package swarmkit compares what package orchestrator decides with what the orchestrators of swarm mode itself do with the same
// services on the same nodes: github.com/moby/swarmkit, with its own store and scheduler, and agents that do as they are told.
//
// It is a module of its own, so that their dependencies are not Polder's; "make swarmkit" runs it. It has only tests.
package swarmkit
