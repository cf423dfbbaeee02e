package mesos

import (
	"maps"
	"slices"
	"strings"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/door/mesos/wire/masterv1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

func sortedText(list []string) string {
	return strings.Join(slices.Sorted(slices.Values(list)), ", ")
}

func timeInfo(t time.Time) *mesosv1.TimeInfo {
	if t.IsZero() {
		return nil
	}
	return &mesosv1.TimeInfo{Nanoseconds: new(t.UnixNano())}
}

// agentInfo describes a node as an agent; one that is gone has only its name.
func (d *Door) agentInfo(n *node, name string) *mesosv1.AgentInfo {
	_, port := d.agentAddress()
	out := &mesosv1.AgentInfo{Hostname: &name, Id: &mesosv1.AgentID{Value: &name}, Port: new(int32(port))}
	if n != nil {
		out.Hostname, out.Resources, out.Attributes = new(n.host()), form{}.resources(n.total, n.ports), n.attributeProtos()
	}
	return out
}

func (d *Door) agentOf(n *node) *masterv1.Response_GetAgents_Agent {
	return &masterv1.Response_GetAgents_Agent{
		AgentInfo: d.agentInfo(n, n.name), Active: new(n.state == "ready" || n.state == "cordoned"), Deactivated: new(n.state == "cordoned"),
		Version: new(Version), Pid: new(d.agentPid()), RegisteredTime: timeInfo(n.registered),
		TotalResources: form{}.resources(n.total, n.ports), AllocatedResources: form{}.resources(minus(n.total, n.free), resource.PortSet{}),
		OfferedResources: form{}.resources(n.inOffers(), resource.PortSet{}),
	}
}

// frameworkProto is what somebody may see of a framework.
func (d *Door) frameworkProto(f *framework, v viewer) *masterv1.Response_GetFrameworks_Framework {
	allocated, offered := amounts{}, amounts{}
	for _, p := range f.seen(v) {
		allocated = plus(allocated, p.used)
	}
	out := &masterv1.Response_GetFrameworks_Framework{
		FrameworkInfo: f.info, Active: new(f.stream != nil), Connected: new(f.stream != nil), Recovered: new(f.reregistered.IsZero()),
		RegisteredTime: timeInfo(f.registered), ReregisteredTime: timeInfo(f.reregistered), UnregisteredTime: timeInfo(f.awaySince),
	}
	for _, id := range slices.Sorted(maps.Keys(f.offers)) {
		o := f.offers[id]
		if !v.all && !v.paths[o.to.path] {
			continue
		}
		offered = plus(offered, plus(o.regular, o.revocable))
		shown := d.offerProto(f, o)
		shown.ExecutorIds = f.executorsOn(o.node, v)
		out.Offers = append(out.Offers, shown)
	}
	for _, id := range slices.Sorted(maps.Keys(f.inverse)) {
		x := f.inverse[id]
		out.InverseOffers = append(out.InverseOffers, &mesosv1.InverseOffer{
			Id: &mesosv1.OfferID{Value: &x.id}, FrameworkId: &mesosv1.FrameworkID{Value: &f.id}, AgentId: &mesosv1.AgentID{Value: &x.node},
			Unavailability: &mesosv1.Unavailability{Start: timeInfo(x.deadline)}, Resources: form{}.resources(x.amount, resource.PortSet{}),
		})
	}
	out.AllocatedResources = form{}.resources(allocated, resource.PortSet{})
	out.OfferedResources = form{}.resources(offered, resource.PortSet{})
	return out
}

func (d *Door) taskProto(t *task) *mesosv1.Task {
	out := &mesosv1.Task{
		Name: t.info.Name, TaskId: t.info.TaskId, FrameworkId: &mesosv1.FrameworkID{Value: &t.fw.id}, AgentId: &mesosv1.AgentID{Value: new(t.node)},
		State: t.state.Enum(), Resources: t.info.Resources, Statuses: t.statuses, Labels: t.info.Labels, Discovery: t.info.Discovery,
		Container: t.info.Container, HealthCheck: t.info.HealthCheck, KillPolicy: t.info.KillPolicy,
	}
	if t.executor != nil {
		out.ExecutorId = &mesosv1.ExecutorID{Value: new(t.executor.id)}
	}
	if n := len(t.statuses); n > 0 {
		out.StatusUpdateState, out.StatusUpdateUuid = t.sent.Enum(), t.statuses[n-1].Uuid
	}
	return out
}

func (d *Door) executorProto(e *executor) *masterv1.Response_GetExecutors_Executor {
	return &masterv1.Response_GetExecutors_Executor{ExecutorInfo: e.info, AgentId: &mesosv1.AgentID{Value: new(e.node)}}
}

// Events of the operator's stream.
func agentAdded(a *masterv1.Response_GetAgents_Agent) *masterv1.Event {
	return &masterv1.Event{Type: masterv1.Event_AGENT_ADDED.Enum(), AgentAdded: &masterv1.Event_AgentAdded{Agent: a}}
}

func agentRemoved(name string) *masterv1.Event {
	return &masterv1.Event{Type: masterv1.Event_AGENT_REMOVED.Enum(), AgentRemoved: &masterv1.Event_AgentRemoved{AgentId: &mesosv1.AgentID{Value: &name}}}
}

func frameworkAdded(f *masterv1.Response_GetFrameworks_Framework) *masterv1.Event {
	return &masterv1.Event{Type: masterv1.Event_FRAMEWORK_ADDED.Enum(), FrameworkAdded: &masterv1.Event_FrameworkAdded{Framework: f}}
}

func frameworkUpdated(f *masterv1.Response_GetFrameworks_Framework) *masterv1.Event {
	return &masterv1.Event{Type: masterv1.Event_FRAMEWORK_UPDATED.Enum(), FrameworkUpdated: &masterv1.Event_FrameworkUpdated{Framework: f}}
}

func frameworkRemoved(f *masterv1.Response_GetFrameworks_Framework) *masterv1.Event {
	return &masterv1.Event{Type: masterv1.Event_FRAMEWORK_REMOVED.Enum(), FrameworkRemoved: &masterv1.Event_FrameworkRemoved{FrameworkInfo: f.FrameworkInfo}}
}

func taskAdded(t *mesosv1.Task) *masterv1.Event {
	return &masterv1.Event{Type: masterv1.Event_TASK_ADDED.Enum(), TaskAdded: &masterv1.Event_TaskAdded{Task: t}}
}

func taskUpdated(t *task, s *mesosv1.TaskStatus) *masterv1.Event {
	return &masterv1.Event{Type: masterv1.Event_TASK_UPDATED.Enum(), TaskUpdated: &masterv1.Event_TaskUpdated{
		FrameworkId: &mesosv1.FrameworkID{Value: &t.fw.id}, Status: s, State: t.state.Enum(),
	}}
}
