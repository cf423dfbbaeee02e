package docker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/cgroup"
)

var _ runtime.Engine = (*Runtime)(nil)

// maxAnswer bounds what is read of the engine's answer to a create.
const maxAnswer = 1 << 20

// Dial connects to the engine.
func (r *Runtime) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := r.api.Dialer()(ctx)
	if err != nil {
		return nil, r.fail("dial", "", err)
	}
	return conn, nil
}

// Create makes a door's container, labelled as this agent's, with its sandbox, below its role's cgroup.
func (r *Runtime) Create(ctx context.Context, c runtime.Container) (int, []byte, error) {
	if err := c.Validate(); err != nil {
		return 0, nil, err
	}
	systemd, err := r.systemd(ctx)
	if err != nil {
		return 0, nil, err
	}
	parent := r.tree.Parent(c.Role, runtime.Borrowed) // who will pay is not known; weights say it later
	if systemd && parent != "" {
		parent = slice(parent)
	}
	body, err := r.own(c, parent)
	if err != nil {
		return 0, nil, &runtime.Error{Kind: runtime.ErrInvalid, Op: "create", Cause: err}
	}
	path := "/containers/create?" + url.Values{"name": {c.Name}, "platform": {c.Platform}}.Encode()
	if c.Version != "" {
		path = "/v" + c.Version + path
	}
	status, answer, err := r.post(ctx, path, body)
	if status == http.StatusCreated {
		var made struct{ ID string }
		_ = json.Unmarshal(answer, &made) // then it is looked for when it is wanted
		r.remember(c.ID, made.ID)
	}
	return status, answer, err
}

// mostRemembered bounds how many containers' ids are remembered.
const mostRemembered = 4096

// remember notes the engine's id of a container.
func (r *Runtime) remember(id, engine string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.engine) >= mostRemembered {
		clear(r.engine)
	}
	r.engine[id] = engine
}

// made reports whether a door's container was here when it was last seen.
func (r *Runtime) made(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.engine[id] != ""
}

// remembered looks at a door's container where it was last; false when it is not there.
func (r *Runtime) remembered(ctx context.Context, id string) (c container.InspectResponse, ok bool) {
	r.mu.Lock()
	engine := r.engine[id]
	r.mu.Unlock()
	if engine == "" {
		return c, false
	}
	res, err := r.api.ContainerInspect(ctx, engine, client.ContainerInspectOptions{})
	c = res.Container
	ok = err == nil && c.Config != nil && c.State != nil && c.Config.Labels[LabelContainer] == id && c.Config.Labels[labelAgent] == r.opt.Agent
	if !ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.engine, id)
	}
	return c, ok
}

// own makes the body of a create call this agent's.
func (r *Runtime) own(c runtime.Container, parent string) ([]byte, error) {
	var body map[string]any
	d := json.NewDecoder(bytes.NewReader(c.Create))
	d.UseNumber()
	if err := d.Decode(&body); err != nil {
		return nil, fmt.Errorf("the container's description: %w", err)
	}
	labels := object(body, "Labels")
	labels[LabelContainer], labels[labelAgent], labels[labelRole] = c.ID, r.opt.Agent, c.Role
	host := object(body, "HostConfig")
	host["CgroupParent"] = parent
	env := []any{"POLDER_ROLE=" + c.Role, "POLDER_NODE=" + c.Node}
	if c.Sandbox != "" {
		env = append(env, "POLDER_SANDBOX="+SandboxPath)
		mounts, _ := host["Mounts"].([]any)
		host["Mounts"] = append(mounts, map[string]any{"Type": "bind", "Source": c.Sandbox, "Target": SandboxPath})
	}
	given, _ := body["Env"].([]any)
	body["Env"] = append(env, given...)
	return json.Marshal(body)
}

// object is the object under a key, made if it is not there.
func object(in map[string]any, key string) map[string]any {
	m, ok := in[key].(map[string]any)
	if !ok {
		m = map[string]any{}
		in[key] = m
	}
	return m
}

// post makes one call and returns the answer, whatever it says.
func (r *Runtime) post(ctx context.Context, path string, body []byte) (int, []byte, error) {
	dial := r.api.Dialer()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://engine"+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, r.fail("create", "", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, answer, err
}

// find looks for a door's container on this agent.
func (r *Runtime) find(ctx context.Context, id string) (c container.InspectResponse, err error) {
	if c, ok := r.remembered(ctx, id); ok {
		return c, nil
	}
	list, err := r.api.ContainerList(ctx, client.ContainerListOptions{All: true,
		Filters: client.Filters{}.Add("label", LabelContainer+"="+id).Add("label", labelAgent+"="+r.opt.Agent)})
	if err != nil {
		return c, r.fail("look for the container", "", err)
	}
	made := ofDoors(list.Items)
	if len(made) == 0 {
		return c, &runtime.Error{Kind: runtime.ErrNotFound, Op: "start", Cause: fmt.Errorf("container %.12s is not on this node", id)}
	}
	res, err := r.api.ContainerInspect(ctx, made[0].ID, client.ContainerInspectOptions{})
	if err != nil {
		return c, r.fail("look for the container", "", err)
	}
	r.remember(id, res.Container.ID)
	return res.Container, nil
}

// startContainer starts a door's container for a task, once. It is made first where it is not there: its task was moved.
func (r *Runtime) startContainer(ctx context.Context, spec runtime.Spec) (runtime.Status, error) {
	if _, ok := r.holding(spec.TaskID); ok {
		c, err := r.inspect(ctx, "start", spec.TaskID)
		if err != nil {
			return runtime.Status{}, err
		}
		if c.State.Running || r.over(spec.TaskID, c) {
			return r.statusOf(c), nil
		}
	}
	c, err := r.findOrCreate(ctx, spec)
	if err != nil {
		return runtime.Status{}, err
	}
	if c.State.Running {
		return runtime.Status{}, &runtime.Error{Kind: runtime.ErrStart, Op: "start", Task: spec.TaskID,
			Cause: fmt.Errorf("container %s runs already", strings.TrimPrefix(c.Name, "/"))}
	}
	if c, err = r.withGPUs(ctx, spec, c); err != nil {
		return runtime.Status{}, err
	}
	h := holding{Task: spec.TaskID, Container: spec.Container.ID, Engine: c.ID, Role: spec.Role, Funded: spec.FundedOrBorrowed(), CPU: spec.CPU}
	if c.State.Status != container.StateCreated {
		h.Before = c.State.StartedAt
	}
	if err := r.hold(h); err != nil {
		return runtime.Status{}, &runtime.Error{Kind: runtime.ErrStart, Op: "start", Task: spec.TaskID, Cause: err}
	}
	return r.run(ctx, spec, c)
}

// run starts a container that is held; it stays when it does not start.
func (r *Runtime) run(ctx context.Context, spec runtime.Spec, c container.InspectResponse) (runtime.Status, error) {
	if err := r.adopt(ctx, c); err != nil {
		return runtime.Status{}, err
	}
	if err := r.fit(ctx, spec, c); err != nil {
		return runtime.Status{}, &runtime.Error{Kind: runtime.ErrStart, Op: "start", Task: spec.TaskID, Cause: errors.Join(err, r.release(spec.TaskID))}
	}
	if err := r.begin(ctx, c.ID); err != nil {
		if away(err) || ctx.Err() != nil {
			return runtime.Status{}, r.fail("start", spec.TaskID, err)
		}
		r.unweigh(c)
		return runtime.Status{}, &runtime.Error{Kind: runtime.ErrStart, Op: "start", Task: spec.TaskID, Cause: errors.Join(err, r.release(spec.TaskID))}
	}
	c, err := r.inspect(ctx, "start", spec.TaskID)
	if err != nil {
		return runtime.Status{}, err
	}
	return r.statusOf(c), nil
}

// fit gives a container the limits it was described with, which is what its lease holds: an update may have changed them in its last
// life.
func (r *Runtime) fit(ctx context.Context, spec runtime.Spec, c container.InspectResponse) error {
	var described struct {
		HostConfig struct{ Memory, MemorySwap, NanoCpus, CpuPeriod, CpuQuota int64 }
	}
	if err := json.Unmarshal(spec.Container.Create, &described); err != nil {
		return err
	}
	want, set, now := described.HostConfig, container.Resources{}, c.HostConfig.Resources
	if want.Memory > 0 && want.Memory != now.Memory {
		set.Memory, set.MemorySwap = want.Memory, cmp.Or(want.MemorySwap, 2*want.Memory)
	}
	if want.NanoCpus > 0 && want.NanoCpus != now.NanoCPUs {
		set.NanoCPUs = want.NanoCpus
	}
	if want.CpuQuota > 0 && (want.CpuQuota != now.CPUQuota || want.CpuPeriod > 0 && want.CpuPeriod != now.CPUPeriod) {
		set.CPUQuota, set.CPUPeriod = want.CpuQuota, want.CpuPeriod
	}
	if set.Memory == 0 && set.NanoCPUs == 0 && set.CPUQuota == 0 {
		return nil
	}
	_, err := r.api.ContainerUpdate(ctx, c.ID, client.ContainerUpdateOptions{Resources: &set})
	return err
}

// findOrCreate looks for a door's container, here or on another node that shares this engine; there only what is left of it can be, which
// makes way. Its volumes stay.
func (r *Runtime) findOrCreate(ctx context.Context, spec runtime.Spec) (container.InspectResponse, error) {
	id := spec.Container.ID
	if c, ok := r.remembered(ctx, id); ok {
		return c, nil
	}
	list, err := r.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", LabelContainer+"="+id)})
	if err != nil {
		return container.InspectResponse{}, r.fail("look for the container", "", err)
	}
	made := ofDoors(list.Items)
	for _, c := range made {
		if c.Labels[labelAgent] == r.opt.Agent {
			return r.find(ctx, id)
		}
	}
	for _, c := range made {
		if _, err := r.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
			return container.InspectResponse{}, r.fail("move the container", "", err)
		}
	}
	return r.createAgain(ctx, spec)
}

// createAgain makes a door's container for the task that is to run in it.
func (r *Runtime) createAgain(ctx context.Context, spec runtime.Spec) (c container.InspectResponse, err error) {
	made := *spec.Container
	made.Sandbox, made.Node = spec.Sandbox, spec.Node
	if made.Create, err = describeGPUs(made.Create, spec.GPUs); err != nil {
		return c, &runtime.Error{Kind: runtime.ErrInvalid, Op: "create", Task: spec.TaskID, Cause: err}
	}
	if err := r.standIns(ctx, spec); err != nil {
		return c, err
	}
	var status int
	var answer []byte
	err = r.turns.do(ctx, func() (err error) {
		status, answer, err = r.Create(ctx, made)
		return err
	})
	if err != nil {
		return c, err
	}
	if status/100 != 2 {
		var said struct{ Message string }
		_ = json.Unmarshal(answer, &said) // then there is only the status to tell
		kind := runtime.ErrStart
		if status == http.StatusNotFound {
			kind = runtime.ErrImage
		}
		return c, &runtime.Error{Kind: kind, Op: "create", Task: spec.TaskID, Cause: fmt.Errorf("%s (%d)", said.Message, status)}
	}
	return r.find(ctx, spec.Container.ID)
}

// weigh adds a task to the cgroup tree. The directory of a door's container was chosen before anybody knew who pays.
func (r *Runtime) weigh(task cgroup.Task) error {
	if _, ok := r.holding(task.ID); !ok {
		return r.tree.Add(task)
	}
	funded := task.Funded
	task.Funded = runtime.Borrowed
	if err := r.tree.Add(task); err != nil {
		return err
	}
	r.tree.SetFunded(task.ID, funded)
	return nil
}

// Recorded removes the container if it was to go with its task.
func (r *Runtime) Recorded(ctx context.Context, id string) error {
	c, err := r.find(ctx, id)
	if errors.Is(err, runtime.ErrNotFound) || err == nil && (c.Config.Labels[LabelRemove] == "" || c.State.Running) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = r.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{RemoveVolumes: true})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) { // gone, or going
		err = nil
	}
	return r.fail("remove", "", err)
}

// Containers lists the containers of doors on this agent, by the doors' ids.
func (r *Runtime) Containers(ctx context.Context) ([]string, error) {
	found, err := r.api.ContainerList(ctx, client.ContainerListOptions{All: true,
		Filters: client.Filters{}.Add("label", LabelContainer).Add("label", labelAgent+"="+r.opt.Agent)})
	if err != nil {
		return nil, r.fail("list", "", err)
	}
	var ids []string
	for _, item := range ofDoors(found.Items) {
		ids = append(ids, item.Labels[LabelContainer])
	}
	slices.Sort(ids)
	return ids, nil
}
