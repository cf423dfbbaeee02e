package mesos

import (
	"context"
	"slices"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// withSelf is a context for what the door reads for itself.
func withSelf(ctx context.Context) context.Context { return door.As(ctx, self) }

// adopt finds the tasks of frameworks in the pool, by their labels: those of an earlier life of the door at its start, and
// what was missed when news were. Frameworks are then known by their id and principal, and wait to be subscribed again.
func (d *Door) adopt(ctx context.Context) error {
	var specs []*polderv1.Task
	req := &polderv1.TaskServiceListRequest{PageSize: 1000}
	for {
		res, err := d.c.API.Tasks.List(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		specs = append(specs, res.Msg.Tasks...)
		if req.PageToken = res.Msg.NextPageToken; req.PageToken == "" {
			break
		}
	}
	tokens, err := d.readTokens(ctx, specs)
	if err != nil {
		return err
	}
	select {
	case <-d.surveyed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	d.mu.Lock()
	for _, kind := range []string{"executor", "command", "hold"} { // executors first: holds belong to them
		for _, t := range specs {
			known := d.natives[t.Id] != nil || d.lead != nil && (news{t}).over() // what is over and not acknowledged was written down
			if t.Labels[labelKind] == kind && !known {
				d.adoptOne(t, tokens[t.Id])
			}
		}
	}
	var ids []string
	for id := range d.natives {
		ids = append(ids, id)
	}
	var demands []string
	for id := range d.demands {
		demands = append(demands, id)
	}
	d.ready = true
	d.mu.Unlock()
	if err := d.dropDemands(ctx); err != nil {
		return err
	}
	for _, id := range demands {
		d.lookAfter(ctx, id)
	}
	for _, id := range ids { // what happened before the watch began
		d.refresh(ctx, id)
	}
	d.nudge()
	return nil
}

// dropDemands withdraws what an earlier life of the door asked for: frameworks that come back are looked at anew.
func (d *Door) dropDemands(ctx context.Context) error {
	req := &polderv1.AskServiceListRequest{State: "open", PageSize: 1000}
	for {
		res, err := d.c.API.Asks.List(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		for _, a := range res.Msg.Asks {
			labels := a.GetSpec().GetTask().GetLabels()
			d.mu.Lock()
			if f := d.frameworks[labels[labelFramework]]; labels[labelKind] == labelDemand && d.demands[a.Id] == nil {
				if f == nil {
					f = &framework{caller: self}
				}
				d.cancelAsks(f, []string{a.Id})
			}
			d.mu.Unlock()
		}
		if req.PageToken = res.Msg.NextPageToken; req.PageToken == "" {
			return nil
		}
	}
}

// readTokens finds the tokens that executors of an earlier life were started with, by task of the pool.
func (d *Door) readTokens(ctx context.Context, tasks []*polderv1.Task) (map[string]string, error) {
	out := map[string]string{}
	for _, t := range tasks {
		if t.Labels[labelKind] != "executor" {
			continue
		}
		res, err := d.c.API.Tasks.Get(ctx, connect.NewRequest(&polderv1.TaskServiceGetRequest{Id: t.Id}))
		switch {
		case err == nil:
			out[t.Id] = res.Msg.GetSpec().GetEnv()[executorToken]
		case connect.CodeOf(err) != connect.CodeNotFound:
			return nil, err
		}
	}
	return out, nil
}

// removed reports whether a framework is over.
func (d *Door) removed(id string) bool {
	return slices.ContainsFunc(d.gone, func(f *framework) bool { return f.id == id })
}

// adoptOne puts a task of an earlier life on the books. An executor's token is the one it was started with.
func (d *Door) adoptOne(p *polderv1.Task, token string) {
	id := p.Labels[labelFramework]
	f := d.frameworks[id]
	if f == nil && d.removed(id) { // and its end was not heard by all of it
		d.killNative(&framework{caller: self}, false, p.Id)
		return
	}
	if f == nil {
		f = newFramework(id)
		f.principal = p.Labels[labelPrincipal]
		f.caller = self
		f.registered = p.Created.AsTime()
		f.info = &mesosv1.FrameworkInfo{User: new(""), Name: new(""), Id: &mesosv1.FrameworkID{Value: &id}, Principal: &f.principal}
		d.frameworks[id] = f
	}
	role := p.Labels[labelRole]
	if p.Labels[labelKind] == "executor" {
		e := &executor{
			fw: f, id: p.Labels[labelExecutor], node: p.Node, role: role, path: p.Role, native: p.Id, token: token, tasks: map[string]*task{}, adopted: true,
			info: &mesosv1.ExecutorInfo{ExecutorId: &mesosv1.ExecutorID{Value: new(p.Labels[labelExecutor])}, FrameworkId: &mesosv1.FrameworkID{Value: &id}},
		}
		f.executors[e.key()], d.natives[p.Id] = e, e
		d.keep(e.storeKey(), e)
		return
	}
	form := form{role: role}
	t := &task{
		fw: f, node: p.Node, role: role, path: p.Role, native: p.Id, ip: "127.0.0.1",
		state: mesosv1.TaskState_TASK_STAGING, sent: mesosv1.TaskState_TASK_STAGING,
		info: &mesosv1.TaskInfo{
			Name: new(p.Labels[labelTask]), TaskId: &mesosv1.TaskID{Value: new(p.Labels[labelTask])},
			AgentId: &mesosv1.AgentID{Value: new(p.Node)}, Resources: form.resources(ofKind(p.Resources), portsOf(p)),
		},
	}
	if n := d.nodes[p.Node]; n != nil {
		t.ip = n.ip()
	}
	if p.Labels[labelKind] == "hold" {
		if t.executor = f.executors[executorKey{p.Node, p.Labels[labelExecutor]}]; t.executor != nil { // else it can only be killed
			t.executor.tasks[t.id()] = t
			t.state, t.sent = mesosv1.TaskState_TASK_RUNNING, mesosv1.TaskState_TASK_RUNNING
		}
	}
	f.put(t)
	d.natives[p.Id] = t
	d.keepTask(t)
}
