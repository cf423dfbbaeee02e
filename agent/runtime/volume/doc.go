// Package volume is the runtime of volumes: a task of it is a directory that outlasts other tasks, and no process. Starting it makes
// the directory, killing it deletes the directory with all that is in it, and nothing else does.
//
// What is on disk is all there is, so a volume needs no agent to be there: below the directory of all volumes each has one by the id of its
// task, with its record and, in data, what tasks mount. A kill renames data first; whatever is cut off then, the next kill goes on.
//
// It does not know who mounts a volume and asks nobody whether it may be deleted: server and agent do. It keeps nobody from writing more than the
// volume's size.
//
// Any method may be called from any goroutine; one Runtime owns a directory at a time.
package volume
