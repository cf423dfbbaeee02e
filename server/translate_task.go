package server

import (
	"google.golang.org/protobuf/types/known/durationpb"

	"polder.dev/polder/agent/runtime"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/role"
)

// specOf is the spec behind a payload.
func specOf(payload any) *polderv1.TaskSpec {
	s, _ := payload.(*polderv1.TaskSpec)
	return s
}

func taskProto(t cluster.TaskView) *polderv1.Task {
	out := &polderv1.Task{
		Id: t.Task, Ask: t.Ask, Index: uint32(t.Index), Attempt: uint32(t.Attempt), Role: t.Role, Node: t.Node,
		State: polderv1.TaskState(t.State), Resources: amountsProto(t.Resources), Funding: t.Funding,
		ReclaimGrace: durationpb.New(t.ReclaimGrace), Hold: durationpb.New(t.Hold), Notice: noticeProto(t.Notice),
		Created: timeProto(t.Created), Started: timeProto(t.Started), Ended: timeProto(t.Ended),
		ExitCode: exitProto(t.ExitCode), Reason: reasonProto(t.Reason), Ports: portsProto(t.Ports), Health: t.Health,
		Priority: int32(t.Shape.Priority), Preemptible: !t.Shape.Pinned, Cost: costProto(t.Cost),
	}
	if s := specOf(t.Payload); s != nil {
		out.Runtime, out.Labels, out.Container = runtimeOf(s), s.Labels, s.GetContainer().GetId()
	}
	return out
}

func leaseProto(t cluster.TaskView) *polderv1.Lease {
	out := &polderv1.Lease{
		Task: t.Task, Role: t.Role, Node: t.Node, Resources: amountsProto(t.Resources), Funding: t.Funding,
		ReclaimGrace: durationpb.New(t.ReclaimGrace), Hold: durationpb.New(t.Hold), Since: timeProto(t.Created),
	}
	if t.Notice != nil && t.Notice.State == cluster.NoticeOpen {
		out.LeavesBy = timeProto(t.Notice.Deadline)
	}
	return out
}

func exitProto(code *int) *int32 {
	if code == nil {
		return nil
	}
	out := int32(*code)
	return &out
}

func exitCore(code *int32) *int {
	if code == nil {
		return nil
	}
	out := int(*code)
	return &out
}

func portsProto(ports map[string]uint16) map[string]uint32 {
	out := make(map[string]uint32, len(ports))
	for name, p := range ports {
		out[name] = uint32(p)
	}
	return out
}

// rareProto is what most reports have nothing of.
func rareProto(r *cluster.TaskReport) *polderv1.TaskReport {
	return &polderv1.TaskReport{ExitCode: exitProto(r.ExitCode), Reason: reasonProto(r.Reason), Notice: noticeProto(r.Notice), Cost: costProto(r.Cost)}
}

func costProto(c cluster.Cost) *polderv1.TaskCost {
	if c == (cluster.Cost{}) {
		return nil
	}
	return &polderv1.TaskCost{Guarded: c.Guarded, Amount: c.Amount}
}

func costCore(c *polderv1.TaskCost) cluster.Cost {
	return cluster.Cost{Guarded: c.GetGuarded(), Amount: c.GetAmount()}
}

// interned finds the shape and the one spec of an ask's tasks, so that its thousand tasks share one.
type interned func(ask string) (cluster.Shape, *polderv1.TaskSpec, bool)

// agentReport reads an agent's report. One that names only the task is complete once the writer has looked the task up;
// what it says of its notice beyond the notice's own words is not believed.
func agentReport(node string, r *polderv1.TaskReport, known interned) (cluster.TaskReport, error) {
	a := r.GetAssignment()
	if !runtime.ValidTaskID(a.GetTask()) || a.GetAsk() != "" && !runtime.ValidTaskID(a.GetAsk()) {
		return cluster.TaskReport{}, invalid("assignment", "task %q of ask %q: not the ids of a task and an ask", clip(a.GetTask(), 200), clip(a.GetAsk(), 200))
	}
	if a.GetAsk() == "" || a.GetRole() == "" {
		out, err := newsCore(a.Task, r)
		out.Task, out.Node = a.Task, node
		return out, err
	}
	out, err := reportCore(node, r, known)
	if err == nil {
		err = countable(out.Resources, "assignment.resources")
	}
	if err == nil && out.Notice != nil {
		err = countable(out.Notice.Amount, "notice.amount")
	}
	return out, err
}

// reportCore reads a report. Errors name the task and the field.
func reportCore(node string, r *polderv1.TaskReport, known interned) (cluster.TaskReport, error) {
	assignment, err := assignmentCore(node, r.GetAssignment(), known)
	if err != nil {
		return cluster.TaskReport{}, err
	}
	out, err := newsCore(assignment.Task, r)
	out.Assignment = assignment
	return out, err
}

// newsCore reads everything of a report but the assignment.
func newsCore(task string, r *polderv1.TaskReport) (cluster.TaskReport, error) {
	out := cluster.TaskReport{State: cluster.State(r.GetState()), ExitCode: exitCore(r.ExitCode), Reason: reasonCore(r.Reason), Health: r.GetHealth()}
	var err error
	if out.State < cluster.Starting || out.State > cluster.Lost {
		return out, invalid("state", "task %s: %v is not a state of a task with a lease", task, r.GetState())
	}
	if out.Started, err = timeCore(r.Started, "started"); err != nil {
		return out, err
	}
	if out.Ended, err = timeCore(r.Ended, "ended"); err != nil {
		return out, err
	}
	out.Notice, err = noticeCore(r.Notice, "notice")
	return out, err
}

func assignmentCore(node string, a *polderv1.Assignment, known interned) (cluster.Assignment, error) {
	at := "assignment"
	if a.GetTask() == "" || a.GetAsk() == "" || !role.ValidPath(a.GetRole()) {
		return cluster.Assignment{}, invalid(at, "task %q, ask %q, role %q: all three must be given", a.GetTask(), a.GetAsk(), a.GetRole())
	}
	out := cluster.Assignment{
		Task: a.Task, Ask: a.Ask, Index: int(a.Index), Attempt: int(a.Attempt), Gang: a.Gang, Role: a.Role, Node: node,
		Ports: map[string]uint16{}, Funding: a.Funding,
	}
	var err error
	if shape, spec, ok := known(a.Ask); ok {
		out.Shape, out.Payload = shape, spec
	} else if out.Shape, err = shapeOf(a.Spec, at+".spec"); err != nil {
		return out, err
	} else {
		out.Payload = a.Spec
	}
	if out.Resources, err = amountsCore(a.Resources, at+".resources"); err != nil {
		return out, err
	}
	for name, p := range a.Ports {
		if p == 0 || p > 65535 {
			return out, invalid(role.JoinKey(at+".ports", name), "%d is not a port", p)
		}
		out.Ports[name] = uint16(p)
	}
	if d, err := durationCore(a.ReclaimGrace, at+".reclaim_grace"); err != nil {
		return out, err
	} else if d != nil {
		out.ReclaimGrace = *d
	}
	if d, err := durationCore(a.MinRuntime, at+".min_runtime"); err != nil {
		return out, err
	} else if d != nil {
		out.MinRuntime = *d
	}
	out.Created, err = timeCore(a.Created, at+".created")
	return out, err
}
