package swarm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/moby/moby/api/types/mount"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/docker/swarm/orchestrator"
)

// set sets about an effect. It does not wait for it.
func (s *Swarm) set(f orchestrator.Effect) {
	switch f := f.(type) {
	case orchestrator.Launch:
		s.errands.add(f.Task.ID, func(ctx context.Context) error { return s.claim(ctx, f.Task) })
	case orchestrator.Queue:
		s.errands.add(f.Task.ID, func(ctx context.Context) error { return s.queue(ctx, f.Task, f.Nodes) })
	case orchestrator.Stop:
		s.errands.add(f.Task, func(ctx context.Context) error { return s.stop(ctx, f.Pool) })
	case orchestrator.DropTask:
		s.errands.add(f.Task.ID, func(ctx context.Context) error { return s.clear(ctx, f.Task) })
	}
}

// again are errors that pass: the server is full, or another one is taking over.
var again = []connect.Code{connect.CodeUnavailable, connect.CodeResourceExhausted, connect.CodeAborted, connect.CodeDeadlineExceeded}

// patiently repeats what fails for reasons that pass.
func patiently(ctx context.Context, do func() error) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := do()
		if err == nil || !slices.Contains(again, connect.CodeOf(err)) {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// refused tells the machine that a task did not get its place. An error that only says that all ends is nobody's fault.
func (s *Swarm) refused(ctx context.Context, task, why string, room bool) error {
	if ctx.Err() != nil {
		return nil
	}
	return s.step(ctx, orchestrator.Refused{Task: task, Reason: why, Room: room})
}

// claim claims a lease for a task on the node that was chosen for it.
func (s *Swarm) claim(ctx context.Context, t orchestrator.Task) error {
	c, task, more, err := s.prepared(ctx, t)
	if err != nil {
		return s.refused(ctx, t.ID, words(err), false)
	}
	var result *polderv1.CommitResult
	err = patiently(ctx, func() error {
		res, err := s.api.Claims.Commit(ctx, connect.NewRequest(&polderv1.CommitRequest{
			Tasks: []*polderv1.ClaimTask{{Name: askName(c.Name), Role: c.Role, Node: t.Node, Task: task}}}))
		if err == nil {
			result = res.Msg.Results[0]
		}
		return err
	})
	switch {
	case err != nil:
		return s.refused(ctx, t.ID, words(err), false)
	case result.Task == "":
		if !more.Empty() { // it may get a place elsewhere, and is made anew there
			if err := s.opt.Containers.Remove(ctx, c.ID); err != nil {
				s.opt.Logger.Warn("a container that got no lease stays", "container", c.Name, "error", err)
			}
		}
		return s.refused(ctx, t.ID, sentence(result.Conflict), true)
	}
	ask, _, _ := strings.Cut(result.Task, ".")
	return s.accepted(ctx, orchestrator.Report{Task: t.ID, Pool: ask, Node: t.Node, State: orchestrator.Starting}, result.Task)
}

// queue asks for a lease on any of some nodes; or on the first one, if something must be there before the task is.
func (s *Swarm) queue(ctx context.Context, t orchestrator.Task, nodes []string) error {
	if fixed(t) {
		nodes = nodes[:1]
		t.Node = nodes[0]
	}
	c, task, _, err := s.prepared(ctx, t)
	if err != nil {
		return s.refused(ctx, t.ID, words(err), false)
	}
	task.Constraints = append(task.Constraints, "node in ("+strings.Join(nodes, ",")+")")
	var result *polderv1.SubmitResult
	err = patiently(ctx, func() error {
		res, err := s.api.Asks.Submit(ctx, connect.NewRequest(&polderv1.SubmitRequest{
			Asks: []*polderv1.AskSpec{{Name: askName(c.Name), Role: c.Role, Task: task}}}))
		if err == nil {
			result = res.Msg.Results[0]
		}
		return err
	})
	switch {
	case err != nil:
		return s.refused(ctx, t.ID, words(err), false)
	case result.Refused != nil:
		return s.refused(ctx, t.ID, sentence(result.Refused), false)
	}
	return s.accepted(ctx, orchestrator.Report{Task: t.ID, Pool: result.Ask.Id, State: orchestrator.Pending, Reason: sentence(result.Ask.Reason)}, result.Ask.Id+".0")
}

// prepared makes a task ready to go to the pool, and on its node, where that is known, what must be there before.
func (s *Swarm) prepared(ctx context.Context, t orchestrator.Task) (c Container, task *polderv1.TaskSpec, more Extras, err error) {
	c, task, more, err = s.ready(ctx, t)
	if err == nil && t.Node != "" {
		err = patiently(ctx, func() error { return s.opt.Containers.Prepare(ctx, c, t.Node, more) })
	}
	return c, task, more, err
}

// accepted notes what the pool calls a task, and looks at what happened to it before anybody knew whose it is.
func (s *Swarm) accepted(ctx context.Context, r orchestrator.Report, id string) error {
	s.own(r.Pool, r.Task)
	if err := s.step(ctx, r); err != nil {
		return err
	}
	err := patiently(ctx, func() error { return s.refresh(ctx, id) })
	if ctx.Err() == nil && errors.Is(err, errWriting) {
		return err
	}
	return nil // the watch says it, or the next time the pool is read anew
}

// ready makes a task's container out of its template, as it goes to the pool.
func (s *Swarm) ready(ctx context.Context, t orchestrator.Task) (c Container, task *polderv1.TaskSpec, more Extras, err error) {
	s.mu.Lock()
	service, ok := s.m.Service(t.Service)
	s.mu.Unlock()
	if !ok {
		return c, nil, more, fmt.Errorf("service %s was removed", t.Service)
	}
	var tmpl template
	if err := json.Unmarshal(t.Template, &tmpl); err != nil {
		return c, nil, more, err
	}
	if c, err = tmpl.container(service, t, t.Node); err != nil {
		return c, nil, more, err
	}
	for _, n := range tmpl.TaskTemplate.Networks[min(1, len(tmpl.TaskTemplate.Networks)):] {
		more.Networks = append(more.Networks, Attachment{n.Target, append([]string{tmpl.Name}, n.Aliases...)})
	}
	if more.Files, err = s.filesOf(tmpl, service.Role); err != nil {
		return c, nil, more, err
	}
	if task, err = s.opt.Containers.Task(ctx, c); err != nil {
		return c, nil, more, err
	}
	again := false
	task.Requeue, task.Restart = &again, nil
	task.Labels[labelTask], task.Labels[labelService] = t.ID, service.Name
	if task.Health = tmpl.health(); task.Health != nil {
		task.Labels[labelHealth] = "1"
	}
	return c, task, more, nil
}

// fixed reports whether a task's node must be known before its container is: for files, volumes and networks that are to be there, or
// because it asks for the node's name.
func fixed(t orchestrator.Task) bool {
	var tmpl template
	if json.Unmarshal(t.Template, &tmpl) != nil {
		return false
	}
	return len(tmpl.references()) > 0 || len(tmpl.TaskTemplate.Networks) > 1 || tmpl.aboutNode() ||
		slices.ContainsFunc(tmpl.spec().Mounts, func(m mount.Mount) bool { return m.Type == mount.TypeVolume })
}

// stop ends what the pool has under an ask.
func (s *Swarm) stop(ctx context.Context, ask string) error {
	_ = patiently(ctx, func() error {
		_, err := s.api.Asks.Cancel(ctx, connect.NewRequest(&polderv1.CancelRequest{Ids: []string{ask}}))
		if err == nil || connect.CodeOf(err) == connect.CodeNotFound || ctx.Err() != nil {
			return nil
		}
		s.opt.Logger.Warn("a task of a service is not stopped yet", "ask", ask, "error", err)
		return connect.NewError(connect.CodeUnavailable, err) // whatever it is: it is to end
	})
	return s.over(ctx, ask)
}

// over tells of an ask that was withdrawn before it had a task.
func (s *Swarm) over(ctx context.Context, ask string) error {
	s.mu.Lock()
	task := s.asks[ask]
	s.mu.Unlock()
	if task == "" || ctx.Err() != nil {
		return nil
	}
	res, err := s.api.Tasks.List(ctx, connect.NewRequest(&polderv1.TaskServiceListRequest{Ask: ask, All: true}))
	if err != nil {
		return nil // the watch says it
	}
	if len(res.Msg.Tasks) > 0 && res.Msg.Tasks[len(res.Msg.Tasks)-1].State != polderv1.TaskState_TASK_STATE_PENDING {
		return s.step(ctx, s.reportOf(res.Msg.Tasks[len(res.Msg.Tasks)-1]))
	}
	s.mu.Lock()
	delete(s.asks, ask)
	s.mu.Unlock()
	return s.step(ctx, orchestrator.Report{Task: task, Pool: ask, State: orchestrator.Shutdown})
}

// clear removes the container of a task that is forgotten.
func (s *Swarm) clear(ctx context.Context, t orchestrator.Task) error {
	if t.Node == "" {
		return nil
	}
	var err error
	for try := range clearTries {
		if err = s.opt.Containers.Remove(ctx, containerID(t.ID)); err == nil || ctx.Err() != nil {
			return nil
		}
		timer := time.NewTimer(time.Duration(try+1) * time.Second)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
	s.opt.Logger.Warn("the container of an ended task stays", "task", t.ID, "node", t.Node, "error", err)
	return nil
}

// clearTries is how often a container is tried to be removed, a little later each time: an engine may be busy with its end.
const clearTries = 5

var notName = regexp.MustCompile(`[^a-z0-9]+`)

// askName makes a name for an ask of a task's name: what people read in polder ps.
func askName(name string) string {
	s := strings.Trim(notName.ReplaceAllString(strings.ToLower(name), "-"), "-")
	return strings.TrimRight(s[:min(len(s), 40)], "-")
}
