package swarm

import (
	"context"
	"errors"
	"strings"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/docker/swarm/orchestrator"
)

// For how many tasks places are asked for in one request, and how many requests there are at a time: each waits until it is durable. The
// server takes so many of the longest descriptions.
const (
	placesAtOnce   = 100
	requestsAtOnce = 16
)

// placing is a task that a place is asked for.
type placing struct {
	id   string
	c    Container
	task *polderv1.TaskSpec
	node string // that was chosen for it; empty is any that it may have
}

// placed is what came of it: the place, why it has none, or that what it has cannot be written down.
type placed struct {
	report  orchestrator.Report
	checked bool // it has a health check
	against *polderv1.Reason
	lost    error
}

// claim claims a lease for a task on the node that was chosen for it.
func (s *Swarm) claim(ctx context.Context, t orchestrator.Task, by lazy) error {
	c, task, more, err := s.prepared(ctx, t, by)
	if err != nil {
		return s.refused(ctx, t.ID, words(err), false)
	}
	got, err := s.claims.want(ctx, placing{t.ID, c, task, t.Node})
	switch {
	case err != nil:
		return s.refused(ctx, t.ID, words(err), false)
	case got.against == nil:
		return got.lost
	}
	if !more.Empty() { // it may get a place elsewhere, and is made anew there
		if err := s.opt.Containers.Remove(ctx, c.ID); err != nil {
			s.opt.Logger.Warn("a container that got no lease stays", "container", c.Name, "error", err)
		}
	}
	return s.refused(ctx, t.ID, sentence(got.against), true)
}

// commit claims leases, and notes which it got.
func (s *Swarm) commit(ctx context.Context, tasks []placing) ([]placed, error) {
	m := &polderv1.CommitRequest{}
	for _, p := range tasks {
		m.Tasks = append(m.Tasks, &polderv1.ClaimTask{Name: askName(p.c.Name), Role: p.c.Role, Node: p.node, Task: p.task})
	}
	return s.asked(ctx, func() ([]placed, error) {
		res, err := s.api.Claims.Commit(ctx, connect.NewRequest(m))
		if err != nil {
			return nil, err
		}
		out := make([]placed, len(tasks))
		for i, r := range res.Msg.Results {
			ask, _, _ := strings.Cut(r.Task, ".")
			out[i] = placed{report: orchestrator.Report{Task: tasks[i].id, Pool: ask, Node: tasks[i].node, State: orchestrator.Starting},
				checked: tasks[i].task.Health != nil, against: r.Conflict}
		}
		return out, nil
	})
}

// queue asks for a lease on any of some nodes; or on the first one, if something must be there before the task is.
func (s *Swarm) queue(ctx context.Context, t orchestrator.Task, by lazy, nodes []string) error {
	if tmpl, err := by(); err == nil && tmpl.fixed() {
		nodes = nodes[:1]
		t.Node = nodes[0]
	}
	c, task, _, err := s.prepared(ctx, t, by)
	if err != nil {
		return s.refused(ctx, t.ID, words(err), false)
	}
	task.Constraints = append(task.Constraints, "node in ("+strings.Join(nodes, ",")+")")
	got, err := s.queued.want(ctx, placing{id: t.ID, c: c, task: task})
	switch {
	case err != nil:
		return s.refused(ctx, t.ID, words(err), false)
	case got.against != nil:
		return s.refused(ctx, t.ID, sentence(got.against), false)
	}
	return got.lost
}

// submit puts asks into the pool's queue, and notes which it has taken.
func (s *Swarm) submit(ctx context.Context, tasks []placing) ([]placed, error) {
	m := &polderv1.SubmitRequest{}
	for _, p := range tasks {
		m.Asks = append(m.Asks, &polderv1.AskSpec{Name: askName(p.c.Name), Role: p.c.Role, Task: p.task})
	}
	return s.asked(ctx, func() ([]placed, error) {
		res, err := s.api.Asks.Submit(ctx, connect.NewRequest(m))
		if err != nil {
			return nil, err
		}
		out := make([]placed, len(tasks))
		for i, r := range res.Msg.Results {
			out[i] = placed{report: orchestrator.Report{Task: tasks[i].id, Pool: r.Ask.GetId(), State: orchestrator.Pending, Reason: sentence(r.Ask.GetReason())},
				checked: tasks[i].task.Health != nil, against: r.Refused}
		}
		return out, nil
	})
}

// asked asks for places and notes which of them the pool gave, or may give. Meanwhile the pool may tell of them, so then it is noted of what.
func (s *Swarm) asked(ctx context.Context, request func() ([]placed, error)) (out []placed, err error) {
	s.asks.begin()
	defer s.asks.end()
	err = patiently(ctx, func() (err error) {
		out, err = request()
		return err
	})
	if err != nil {
		return nil, err
	}
	if lost := s.accepted(ctx, out); lost != nil {
		for i := range out {
			out[i].lost = lost
		}
	}
	return out, nil
}

// accepted tells the machine what the pool has, and looks at that of which more was told before it was known than that it has started. The
// pool's queue may have given a place to what it got at once, so that is looked at in any case.
func (s *Swarm) accepted(ctx context.Context, all []placed) error {
	var news orchestrator.Batch
	for i := range all {
		p := &all[i]
		if p.report.State == orchestrator.Starting && !p.checked && s.asks.told(p.report.Pool) == saidStarted {
			p.report.State = orchestrator.Running
		}
		if p.against == nil {
			news = append(news, p.report)
		}
	}
	if err := s.step(ctx, news); err != nil {
		return err
	}
	var look []string
	for _, p := range all {
		if p.against != nil {
			continue
		}
		told := s.asks.own(p.report.Pool, whose{p.report.Task, p.checked})
		if told == saidMore || told == saidStarted && p.report.State != orchestrator.Running || p.report.State == orchestrator.Pending {
			look = append(look, p.report.Pool+".0")
		}
	}
	err := patiently(ctx, func() error { return s.refresh(ctx, look) })
	if ctx.Err() == nil && errors.Is(err, errWriting) {
		return err
	}
	return nil // the watch says it, or the next time the pool is read anew
}
