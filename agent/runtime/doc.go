// Package runtime is what an agent starts tasks with: one small interface, its vocabulary and its kinds of error.
//
// It is not a scheduler and keeps no policy: it never restarts a task, never decides who leaves, and knows of a task
// only what [Spec] says. Implementations live below it: process (a command of this machine in cgroups and namespaces),
// docker (a container of a real engine) and fake (a script, for tests under a virtual clock). The suite in runtimetest
// holds all of them to the same promises:
//
//   - a task id is started at most once, through any crash of the agent: Start on a known id answers its status;
//   - a task outlives the agent, and so does its exit code: List and Wait work after a restart of the agent;
//   - a task whose end nobody saw is reported as lost, never as running.
//
// Every method of a [Runtime] may be called from any goroutine. Calls for one task may overlap: a Wait never blocks a
// Signal. A cancelled context ends the call, never the task.
package runtime
