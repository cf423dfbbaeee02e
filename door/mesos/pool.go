package mesos

import (
	"context"
	"slices"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/door/mesos/piece"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// node is a machine as the door last heard of it. The door's mutex guards it.
type node struct {
	name, pool, state string
	hostname          string // of nodes that do not say their own
	attributes        map[string]string
	total, free       amounts
	ports, freePorts  resource.PortSet
	docker, process   bool
	registered        time.Time
	agentAddr         string // where its agent is reached by tools
	shelf             *piece.Shelf[*node]
	offered           []byte // what offers say of it, in protobuf, once there were any
	notBefore         int64  // news of earlier revisions are old: a claim of ours has been booked since
	offers            map[string]*offer
}

func (n *node) offerable() bool { return n.state == "ready" }

// follow keeps the door's picture of the pool until ctx ends. What it missed it reads anew.
func (d *Door) follow(ctx context.Context) error {
	for {
		all, ctx := errgroup.WithContext(ctx)
		all.Go(func() error { return d.followNodes(ctx) })
		all.Go(func() error { return d.followTasks(ctx) })
		all.Go(func() error { return d.followNotices(ctx) })
		err := all.Wait()
		switch {
		case d.ctx.Err() != nil:
			return context.Cause(d.ctx)
		case connect.CodeOf(err) == connect.CodeOutOfRange:
			d.log.Warn("the mesos door fell behind and reads the pool anew", "error", err)
		default:
			return err
		}
	}
}

func (d *Door) followNodes(ctx context.Context) error {
	seen := map[string]bool{}
	complete := false
	return d.c.API.WatchNodes(ctx, &polderv1.ClaimServiceWatchRequest{}, func(m *polderv1.ClaimServiceWatchResponse) error {
		d.mu.Lock()
		for _, n := range m.Nodes {
			d.setNode(n, m.Revision)
			if !complete {
				seen[n.Name] = true
			}
		}
		for _, name := range m.Removed {
			d.removeNode(name)
		}
		if m.SnapshotComplete && !complete {
			complete = true
			d.known()
			d.scheduleWindows()
			for name := range d.nodes {
				if !seen[name] {
					d.removeNode(name)
				}
			}
		}
		d.mu.Unlock()
		d.nudge()
		return nil
	})
}

// setNode takes over a node. The mutex is held.
func (d *Door) setNode(p *polderv1.Node, revision int64) {
	n := d.nodes[p.Name]
	known := n != nil
	if !known {
		n = &node{name: p.Name, hostname: d.c.Hostname, agentAddr: d.c.AgentAddr, offers: map[string]*offer{}}
		n.shelf = d.roster.Add(n)
		d.nodes[p.Name] = n
		at, _ := slices.BinarySearchFunc(d.order, n, compareNodes)
		d.order = slices.Insert(d.order, at, n)
	}
	d.fresh[n], n.offered = struct{}{}, nil
	n.changed()
	was := n.state
	n.state, n.attributes, n.pool, n.registered = p.State, p.Attributes, p.Pool, p.Registered.AsTime()
	n.total, n.docker, n.process = ofKind(p.Capacity), false, false
	for _, r := range p.Runtimes {
		n.docker, n.process = n.docker || r == "docker", n.process || r == "process"
	}
	n.ports, _ = resource.ParsePorts(p.Ports)
	if revision >= n.notBefore {
		n.free = ofKind(p.Available)
		n.freePorts, _ = resource.ParsePorts(p.FreePorts)
	}
	switch {
	case !known:
		if d.watched() {
			d.tell(agentAdded(d.agentOf(n)))
		}
	case was != "unreachable" && n.state == "unreachable":
		d.nodeAway(n)
	case was == "unreachable" && n.state != "unreachable":
		d.nodeBack(n)
	}
	d.trim(n)
}

// nodeAway tells everybody that a node does not answer.
func (d *Door) nodeAway(n *node) {
	for _, f := range d.frameworks {
		e := event(schedulerv1.Event_FAILURE)
		e.Failure = &schedulerv1.Event_Failure{AgentId: &mesosv1.AgentID{Value: &n.name}}
		f.send(e)
	}
}

// nodeBack looks up the tasks of a node that answers again: only now it is known what became of them.
func (d *Door) nodeBack(n *node) {
	var ids []string
	for id, x := range d.natives {
		if x.at() == n.name {
			ids = append(ids, id)
		}
	}
	d.later(self, func(ctx context.Context) error {
		for _, id := range ids {
			d.refresh(ctx, id)
		}
		return nil
	})
}

// known notes that all nodes are known.
func (d *Door) known() {
	select {
	case <-d.surveyed:
	default:
		close(d.surveyed)
	}
}

func (d *Door) removeNode(name string) {
	n := d.nodes[name]
	if n == nil {
		return
	}
	n.state = "removed"
	d.trim(n)
	d.nodeAway(n)
	delete(d.nodes, name)
	n.shelf.Remove(n)
	n.shelf = nil
	delete(d.fresh, n)
	d.order = slices.DeleteFunc(d.order, func(o *node) bool { return o == n })
	d.tell(agentRemoved(name))
}

// followTasks follows what becomes of the tasks that are ours.
func (d *Door) followTasks(ctx context.Context) error {
	list, err := d.c.API.Events.List(ctx, connect.NewRequest(&polderv1.EventServiceListRequest{PageSize: 1}))
	if err != nil {
		return err
	}
	if err := d.adopt(ctx); err != nil {
		return err
	}
	from := &polderv1.EventServiceWatchRequest{FromRevision: list.Msg.Revision}
	return d.c.API.WatchEvents(ctx, from, func(events []*polderv1.Event) error {
		d.heard(ctx, events)
		return nil
	})
}

// heard takes over what happened, in order.
func (d *Door) heard(ctx context.Context, events []*polderv1.Event) {
	var started []string
	for _, e := range events {
		switch e.Kind {
		case "TaskStarted":
			started = append(started, e.Subject)
			continue
		case "AskSubmitted", "AskCancelled", "TaskStarting", "PlanApplied":
			continue // entitlements may have changed
		}
		d.runs(started...)
		started = started[:0]
		if e.Kind == "PlaceKept" || e.Kind == "PlaceLost" {
			d.lookAfter(ctx, e.Subject)
		} else {
			d.refresh(ctx, e.Subject)
		}
	}
	d.runs(started...)
	d.nudge()
}

// news is what the pool knows of a task.
type news struct {
	*polderv1.Task
}

func (n news) over() bool { return n.State >= polderv1.TaskState_TASK_STATE_SUCCEEDED }

// native finds what a task of the pool is here. Of one that is none of ours yet, while something is being claimed, it is noted that there
// were news, and whether they were only that it runs. The mutex is held.
func (d *Door) native(id string, runs bool) (native, bool) {
	x, ours := d.natives[id]
	if !ours && d.committing > 0 {
		_, before := d.missed[id]
		d.missed[id] = runs && !before
	}
	return x, ours
}

// running is all there is to say of a task that started.
var running = news{&polderv1.Task{State: polderv1.TaskState_TASK_STATE_RUNNING}}

// runs takes over that tasks run.
func (d *Door) runs(ids ...string) {
	if len(ids) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		if x, ours := d.native(id, true); ours {
			x.report(d, running)
		}
	}
}

// refresh looks a task up, if it is one of ours.
func (d *Door) refresh(ctx context.Context, id string) {
	d.mu.Lock()
	_, ours := d.native(id, false)
	d.mu.Unlock()
	if !ours {
		return
	}
	res, err := d.c.API.Tasks.Get(ctx, connect.NewRequest(&polderv1.TaskServiceGetRequest{Id: id}))
	var n news
	switch {
	case err == nil:
		n.Task = res.Msg.Task
	case connect.CodeOf(err) == connect.CodeNotFound:
		n.Task = &polderv1.Task{Id: id, State: polderv1.TaskState_TASK_STATE_LOST, Reason: &polderv1.Reason{Code: "Forgotten", Message: "the pool no longer knows the task"}}
	default:
		return // the stream ends, too
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if x, ok := d.natives[id]; ok {
		if n := d.nodes[x.at()]; err != nil && n != nil && n.state == "unreachable" {
			return // the pool has not heard of it from its node yet, after a restart
		}
		x.report(d, n)
		if n.over() {
			delete(d.natives, id)
		}
	}
	d.nudge()
}
