package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"polder.dev/polder/agent/runtime"
)

// running counts the leases that have not ended.
func (r *Runtime) running() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, t := range r.tasks {
		if t.rec.Exit == nil {
			n++
		}
	}
	return n
}

// watch looks at the pods' cgroups until the runtime is closed: one that was there and is gone ends its lease.
func (r *Runtime) watch() {
	tick := time.NewTicker(r.opt.Look)
	defer tick.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
			r.look()
		}
	}
}

func (r *Runtime) look() {
	for _, t := range r.live() {
		_, there := r.opt.Tree.Pod(t.uid())
		switch {
		case there && !r.seen(t):
			r.note(t)
		case !there && r.seen(t):
			r.finish(t, r.exitOf(t))
		}
	}
	if r.node != nil {
		r.node.want(r.running() > 0)
	}
}

func (r *Runtime) live() []*task {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*task
	for _, t := range r.tasks {
		if t.rec.Exit == nil {
			out = append(out, t)
		}
	}
	return out
}

func (r *Runtime) seen(t *task) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return t.rec.Seen
}

// note records that the pod runs. What cannot be recorded is tried again at the next look.
func (r *Runtime) note(t *task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := t.rec
	rec.Seen = true
	if err := rec.write(r.tasksDir()); err != nil {
		r.opt.Logger.Warn("a pod's start could not be recorded", "task", rec.Spec.TaskID, "error", err)
		return
	}
	t.rec = rec
}

// finish ends a lease once.
func (r *Runtime) finish(t *task, e runtime.Exit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.rec.Exit != nil {
		return
	}
	t.rec.Exit = &e
	if err := t.rec.write(r.tasksDir()); err != nil { // the next agent would wait for the pod, and the door end the wait
		r.opt.Logger.Warn("a pod's end could not be recorded", "task", t.rec.Spec.TaskID, "error", err)
	}
	close(t.done)
}

// exitOf is the end of a pod whose cgroup is gone: as the node's program has noted it, or well.
func (r *Runtime) exitOf(t *task) runtime.Exit {
	now, pod := time.Now().Round(0), t.rec.Spec.Labels[PodLabel]
	file := filepath.Join(r.opt.State, "node", "exits", t.uid())
	data, err := os.ReadFile(file)
	if err != nil {
		e := runtime.ExitOf(0, now)
		e.Reason = fmt.Sprintf("pod %s is gone", pod)
		return e
	}
	_ = os.Remove(file) // nobody else reads it
	end, err := decodeEnd(data)
	if err != nil {
		r.opt.Logger.Warn("how a pod ended cannot be read", "task", t.rec.Spec.TaskID, "file", file, "error", err)
		return runtime.LostExit(fmt.Sprintf("pod %s is gone", pod))
	}
	e := runtime.ExitOf(end.Code, now)
	e.OOM, e.Reason = end.OOM, fmt.Sprintf("container %s of pod %s ended with code %d", end.Container, pod, end.Code)
	return e
}

// end is how a pod's container ended that failed.
type end struct {
	Container string `json:"container"`
	Code      int    `json:"code"`
	OOM       bool   `json:"oom,omitempty"`
}

func decodeEnd(data []byte) (end, error) {
	var e end
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err := dec.Decode(&e)
	return e, err
}
