// Package docker runs tasks as containers of a Docker Engine on this machine, through its API (1.40 or newer).
//
// The engine is the source of truth: this package keeps no state of its own, so tasks survive the agent as containers
// do. A task is the container "polder-<task id>" with labels polder.task, polder.agent, polder.role and so on, restart
// policy no, in the cgroup of its role, with no way to gain privileges; [runtime.Spec] has no field that would give it
// any. The sandbox is mounted at [SandboxPath]. A task's command is what "docker run" calls the command: an image's
// entrypoint, if it has one, gets it as arguments.
//
// It is not a general Docker client, and it never touches a container without its labels. While the engine is away every
// call fails with [runtime.ErrUnavailable], except Wait, which waits for it to come back and then tells what became of
// the container.
//
// All methods may be called from any goroutine.
package docker
