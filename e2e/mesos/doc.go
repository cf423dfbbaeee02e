// Package mesos runs real clients of Mesos, unmodified, against "polder up" with real agents and real processes. The clients
// are in a module of their own below this package.
package mesos
