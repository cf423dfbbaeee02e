// Command peers plays one fill of the bench suite, the same machines, leaf roles and tasks, on Polder's core and on schedulers of
// other people that can be linked into a Go program: github.com/apache/yunikorn-core and the scheduler of
// github.com/moby/swarmkit. They take turns, each run in a process of its own, and a referee looks at who placed what where.
//
// It is a module of its own, so that their dependencies are not Polder's; "make peers" runs it. It compares placing tasks in memory and
// nothing else: docs/benchmarks.md says what each of them does besides.
package main
