// Package health asks a task again and again whether it works.
//
// A [Check] probes at an interval and reports changes of mind: healthy with the first success, unhealthy after so many
// failures in a row. Failures in the start period do not count, unless the task has been healthy before. It does not stop
// or restart anything; that is up to who asked. [HTTP] and [TCP] probe over the network of this machine only.
//
// Run uses no goroutine of its own and package time for its clock.
package health
