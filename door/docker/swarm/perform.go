package swarm

import (
	"context"
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
func (s *Swarm) set(f orchestrator.Effect, by templates) {
	switch f := f.(type) {
	case orchestrator.Launch:
		tmpl := by.of(f.Task)
		s.errands.add(f.Task.ID, func(ctx context.Context) error { return s.claim(ctx, f.Task, tmpl) })
	case orchestrator.Queue:
		tmpl := by.of(f.Task)
		s.errands.add(f.Task.ID, func(ctx context.Context) error { return s.queue(ctx, f.Task, tmpl, f.Nodes) })
	case orchestrator.Stop:
		s.errands.add(f.Task, func(ctx context.Context) error {
			_, err := s.stops.want(ctx, f.Pool)
			return err
		})
	case orchestrator.DropTask:
		s.errands.add(f.Task.ID, func(ctx context.Context) error {
			return s.errands.few(ctx, func() error { return s.clear(ctx, f.Task) })
		})
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

// prepared makes a task ready to go to the pool, and on its node, where that is known, what must be there before.
func (s *Swarm) prepared(ctx context.Context, t orchestrator.Task, by lazy) (c Container, task *polderv1.TaskSpec, more Extras, err error) {
	if c, task, more, err = s.ready(ctx, t, by); err != nil || t.Node == "" {
		return c, task, more, err
	}
	return c, task, more, patiently(ctx, func() error {
		return s.errands.few(ctx, func() error { return s.opt.Containers.Prepare(ctx, c, t.Node, more) })
	})
}

// ready makes a task's container out of its template, as it goes to the pool.
func (s *Swarm) ready(ctx context.Context, t orchestrator.Task, by lazy) (c Container, task *polderv1.TaskSpec, more Extras, err error) {
	s.mu.Lock()
	service, ok := s.m.Service(t.Service)
	s.mu.Unlock()
	if !ok {
		return c, nil, more, fmt.Errorf("service %s was removed", t.Service)
	}
	tmpl, err := by()
	if err != nil {
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

// fixed reports whether the node of a task must be known before its container is: for files, volumes and networks that are to be there, or
// because it asks for the node's name.
func (t template) fixed() bool {
	return len(t.references()) > 0 || len(t.TaskTemplate.Networks) > 1 || t.aboutNode() ||
		slices.ContainsFunc(t.spec().Mounts, func(m mount.Mount) bool { return m.Type == mount.TypeVolume })
}

// stop ends what the pool has under asks. One that it does not know would be everybody's error, so then each is stopped alone.
func (s *Swarm) stop(ctx context.Context, asks []string) ([]struct{}, error) {
	err := patiently(ctx, func() error {
		_, err := s.api.Asks.Cancel(ctx, connect.NewRequest(&polderv1.CancelRequest{Ids: asks}))
		if err == nil || connect.CodeOf(err) == connect.CodeNotFound || ctx.Err() != nil {
			return err
		}
		s.opt.Logger.Warn("tasks of services are not stopped yet", "asks", asks, "error", err)
		return connect.NewError(connect.CodeUnavailable, err) // whatever it is: they are to end
	})
	if err != nil && len(asks) > 1 {
		return nil, err
	}
	return make([]struct{}, len(asks)), s.over(ctx, asks)
}

// over tells of asks that were withdrawn before they had a task.
func (s *Swarm) over(ctx context.Context, asks []string) error {
	asks = slices.DeleteFunc(slices.Clone(asks), func(ask string) bool { _, ours := s.asks.of(ask); return !ours })
	if len(asks) == 0 || ctx.Err() != nil {
		return nil
	}
	ids := make([]string, len(asks))
	for i, ask := range asks {
		ids[i] = ask + ".0"
	}
	res, err := s.api.Tasks.List(ctx, connect.NewRequest(&polderv1.TaskServiceListRequest{Ids: ids, All: true, PageSize: placesAtOnce}))
	if err != nil {
		return nil // the watch says it
	}
	var news orchestrator.Batch
	begun := map[string]bool{}
	for _, t := range res.Msg.Tasks {
		if t.State != polderv1.TaskState_TASK_STATE_PENDING {
			begun[t.Ask] = true
			news = append(news, s.reportOf(t))
		}
	}
	for _, ask := range asks {
		if task, _ := s.asks.of(ask); !begun[ask] {
			s.asks.forget(ask)
			news = append(news, orchestrator.Report{Task: task, Pool: ask, State: orchestrator.Shutdown})
		}
	}
	return s.step(ctx, news)
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
