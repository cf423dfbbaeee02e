package server

import (
	"context"
	"slices"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
)

// reported feeds an agent's report to the cluster.
func (t *turn) reported(node string, r cluster.TaskReport) error {
	r, ok := t.settled(node, r)
	if !ok {
		return nil
	}
	_, err := t.step(cluster.Report{Node: node, Task: r})
	return err
}

func (t *turn) settledAll(node string, tasks []cluster.TaskReport) []cluster.TaskReport {
	var out []cluster.TaskReport
	for _, r := range tasks {
		if r, ok := t.settled(node, r); ok {
			out = append(out, r)
		}
	}
	return out
}

var noticeKinds = []cluster.NoticeKind{cluster.ForClaim, cluster.ForPlan, cluster.ForWindow, cluster.ForDrain}

// settled replaces what an agent says a task is by what the task is known to be. It is false for a report that names only
// a task, and one that is not on the node: nobody waits for that.
func (t *turn) settled(node string, r cluster.TaskReport) (cluster.TaskReport, bool) {
	v, known := t.cluster.Task(r.Task)
	switch {
	case known && v.Node == node:
		r.Ask, r.Index, r.Attempt, r.Gang, r.Role = v.Ask, v.Index, v.Attempt, v.Gang, v.Role
	case r.Ask == "" || r.Role == "":
		return r, false
	default:
		a, _ := t.cluster.Ask(r.Ask)
		r.Role = a.Role // the ask's, or of no role when nobody knows the ask
	}
	if n := r.Notice; n != nil {
		if s := t.sessions[node]; len(s.asked) < maxReports {
			s.asked[r.Task] = *n
		}
		known := v.Notice
		if known == nil || known.ID != n.ID {
			known = n
		}
		own := *known
		if !slices.Contains(noticeKinds, own.Kind) {
			own.Kind = cluster.ForClaim
		}
		own.Deadline, own.State, own.Task, own.Role, own.Node = n.Deadline, n.State, r.Task, r.Role, node
		r.Notice = &own
	}
	return r, true
}

// noticed takes news about a notice: the agent has it, the task answered.
func (a agents) noticed(ctx context.Context, s *session, n *polderv1.NoticeReport) error {
	deadline, err := timeCore(n.Deadline, "notice.deadline")
	if err != nil {
		return err
	}
	released, err := kindAmounts(n.Released, "notice.released")
	if err != nil {
		return err
	}
	return a.feedFrom(ctx, s, func(t *turn) error {
		v, ok := t.cluster.Task(n.Task)
		if !ok || v.Node != s.node || v.Notice == nil || v.Notice.ID != n.Notice {
			return nil // it is over, or was never this node's
		}
		if n.Accepted {
			if _, err := t.step(cluster.Accepted{Task: n.Task, Notice: n.Notice, Deadline: deadline}); err != nil {
				return err
			}
		}
		before := v.Notice.Amount
		if first, ok := s.asked[n.Task]; ok && first.ID == n.Notice {
			before = first.Amount // a leader since then knows only what the lease had when it began to lead
		}
		more := stillHeld(released, before, v.Resources)
		if !n.Done && len(more) == 0 {
			return nil
		}
		_, err := t.step(cluster.Answer{Task: n.Task, Done: n.Done, Released: more})
		return err
	})
}

// stillHeld is what of all that a task released under its notice the lease still holds. Agents say the total again in
// every session; what the lease had when the notice was given, less what it has now, was taken off it before.
func stillHeld(total, before, now resource.Resources) resource.Resources {
	before, now = byKind(before), byKind(now)
	out := resource.Resources{}
	for _, kind := range total.Names() {
		if more := total[kind].Sub(max(0, before[kind].Sub(now[kind]))); more > 0 {
			out[kind] = more
		}
	}
	return out
}

// byKind leaves the pool out of the names.
func byKind(r resource.Resources) resource.Resources {
	out := make(resource.Resources, len(r))
	for name, a := range r {
		_, kind := resource.SplitName(name)
		out[kind] = a
	}
	return out
}

// agentEvent puts what an agent tells into the event stream.
func (t *turn) agentEvent(node string, e *polderv1.AgentEvent) {
	h := cluster.Happened{Kind: "Agent" + clip(e.GetKind(), 64), Subject: node, Node: node, Message: clip(e.GetMessage(), 1024)}
	if v, ok := t.working.tasks.Get(e.GetTask()); ok && v.Node == node {
		h.Subject, h.Role = v.Task, v.Role
	}
	t.happened(h)
}
