package swarm

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/door/docker/swarm/orchestrator"
)

// Labels of the pool's tasks that are tasks of services.
const (
	labelTask    = "docker.swarm.task"
	labelService = "docker.swarm.service"
	labelHealth  = "docker.swarm.health" // it counts as running only when it is healthy
)

// follow tells the machine what happens in the pool until ctx ends. What it missed it reads anew.
func (s *Swarm) follow(ctx context.Context) error {
	for {
		all, inner := errgroup.WithContext(ctx)
		told := make(chan struct{})
		all.Go(func() error { return s.followNodes(inner, told) })
		all.Go(func() error { return s.followTasks(inner, told) })
		all.Go(func() error { return s.followReasons(inner) })
		err := all.Wait()
		if ctx.Err() != nil || errors.Is(err, errWriting) {
			return cmp.Or(context.Cause(ctx), err)
		}
		s.opt.Logger.Warn("swarm mode lost sight of the pool and reads it anew", "error", err)
		timer := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// followNodes tells of every node with an engine, then of every change. told is closed when all were told.
func (s *Swarm) followNodes(ctx context.Context, told chan<- struct{}) error {
	complete, seen := false, map[string]bool{}
	return s.api.WatchNodes(ctx, &polderv1.ClaimServiceWatchRequest{}, func(m *polderv1.ClaimServiceWatchResponse) error {
		s.meet(ctx, m.Nodes)
		var news orchestrator.Batch
		for _, n := range m.Nodes {
			seen[n.Name] = true
			news = append(news, s.newsOf(n))
		}
		for _, name := range m.Removed {
			news = append(news, s.nodeGone(name))
		}
		first := m.SnapshotComplete && !complete
		if first {
			complete = true
			news = append(news, s.unseen(seen)...)
		}
		err := s.step(ctx, news)
		if first && err == nil {
			close(told)
		}
		return err
	})
}

// meet asks nodes that were not met before, or came back, which engine they have.
func (s *Swarm) meet(ctx context.Context, nodes []*polderv1.Node) {
	var all errgroup.Group
	all.SetLimit(32)
	for _, n := range nodes {
		s.mu.Lock()
		old, met := s.nodes[n.Name]
		_, known := s.engines[n.Name]
		s.mu.Unlock()
		if !hasEngine(n) || known && met && (old.State != "unreachable" || n.State == "unreachable") || n.State == "unreachable" {
			continue
		}
		all.Go(func() error {
			if e, ok := s.opt.Containers.Engine(ctx, n.Name); ok {
				s.mu.Lock()
				s.engines[n.Name] = e
				s.mu.Unlock()
			}
			return nil
		})
	}
	_ = all.Wait() // none fails
}

func hasEngine(n *polderv1.Node) bool {
	for _, r := range n.Runtimes {
		if r == "docker" {
			return true
		}
	}
	return false
}

// newsOf is a node as the machine sees it. One without an engine is not there.
func (s *Swarm) newsOf(p *polderv1.Node) orchestrator.Event {
	if !hasEngine(p) && p.State != "unreachable" || p.Pool != "" {
		return s.nodeGone(p.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[p.Name] = p
	n := orchestrator.Node{Name: p.Name, ID: nodeID(p.Name), State: p.State, Attributes: p.Attributes, Labels: s.vault[nodeID(p.Name)].Labels, Free: amountsOf(p.Available)}
	e := s.engines[p.Name]
	n.Engine, n.Arch = e.ID, e.Arch
	if n.Engine == "" {
		n.Engine = n.Name
	}
	return orchestrator.PutNode{Node: n}
}

func (s *Swarm) nodeGone(name string) orchestrator.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.nodes, name)
	return orchestrator.RemoveNode{Name: name}
}

// unseen are nodes of an earlier watch that are gone since.
func (s *Swarm) unseen(seen map[string]bool) (out orchestrator.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.nodes {
		if !seen[name] {
			delete(s.nodes, name)
			out = append(out, orchestrator.RemoveNode{Name: name})
		}
	}
	return out
}

// amountsOf reads amounts by full name; those of the pool without a name have none before theirs.
func amountsOf(m map[string]string) (a orchestrator.Amounts) {
	cpu, _ := resource.ParseValue("cpu", cmp.Or(m["cpu"], "0")) // the server writes what can be read
	memory, _ := resource.ParseValue("memory", cmp.Or(m["memory"], "0"))
	gpus, _ := resource.ParseValue("gpu", cmp.Or(m["gpu"], "0"))
	return orchestrator.Amounts{Milli: int64(cpu), Memory: int64(memory), GPUs: int64(gpus) / 1000}
}

// followTasks tells of every task of a service that the pool has, then of what becomes of them.
func (s *Swarm) followTasks(ctx context.Context, told <-chan struct{}) error {
	list, err := s.api.Events.List(ctx, connect.NewRequest(&polderv1.EventServiceListRequest{PageSize: 1}))
	if err != nil {
		return err
	}
	select {
	case <-told:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := s.adopt(ctx); err != nil {
		return err
	}
	return s.api.WatchEvents(ctx, &polderv1.EventServiceWatchRequest{FromRevision: list.Msg.Revision}, func(list []*polderv1.Event) error {
		begun, look := s.news(list)
		if len(begun) > 0 {
			if err := s.step(ctx, begun); err != nil {
				return err
			}
		}
		return s.refresh(ctx, look)
	})
}

// adopt tells of every task of a service that runs or waits in the pool.
func (s *Swarm) adopt(ctx context.Context) error {
	s.mu.Lock()
	had := s.m.Placed()
	s.mu.Unlock()
	var news orchestrator.Batch
	tasks := &polderv1.TaskServiceListRequest{PageSize: 1000, All: true}
	for more := true; more; more = tasks.PageToken != "" {
		res, err := s.api.Tasks.List(ctx, connect.NewRequest(tasks))
		if err != nil {
			return err
		}
		for _, t := range res.Msg.Tasks {
			if t.Labels[labelTask] != "" {
				news = append(news, s.reportOf(t))
			}
		}
		tasks.PageToken = res.Msg.NextPageToken
	}
	waiting, err := s.waiting(ctx)
	if err != nil {
		return err
	}
	if err := s.step(ctx, append(append(news, waiting...), orchestrator.Synced{})); err != nil {
		return err
	}
	select {
	case <-s.up:
		return s.missed(ctx, had, news)
	default:
		close(s.up)
	}
	return nil
}

// missed looks at tasks that had their place before the pool was read anew and were not told since: the pool may have forgotten them.
func (s *Swarm) missed(ctx context.Context, had map[string]string, told orchestrator.Batch) error {
	for _, e := range told {
		if r, ok := e.(orchestrator.Report); ok {
			delete(had, r.Pool)
		}
	}
	var gone orchestrator.Batch
	for ask, task := range had {
		_, err := s.api.Tasks.Get(ctx, connect.NewRequest(&polderv1.TaskServiceGetRequest{Id: ask + ".0"}))
		if connect.CodeOf(err) == connect.CodeNotFound {
			gone = append(gone, orchestrator.Report{Task: task, Pool: ask, State: orchestrator.Orphaned, Forced: true, Reason: "the pool no longer knows the task"})
		}
	}
	return s.step(ctx, gone)
}

// waiting tells of the asks that wait for a place, and why.
func (s *Swarm) waiting(ctx context.Context) (out orchestrator.Batch, err error) {
	asks := &polderv1.AskServiceListRequest{State: "open", PageSize: 1000}
	for more := true; more; more = asks.PageToken != "" {
		res, err := s.api.Asks.List(ctx, connect.NewRequest(asks))
		if err != nil {
			return nil, err
		}
		for _, a := range res.Msg.Asks {
			if id := a.Spec.GetTask().GetLabels()[labelTask]; id != "" && a.Pending > 0 {
				s.asks.own(a.Id, whose{id, a.Spec.Task.Health != nil})
				out = append(out, orchestrator.Report{Task: id, Pool: a.Id, State: orchestrator.Pending, Reason: sentence(a.Reason)})
			}
		}
		asks.PageToken = res.Msg.NextPageToken
	}
	return out, nil
}

// reasonsEvery is how often is asked what is not told: why tasks wait, and whether they have become healthy.
const reasonsEvery = time.Second

// followReasons tells why tasks wait, and that they are healthy.
func (s *Swarm) followReasons(ctx context.Context) error {
	tick := time.NewTicker(reasonsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		if err := s.refresh(ctx, s.starting()); err != nil {
			return err
		}
		if !s.anyWaits() {
			continue
		}
		news, err := s.waiting(ctx)
		if err != nil {
			return err
		}
		if err := s.step(ctx, news); err != nil {
			return err
		}
	}
}

// starting are the pool's tasks that do not run yet. That one runs is told, mostly before the first look.
func (s *Swarm) starting() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.m.Starting(s.opt.Now().Add(-reasonsEvery))
	for i, ask := range all {
		all[i] = ask + ".0"
	}
	return all
}

// anyWaits reports whether a task waits in the pool's queue.
func (s *Swarm) anyWaits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m.Waits()
}

// news is what events say of tasks of services that is not known: which have begun to run, and at which somebody must look.
func (s *Swarm) news(events []*polderv1.Event) (begun orchestrator.Batch, look []string) {
	for _, e := range events {
		ask, _, isTask := strings.Cut(e.Subject, ".")
		if !isTask {
			continue
		}
		what := saysOf(e)
		x, ours := s.asks.about(ask, what)
		if !ours {
			continue
		}
		state := s.state(x.task)
		switch {
		case what == saidNothing && state >= orchestrator.Starting:
		case what == saidStarted && state == orchestrator.Starting && !x.checked:
			begun = append(begun, orchestrator.Report{Task: x.task, Pool: ask, Node: e.Node, State: orchestrator.Running})
		default:
			look = append(look, e.Subject)
		}
	}
	return begun, look
}

// saysOf is what an event says of a task to who asked for its place: that it has one is no news to who claimed it, and who queued it looks.
func saysOf(e *polderv1.Event) said {
	switch e.Kind {
	case "TaskStarting":
		return saidNothing
	case "TaskStarted":
		return saidStarted
	}
	return saidMore
}

// state is how far a task is.
func (s *Swarm) state(task string) orchestrator.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, _ := s.m.Task(task)
	return t.State
}

// refreshAtOnce is how many tasks are looked at in one request.
const refreshAtOnce = 1000

// refresh looks at tasks of the pool that are services'. What ended so long ago that the pool has forgotten it is passed over.
func (s *Swarm) refresh(ctx context.Context, tasks []string) error {
	slices.Sort(tasks)
	for some := range slices.Chunk(slices.Compact(tasks), refreshAtOnce) {
		res, err := s.api.Tasks.List(ctx, connect.NewRequest(&polderv1.TaskServiceListRequest{Ids: some, All: true, PageSize: refreshAtOnce}))
		if err != nil {
			return err
		}
		var news orchestrator.Batch
		for _, t := range res.Msg.Tasks {
			news = append(news, s.reportOf(t))
		}
		if err := s.step(ctx, news); err != nil {
			return err
		}
	}
	return nil
}

// reportOf is a task of the pool in the machine's words.
func (s *Swarm) reportOf(t *polderv1.Task) orchestrator.Event {
	id := t.Labels[labelTask]
	r := orchestrator.Report{Task: id, Pool: t.Ask, Node: t.Node, Reason: sentence(t.Reason)}
	if t.ExitCode != nil {
		code := int(*t.ExitCode)
		r.Exit = &code
	}
	r.State, r.Forced = stateOf(t)
	switch {
	case r.State == orchestrator.Running && t.Notice != nil:
		r.Reason = "leaves by " + t.Notice.Deadline.AsTime().UTC().Format(time.TimeOnly) + " for " + t.Notice.Claimant
	case r.State == orchestrator.Running && t.State == polderv1.TaskState_TASK_STATE_RUNNING, r.State == orchestrator.Complete:
		r.Reason = ""
	}
	if r.State.Over() {
		s.asks.forget(t.Ask)
	} else {
		s.asks.own(t.Ask, whose{id, t.Labels[labelHealth] != ""})
	}
	return r
}

// stateOf is a task's state, and whether its end was forced on it.
func stateOf(t *polderv1.Task) (orchestrator.State, bool) {
	switch t.State {
	case polderv1.TaskState_TASK_STATE_PENDING:
		return orchestrator.Pending, false
	case polderv1.TaskState_TASK_STATE_STARTING:
		return orchestrator.Starting, false
	case polderv1.TaskState_TASK_STATE_SUCCEEDED:
		return orchestrator.Complete, false
	case polderv1.TaskState_TASK_STATE_FAILED:
		if t.Started == nil {
			return orchestrator.Rejected, false
		}
		return orchestrator.Failed, false
	case polderv1.TaskState_TASK_STATE_KILLED:
		return orchestrator.Shutdown, false
	case polderv1.TaskState_TASK_STATE_RECLAIMED:
		return orchestrator.Shutdown, true
	case polderv1.TaskState_TASK_STATE_LOST:
		return orchestrator.Orphaned, true
	}
	if t.Started == nil || t.Labels[labelHealth] != "" && t.Health != "healthy" && t.State == polderv1.TaskState_TASK_STATE_RUNNING {
		return orchestrator.Starting, false
	}
	return orchestrator.Running, false
}

// sentence is a reason as polder why says it.
func sentence(r *polderv1.Reason) string {
	if r.GetUnblockedBy() == "" {
		return r.GetMessage()
	}
	return r.Message + "; " + r.UnblockedBy
}
