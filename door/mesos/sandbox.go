package mesos

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// workDir is where tools are told that sandboxes are. It is the name of no directory: what is below it is looked up.
const workDir = "/var/lib/polder"

// sandboxDir is the directory of a task of the pool as tools know it: an executor's, since a command task is its own executor there.
func sandboxDir(node, framework, executor, native string) string {
	return path.Join(workDir, "slaves", node, "frameworks", framework, "executors", executor, "runs", native)
}

// directory is where the task's files are; of one that an executor runs, the executor's.
func (t *task) directory() string {
	if t.executor != nil {
		return t.executor.directory()
	}
	return sandboxDir(t.node, t.fw.id, t.id(), t.native)
}

func (e *executor) directory() string { return sandboxDir(e.node, e.fw.id, e.id, e.native) }

// place is a path that a tool named: a task of the pool, and what is below its sandbox.
type place struct {
	name   string // as the tool wrote it
	native string
	below  string
}

// placeOf finds what a path names. Whose it is and who may look at it, the pool says when it is asked.
func (d *Door) placeOf(name string) (place, error) {
	if name == "" {
		return place{}, answer(http.StatusBadRequest, "Expecting 'path=value' in query.\n")
	}
	rest := strings.TrimPrefix(path.Clean("/"+name), workDir) // what climbs out of its sandbox names something else, or nothing
	parts := strings.Split(strings.Trim(rest, "/"), "/")
	if len(parts) > 1 && parts[0] == "slaves" {
		parts = parts[2:]
	}
	if len(parts) < 6 || parts[0] != "frameworks" || parts[2] != "executors" || parts[4] != "runs" {
		return place{}, answer(http.StatusNotFound, "no sandbox is at %.500q; /files/debug lists them\n", name)
	}
	p := place{name: strings.TrimSuffix(name, "/"), native: parts[5], below: path.Join(parts[6:]...)}
	if p.native == "latest" {
		p.native = d.latest(parts[1], parts[3])
	}
	if p.native == "" {
		return place{}, answer(http.StatusNotFound, "framework %.200q has no executor %.200q\n", parts[1], parts[3])
	}
	return p, nil
}

// latest is the task of the pool that is, or was, an executor; empty when there is none.
func (d *Door) latest(framework, executor string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range append(slices.Clone(d.gone), d.frameworks[framework]) {
		if f == nil || f.id != framework {
			continue
		}
		for _, e := range f.executors {
			if e.id == executor {
				return e.native
			}
		}
		if t := f.tasks[executor]; t != nil && t.executor == nil {
			return t.native
		}
		for _, t := range slices.Backward(f.completed) {
			if t.id() == executor && t.executor == nil {
				return t.native
			}
		}
	}
	return ""
}

// sandboxes are the directories somebody may see, each with whose it is. The mutex is held.
func (d *Door) sandboxes(v viewer) object {
	out := object{}
	for _, f := range slices.Concat(d.gone, d.sorted(v)) {
		for _, t := range slices.Concat(f.completed, sortedTasks(f)) {
			if v.task(t) && t.native != "" {
				out[t.directory()] = "task " + t.native + " on node " + t.node
			}
		}
	}
	return out
}
