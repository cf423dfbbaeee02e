package swarm

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"polder.dev/polder/door/docker/swarm/orchestrator"
)

// owned is a task with its service.
type owned struct {
	orchestrator.Task
	of orchestrator.Service
}

// tasks are those of services that the caller may view.
func (s *Swarm) tasks(c *call) (out []owned) {
	may := s.viewer(c)
	s.mu.Lock()
	services := s.m.Services()
	s.mu.Unlock()
	services = slices.DeleteFunc(services, func(x orchestrator.Service) bool { return !may(x.Role) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range services {
		for _, t := range s.m.Tasks(x.ID) {
			out = append(out, owned{t, x})
		}
	}
	return out
}

// listTasks is docker service ps, node ps and stack ps.
func (s *Swarm) listTasks(c *call) error {
	if err := c.only("filters"); err != nil {
		return err
	}
	f, err := c.filters("id", "name", "label", "service", "node", "desired-state", "runtime", "_up-to-date")
	if err != nil {
		return err
	}
	out := []swarm.Task{}
	for _, t := range s.tasks(c) {
		if t.Remove {
			continue
		}
		shown, err := s.shownTask(t)
		if err != nil {
			return err
		}
		var of template
		if err := json.Unmarshal(t.of.Spec.Template, &of); err != nil {
			return err
		}
		if t.wanted(f, shown, of.Labels) {
			out = append(out, shown)
		}
	}
	return c.reply(http.StatusOK, out)
}

// wanted applies the filters of a list. Labels are the service's: a task has none of its own.
func (t owned) wanted(f map[string][]string, shown swarm.Task, labels map[string]string) bool {
	exact := func(have string) func(string) bool { return func(v string) bool { return v == have } }
	return matches(f["id"], func(v string) bool { return strings.HasPrefix(t.ID, v) }) &&
		matches(f["name"], func(v string) bool { return strings.HasPrefix(taskName(t.of, t.Task), v) }) &&
		matches(f["service"], func(v string) bool { return v == t.of.Name || v != "" && strings.HasPrefix(t.Service, v) }) &&
		matches(f["node"], func(v string) bool { return v == t.Node || v != "" && strings.HasPrefix(nodeID(t.Node), v) }) &&
		matches(f["desired-state"], exact(string(shown.DesiredState))) && matches(f["runtime"], exact("container")) &&
		matches(f["_up-to-date"], func(v string) bool { return (v == "true" || v == "1") == (t.Print == t.of.Spec.Print) }) &&
		labelled(labels, f["label"])
}

// inspectTask is docker inspect of a task.
func (s *Swarm) inspectTask(c *call) error {
	t, err := s.task(c, c.PathValue("id"))
	if err != nil {
		return err
	}
	out, err := s.shownTask(t)
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, out)
}

func (s *Swarm) task(c *call, ref string) (owned, error) {
	return pick("task", ref, s.tasks(c), func(t owned) string { return t.ID }, func(t owned) string { return taskName(t.of, t.Task) })
}

// messages are what engines say about tasks in each state.
var messages = map[orchestrator.State]string{
	orchestrator.Fresh: "created", orchestrator.Pending: "pending task scheduling", orchestrator.Assigned: "scheduler assigned task to node",
	orchestrator.Starting: "starting", orchestrator.Running: "started", orchestrator.Complete: "finished", orchestrator.Shutdown: "shutdown",
	orchestrator.Failed: "started", orchestrator.Rejected: "preparing", orchestrator.Orphaned: "the node is lost",
}

// shownTask is a task in the Engine API's words.
func (s *Swarm) shownTask(t owned) (swarm.Task, error) {
	out := swarm.Task{ID: t.ID, ServiceID: t.Service, Slot: t.Slot, NodeID: nodeID(t.Node), DesiredState: swarm.TaskState(t.Desired(t.of.Spec.Mode.Job()))}
	if t.Node == "" && t.Bound != "" {
		out.NodeID = nodeID(t.Bound)
	}
	var of swarm.ServiceSpec
	if err := json.Unmarshal(t.Template, &of); err != nil {
		return out, err
	}
	out.Spec, out.Labels = of.TaskTemplate, map[string]string{}
	out.Version.Index, out.CreatedAt, out.UpdatedAt = t.Index, t.Created, t.Since
	out.Status = swarm.TaskStatus{Timestamp: t.Since, State: swarm.TaskState(t.State.String()), Message: messages[t.State], Err: t.Reason}
	if t.State >= orchestrator.Starting {
		status := &swarm.ContainerStatus{ContainerID: containerID(t.ID)}
		if t.Exit != nil {
			status.ExitCode = *t.Exit
		}
		out.Status.ContainerStatus = status
	}
	if t.State == orchestrator.Running && of.EndpointSpec != nil {
		out.Status.PortStatus.Ports = of.EndpointSpec.Ports
	}
	if t.of.Spec.Mode.Job() {
		out.JobIteration = &swarm.Version{Index: t.Iteration}
	}
	return out, nil
}
