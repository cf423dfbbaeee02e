// Package cgroup keeps an agent's part of the machine's cgroup tree, which mirrors the role tree:
//
//	/polder/<agent>/<role path…>/(guaranteed|borrowed)/<task>
//	/polder/<agent>/.init                                     the supervisors of process tasks
//
// A task's directory says how it was funded when it was launched and never moves, because a move would leave its memory
// charged elsewhere and restart its CPU account. What counts is the weight: every inner directory weighs the sum of
// the tasks below it, and a borrowed CPU weighs a hundredth of a guaranteed one, so guaranteed work goes before borrowed
// work across the whole tree, whichever roles they belong to, and a change of funding is a change of weights.
//
// Both cgroup v1 (cpu, cpuacct, memory, pids) and unified v2 are spoken, as plain files. Where the tree cannot be
// written a [Tree] does nothing, successfully, and says so in [Tree.Note]. It is not a runtime: it starts nothing.
// All methods may be called from any goroutine.
package cgroup
