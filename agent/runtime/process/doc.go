// Package process runs tasks as commands of the machine itself: in their own cgroup, and in their own pid, mount and ipc
// namespaces where the machine permits it. It is the runtime of machines without a container engine.
//
// It is not a container runtime: a task sees the machine's files and network. A task without a user runs as the
// agent's own, without a way to gain privileges it does not have (no_new_privs).
//
// Three short-lived or tiny processes make a task survive the agent with its exit code:
//
//	agent ──▶ /bin/sh (supervisor, first process of the namespaces, in the cgroup .init)
//	            └──▶ agent's own binary, "task-init run": joins the cgroups, mounts /proc, drops the user, then becomes
//	                   └──▶ the command
//
// An interactive task has one more, beside the command: the console, "task-init console", which holds the other end of the
// command's input, or its terminal, while agents come and go.
//
// The supervisor stays, about a hundred kilobytes of it, waits, and writes the exit code to the state directory; it is
// outside of the task's memory limit, so an out-of-memory kill never takes the exit code along. Each task has a
// directory there:
//
//	task.json  what was asked for, written before anything is started
//	lock       held (flock) by the supervisor as long as it lives: no lock and no exit means the end went unseen
//	pid        "supervisor start-time command start-time", written before the command begins
//	exit       the exit code as a shell has it
//	error      why the command could not begin
//	input      a fifo with frames for the console, of an interactive task
//
// A program that uses this package calls [MaybeInit] first thing in main. Output goes to "stdout" and "stderr" in the
// sandbox, appended, and is kept bounded by giving the oldest part of a file back to the disk (the file keeps its
// apparent size; the part given back reads as zeros and is skipped by Logs).
//
// All methods may be called from any goroutine; a running task costs one parked goroutine and no thread.
package process
