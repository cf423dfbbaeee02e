package docker

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/cgroup"
)

// Labels of a container that is a task. Others may read them; only this package writes them.
const (
	labelPrefix = "polder."
	labelTask   = "polder.task"
	labelAgent  = "polder.agent"
	labelRole   = "polder.role"
	labelNode   = "polder.node"
	labelFunded = "polder.funded" // as launched
	labelCPU    = "polder.cpu"    // thousandths of a core
)

// Labels of a container that a door made. LabelContainer is the door's id, LabelRemove is there when the container is to go
// with its task; a door reads both.
const (
	LabelContainer = "polder.container"
	LabelAgent     = labelAgent
	LabelRole      = labelRole
	LabelRemove    = "polder.remove"
)

// LabelVolume is on a volume of the engine that stands for one of the pool, by the same name: the task whose lease that is. Users set no such label.
const LabelVolume = "polder.volume"

// IsSandbox reports whether a mount, as engines list it, is the one that every container of a door has and no other: an image, and so
// what a builder runs of it, can bring each of the labels, but no directory of the machine.
func IsSandbox(kind, target string) bool { return kind == "bind" && target == SandboxPath }

// ofDoors leaves out containers that only say that they are a door's.
func ofDoors(list []container.Summary) []container.Summary {
	return slices.DeleteFunc(list, func(c container.Summary) bool {
		return !slices.ContainsFunc(c.Mounts, func(m container.MountPoint) bool { return IsSandbox(string(m.Type), m.Destination) })
	})
}

func containerName(taskID string) string { return "polder-" + taskID }

// labels are the spec's own, then Polder's: those cannot be forged by a spec.
func (r *Runtime) labels(spec runtime.Spec) map[string]string {
	l := map[string]string{}
	maps.Copy(l, spec.Labels)
	l[labelTask], l[labelAgent], l[labelRole], l[labelNode] = spec.TaskID, r.opt.Agent, spec.Role, spec.Node
	l[labelFunded], l[labelCPU] = spec.FundedOrBorrowed(), strconv.FormatInt(spec.CPU, 10)
	return l
}

// taskOf is what the cgroup tree needs to know, read back from the labels.
func taskOf(labels map[string]string) cgroup.Task {
	cpu, _ := strconv.ParseInt(labels[labelCPU], 10, 64)
	return cgroup.Task{ID: labels[labelTask], Role: labels[labelRole], Funded: labels[labelFunded], CPU: cpu, Engine: true}
}

// taskOf is what the cgroup tree needs to know of the task in a container.
func (r *Runtime) taskOf(c container.InspectResponse) cgroup.Task {
	if h, ok := r.holdingOf(c.Config.Labels[LabelContainer]); ok {
		return cgroup.Task{ID: h.Task, Role: h.Role, Funded: h.Funded, CPU: h.CPU, Engine: true}
	}
	return taskOf(c.Config.Labels)
}

// statusOf reads a task out of its container.
func (r *Runtime) statusOf(c container.InspectResponse) runtime.Status {
	l := c.Config.Labels
	st := runtime.Status{TaskID: l[labelTask], Role: l[labelRole], Node: l[labelNode], Funded: l[labelFunded],
		Labels: map[string]string{}, State: runtime.Running, Isolation: "container", StartedAt: instant(c.State.StartedAt)}
	for k, v := range l {
		if !strings.HasPrefix(k, labelPrefix) {
			st.Labels[k] = v
		}
	}
	if h, ok := r.holdingOf(l[LabelContainer]); ok {
		st.TaskID, st.Funded = h.Task, h.Funded
	}
	switch {
	case r.over(st.TaskID, c):
		e := exitOf(c.State)
		st.State, st.Exit = runtime.Exited, &e
	case c.State.Status == container.StateCreated:
		st.State = runtime.Starting
	default:
		st.PID = c.State.Pid
	}
	return st
}

// ended reports whether a container has run and is over.
func ended(s *container.State) bool {
	return s.Status == container.StateExited || s.Status == container.StateDead || s.Status == container.StateRemoving
}

func exitOf(s *container.State) runtime.Exit {
	e := runtime.ExitOf(s.ExitCode, instant(s.FinishedAt))
	e.OOM, e.Reason = s.OOMKilled, s.Error
	if e.OOM {
		e.Reason = strings.TrimSpace("over its memory limit " + s.Error)
	}
	return e
}

// instant reads the engine's time; what it does not know yet is the zero time.
func instant(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}
