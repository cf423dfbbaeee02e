package docker

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	runtime "polder.dev/polder/agent/runtime/docker"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/docker/fields"
)

// inspected is what is read of an inspected container; the rest is passed on as it came.
type inspected struct {
	State struct {
		Status            string
		Running, Paused   bool
		ExitCode          int
		StartedAt, Error  string
		FinishedAt        string
		OOMKilled, Health any
	}
	Config     struct{ Labels map[string]string }
	HostConfig thing

	task *polderv1.TaskSpec // that it is started with; nil: it is in the labels
}

func (d *Door) inspected(ctx context.Context, p place) (c inspected, err error) {
	err = d.onEngine(ctx, p, errand{p.role, "view", ""}, http.MethodGet, "/json", nil, nil, &c)
	return c, err
}

// onEngine asks the engine that has a container about it. One that is gone there is gone for good.
func (d *Door) onEngine(ctx context.Context, p place, e errand, method, path string, query url.Values, in, out any) error {
	err := d.ask(ctx, p.node, e, method, "/containers/"+p.engine+path, query, in, out)
	if statusIn(err) == http.StatusNotFound && strings.Contains(err.Error(), "No such container") {
		d.forget(p.id)
		return noContainer(p.name)
	}
	return err
}

// start claims a lease for a container and has it started on it.
func (d *Door) start(q *request) error {
	p, err := d.lookup(q.Context(), q.PathValue("id"))
	if err != nil {
		return err
	}
	c, untouched := d.recent.take(p.id)
	if !untouched {
		c, err = d.inspected(q.Context(), p)
	}
	switch {
	case err != nil:
		return err
	case c.State.Running:
		q.w.WriteHeader(http.StatusNotModified)
		return nil
	case !untouched:
		if err := d.settled(q.Context(), p); err != nil {
			return err
		}
	}
	if err := d.startAt(q.Context(), p, c); err != nil {
		return errors.Join(err, d.discard(context.WithoutCancel(q.Context()), p, c))
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// discard removes a container that was to go with its task and got none, as engines do: its client waits for that.
func (d *Door) discard(ctx context.Context, p place, c inspected) error {
	if c.Config.Labels[runtime.LabelRemove] == "" || c.State.Status != "created" {
		return nil
	}
	err := d.onEngine(ctx, p, errand{p.role, "run", "remove container " + short(p.id)}, http.MethodDelete, "", url.Values{"v": {"1"}}, nil, nil)
	if s := statusIn(err); s == http.StatusNotFound || s == http.StatusConflict { // its agent has, or does
		err = nil
	}
	d.forget(p.id)
	return err
}

var notName = regexp.MustCompile(`[^a-z0-9]+`)

// askName makes a name for an ask of a container's: what people read in polder ps.
func askName(name string) string {
	s := strings.Trim(notName.ReplaceAllString(strings.ToLower(name), "-"), "-")
	return strings.TrimRight(s[:min(len(s), 40)], "-")
}

// taskIn reads the task that a container says it is to be started with.
func taskIn(labels map[string]string) (*polderv1.TaskSpec, error) {
	spec := labels[labelSpec]
	task := &polderv1.TaskSpec{}
	if err := protojson.Unmarshal([]byte(spec), task); err != nil || task.Container == nil {
		return nil, fail(http.StatusConflict, "this container does not say how to start it: it was not made by this door")
	}
	body, err := fields.Decode(task.Container.Create)
	if err != nil {
		return nil, err
	}
	under(body, "Labels")[labelSpec] = spec
	task.Container.Create = []byte(encode(body))
	return task, nil
}

// startedWith is the task that a container is started with now.
func (c inspected) startedWith() (*polderv1.TaskSpec, error) {
	if c.task != nil {
		return c.task, nil
	}
	task, err := taskIn(c.Config.Labels)
	if err != nil {
		return nil, err
	}
	return task, updated(task, c.HostConfig)
}

// startAt claims the lease where the container is, or where it can be made anew, or waits in the queue.
func (d *Door) startAt(ctx context.Context, p place, c inspected) error {
	task, err := c.startedWith()
	if err != nil {
		return err
	}
	defer d.starting(p.id)()
	id, why, err := d.claim(ctx, p, task, p.node)
	if err != nil {
		return err
	}
	node := p.node
	if id == "" && c.State.Status == "created" {
		if id, node, err = d.move(ctx, p, task); err != nil {
			return err
		}
	}
	if id == "" {
		return d.queue(ctx, p, task, c, why)
	}
	return d.arrived(ctx, p, id, node, task.Resources["gpu"] != "")
}

// starting notes that a container is being started, until done is called: it may be made anew elsewhere meanwhile.
func (d *Door) starting(id string) (done func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := make(chan struct{})
	d.starts[id] = c
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.starts[id] == c {
			delete(d.starts, id)
		}
		close(c)
	}
}

// moved returns what is closed when a container is made anew elsewhere, from now on.
func (d *Door) moved(id string) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.moves[id]
	if !ok {
		c = make(chan struct{})
		d.moves[id] = c
	}
	return c
}

// tellMoved tells who waits for that.
func (d *Door) tellMoved(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c, ok := d.moves[id]; ok {
		delete(d.moves, id)
		close(c)
	}
}

// resettled waits for a start that is under way and reports where the container is then, and whether that is elsewhere.
func (d *Door) resettled(ctx context.Context, old place) (p place, moved bool) {
	d.mu.Lock()
	c := d.starts[old.id]
	d.mu.Unlock()
	if c != nil {
		select {
		case <-c:
		case <-ctx.Done():
			return old, false
		}
	}
	p, err := d.lookup(ctx, old.id)
	return p, err == nil && p.engine != old.engine
}

// settled withdraws what still waits of an earlier start.
func (d *Door) settled(ctx context.Context, p place) error {
	open, err := d.askOf(ctx, p)
	if err != nil || open == "" {
		return err
	}
	return d.withdraw(ctx, p, open)
}

// claim tries to get a lease on a node; without one it says why.
func (d *Door) claim(ctx context.Context, p place, task *polderv1.TaskSpec, node string) (id string, why *polderv1.Reason, err error) {
	res, err := d.api.Claims.Commit(ctx, connect.NewRequest(&polderv1.CommitRequest{
		Tasks: []*polderv1.ClaimTask{{Name: askName(p.name), Role: p.role, Node: node, Task: task}}}))
	if err != nil {
		return "", nil, err
	}
	r := res.Msg.Results[0]
	if r.Task != "" {
		d.mu.Lock()
		d.asks[p.id] = r.Task[:strings.IndexByte(r.Task+".", '.')]
		d.mu.Unlock()
	}
	return r.Task, r.Conflict, nil
}

// move claims a lease for a container that has never run on another node that has room; the agent there makes it anew. Where its
// own node has room, something else than room is missing, and so it is elsewhere.
func (d *Door) move(ctx context.Context, p place, task *polderv1.TaskSpec) (id, node string, err error) {
	x, err := d.again(ctx, p, task)
	if err != nil {
		return "", "", err
	}
	nodes, err := d.nodes(ctx, &polderv1.EngineServiceListRequest{Resources: task.Resources, Constraints: append(slices.Clone(task.Constraints), x.pins.constraints...)})
	if err != nil {
		return "", "", err
	}
	if slices.ContainsFunc(nodes, func(n *polderv1.EngineNode) bool { return n.Name == p.node && n.Fits }) {
		return "", "", nil
	}
	for _, n := range nodes {
		if !n.Fits {
			break
		}
		if err := d.bringImage(ctx, x, site{n.Name, d.info(ctx, n.Name).ID}); err != nil {
			return "", "", err
		}
		if id, _, err = d.claim(ctx, p, task, n.Name); id != "" || err != nil {
			return id, n.Name, err
		}
	}
	return "", "", nil
}

// bringImage makes sure that a node has the image of a container, unless no node has: then it is for the agent to get it.
func (d *Door) bringImage(ctx context.Context, x *draft, to site) error {
	holders, err := d.holders(ctx, text(x.body, "Image"))
	if err != nil || len(holders) == 0 || slices.Contains(holders, to.engine) {
		return err
	}
	return d.copyImage(ctx, x, holders, to)
}

// again is the draft of a container that is there.
func (d *Door) again(ctx context.Context, p place, task *polderv1.TaskSpec) (*draft, error) {
	body, err := fields.Decode(task.Container.Create)
	if err != nil {
		return nil, err
	}
	x := &draft{id: p.id, name: p.name, role: p.role, platform: task.Container.Platform, body: body, host: task.Container.Host,
		task: proto.CloneOf(task)}
	x.pins, err = d.pin(ctx, x)
	return x, err
}

// over reports whether a task has ended.
func over(s polderv1.TaskState) bool { return s >= polderv1.TaskState_TASK_STATE_SUCCEEDED }

// running waits until a task runs, or has run. What kept it from that is the error.
func (d *Door) running(ctx context.Context, id string) error {
	t, err := d.await(ctx, id, polderv1.TaskState_TASK_STATE_RUNNING, polderv1.TaskState_TASK_STATE_LEAVING)
	if err != nil {
		return err
	}
	// Of a task that is through at once the pool may have heard only how it ended.
	if over(t.State) && t.Started == nil && t.ExitCode == nil && t.State != polderv1.TaskState_TASK_STATE_SUCCEEDED {
		return fail(startStatus(t.Reason), "%s", startMessage(t))
	}
	return nil
}

// startStatus is what an engine answers when a start fails so.
func startStatus(r *polderv1.Reason) int {
	switch {
	case strings.Contains(r.GetMessage(), "executable file not found"), strings.Contains(r.GetMessage(), "no such file or directory"),
		strings.Contains(r.GetMessage(), "permission denied"):
		return http.StatusBadRequest
	case r.GetCode() == "ImageUnavailable":
		return http.StatusNotFound
	case r.GetCode() == "Killed":
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}

// startMessage leaves out what only says which task it was.
func startMessage(t *polderv1.Task) string {
	m := t.Reason.GetMessage()
	for _, prefix := range []string{"task " + t.Id + ": ", "start: ", "Error response from daemon: "} {
		m = strings.TrimPrefix(m, prefix)
	}
	return m
}

// await waits until a task is in one of some states, or over.
func (d *Door) await(ctx context.Context, id string, states ...polderv1.TaskState) (*polderv1.Task, error) {
	if len(states) == 0 {
		states = []polderv1.TaskState{polderv1.TaskState_TASK_STATE_SUCCEEDED} // any end is one
	}
	for {
		res, err := d.api.Tasks.Get(ctx, connect.NewRequest(&polderv1.TaskServiceGetRequest{Id: id, Until: states}))
		if err != nil {
			return nil, err
		}
		if t := res.Msg.Task; over(t.State) || slices.Contains(states, t.State) {
			return t, nil
		}
	}
}

// arrived waits until a task runs on a node. Its agent has made the container anew if it was elsewhere; what is left there has
// never run. It may have done so for what a container is told when it is made only, too.
func (d *Door) arrived(ctx context.Context, p place, id, node string, anew bool) error {
	err := d.running(ctx, id)
	if node == p.node && anew {
		err = errors.Join(err, d.survey(ctx))
		d.tellMoved(p.id)
	}
	if node == p.node {
		return err
	}
	stale := d.ask(ctx, p.node, errand{p.role, "run", "move container " + short(p.id)}, http.MethodDelete, "/containers/"+p.engine,
		url.Values{"v": {"1"}}, nil, nil)
	if statusIn(stale) == http.StatusNotFound {
		stale = nil
	}
	err = errors.Join(err, stale, d.survey(ctx))
	d.tellMoved(p.id)
	return err
}
