package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/cgroup"
)

// SandboxPath is where a container sees its task's sandbox.
const SandboxPath = "/polder"

// Options configure a [Runtime].
type Options struct {
	Host    string       // the engine's socket, "unix:///var/run/docker.sock"; empty: $DOCKER_HOST, then that one
	Agent   string       // name of the agent; several agents may share an engine and see only their own tasks
	Tree    *cgroup.Tree // nil: containers go where the engine puts them
	Network string       // the network tasks join; empty is the engine's default
	State   string       // directory where it is kept which task runs in which container of a door; empty: such tasks are refused
}

// Runtime runs tasks in containers. Make one with [New].
type Runtime struct {
	opt    Options
	tree   *cgroup.Tree
	api    *client.Client
	closed chan struct{}
	turns  turns

	mu       sync.Mutex
	driver   string                   // the engine's cgroup driver, "" until asked
	starting map[string]chan struct{} // tasks in Start; closed when that is over
	held     map[string]holding       // by task, of those that run in a container of a door
	engine   map[string]string        // the engine's id of a door's container, by the door's; only to look less often
}

// New makes a runtime. It does not talk to the engine yet: see [Runtime.Ping].
func New(opt Options) (*Runtime, error) {
	r := &Runtime{opt: opt, tree: opt.Tree, closed: make(chan struct{}), turns: newTurns(), starting: map[string]chan struct{}{}, engine: map[string]string{}}
	var err error
	if r.api, err = client.New(r.host()); err != nil {
		return nil, fmt.Errorf("docker runtime: %w; use a host like unix:///var/run/docker.sock", err)
	}
	if r.tree == nil {
		r.tree = &cgroup.Tree{}
	}
	if r.held, err = loadHoldings(opt.State); err != nil {
		return nil, errors.Join(err, r.api.Close())
	}
	return r, nil
}

// host says where the engine is.
func (r *Runtime) host() client.Opt {
	if r.opt.Host == "" {
		return client.FromEnv
	}
	return client.WithHost(r.opt.Host)
}

// Ping asks the engine whether it is there and speaks a known version.
func (r *Runtime) Ping(ctx context.Context) error {
	if _, err := r.api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return r.fail("ping", "", err)
	}
	return nil
}

// Name is "docker".
func (r *Runtime) Name() string { return "docker" }

// Notes says what this machine does not permit.
func (r *Runtime) Notes() []string {
	if n := r.tree.Note(); n != "" {
		return []string{n}
	}
	return nil
}

// Wait blocks until the container has ended, through restarts of the engine. An engine that stops ends its containers: that
// says nothing about the task, so such an end is Lost, whatever code it came with.
func (r *Runtime) Wait(ctx context.Context, taskID string) (runtime.Exit, error) {
	var cut time.Time // when the engine went away; zero while it is there
	for seen := false; ; {
		c, err := r.inspect(ctx, "wait", taskID)
		switch {
		case seen && errors.Is(err, runtime.ErrNotFound):
			return runtime.LostExit("its container was removed"), nil
		case errors.Is(err, runtime.ErrUnavailable):
		case err != nil:
			return runtime.Exit{}, err
		case r.over(taskID, c):
			r.unweigh(c)
			return r.exitAfter(ctx, cut, c.State), nil
		default:
			seen, cut = true, time.Time{}
			err = r.waitOnce(ctx, c)
		}
		if err == nil {
			continue
		}
		if cut.IsZero() {
			cut = time.Now()
		}
		if err := r.pause(ctx, taskID, lookAgain); err != nil {
			return runtime.Exit{}, err
		}
	}
}

// lastMoments is how long an engine that stops may be heard of after it has begun to.
const lastMoments = 2 * time.Second

// exitAfter is the end of a container that was found when the engine was back from being away since cut, if it was.
func (r *Runtime) exitAfter(ctx context.Context, cut time.Time, s *container.State) runtime.Exit {
	e := exitOf(s)
	if cut.IsZero() && r.stopping(ctx) {
		cut = time.Now()
	}
	if cut.IsZero() || e.FinishedAt.Before(cut.Add(-lastMoments)) {
		return e
	}
	if info, err := r.api.Info(ctx, client.InfoOptions{}); err == nil && info.Info.LiveRestoreEnabled {
		return e // its containers outlive this engine
	}
	lost := runtime.LostExit(fmt.Sprintf("its container engine was stopped or restarted, which ended it (%s)", e))
	lost.FinishedAt = e.FinishedAt
	return lost
}

// stopping reports whether the engine takes no new connections. It stops to before it ends its containers, and may answer on
// the old ones until it is gone.
func (r *Runtime) stopping(ctx context.Context) bool {
	fresh, err := client.New(r.host())
	if err != nil {
		return false
	}
	defer fresh.Close()
	_, err = fresh.Ping(ctx, client.PingOptions{})
	return err != nil && away(err)
}

// waitOnce blocks until the container has ended or the engine stopped answering; the caller looks again either way.
func (r *Runtime) waitOnce(ctx context.Context, c container.InspectResponse) error {
	until := container.WaitConditionNotRunning
	if c.State.Status == container.StateCreated || ended(c.State) { // a door's container may have run before
		until = container.WaitConditionNextExit
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := r.api.ContainerWait(ctx, c.ID, client.ContainerWaitOptions{Condition: until})
	select {
	case <-wait.Result:
		return nil
	case err := <-wait.Error:
		return err
	case <-r.closed:
		return errors.New("runtime closed")
	}
}

const lookAgain = 500 * time.Millisecond

// pause waits before the engine is asked again.
func (r *Runtime) pause(ctx context.Context, taskID string, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-r.closed:
		return &runtime.Error{Kind: runtime.ErrUnavailable, Op: "wait", Task: taskID, Cause: errors.New("runtime closed")}
	}
}

// Signal sends to the container's first process.
func (r *Runtime) Signal(ctx context.Context, taskID string, sig syscall.Signal) error {
	c, err := r.inspect(ctx, "signal", taskID)
	if err != nil || r.over(taskID, c) {
		return err
	}
	_, err = r.api.ContainerKill(ctx, c.ID, client.ContainerKillOptions{Signal: strconv.Itoa(int(sig))})
	if errdefs.IsConflict(err) { // it ended a moment ago
		return nil
	}
	return r.fail("signal", taskID, err)
}

// Kill ends the container and waits until the engine says so.
func (r *Runtime) Kill(ctx context.Context, taskID string) error {
	if err := r.Signal(ctx, taskID, syscall.SIGKILL); err != nil {
		return err
	}
	_, err := r.Wait(ctx, taskID)
	return err
}

// Remove removes an ended container with its anonymous volumes. A door's container stays: it is its users'.
func (r *Runtime) Remove(ctx context.Context, taskID string) error {
	if _, ok := r.holding(taskID); ok {
		return r.release(taskID)
	}
	c, err := r.inspect(ctx, "remove", taskID)
	if errors.Is(err, runtime.ErrNotFound) {
		return r.tree.Remove(taskID)
	}
	if err != nil {
		return err
	}
	if c.State.Running {
		return &runtime.Error{Kind: runtime.ErrInvalid, Op: "remove", Task: taskID, Cause: errors.New("it is running"), Next: "kill it first"}
	}
	_, err = r.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{RemoveVolumes: true, Force: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return r.fail("remove", taskID, err)
	}
	r.unweigh(c)
	return nil
}

// unweigh takes an ended container out of the cgroup tree. The engine removes its directory, a moment later perhaps; a
// parent that is not free yet goes with a later task, or with Remove.
func (r *Runtime) unweigh(c container.InspectResponse) {
	task := r.taskOf(c)
	r.tree.Remove(task.ID)
	r.tree.Sweep(task.Role, task.Funded)
}

// List returns the containers of this agent, in order of task id. Running ones are weighed in again after a restart of
// the agent, as they were launched.
func (r *Runtime) List(ctx context.Context) ([]runtime.Status, error) {
	found, err := r.api.ContainerList(ctx, client.ContainerListOptions{All: true,
		Filters: client.Filters{}.Add("label", labelAgent+"="+r.opt.Agent)})
	if err != nil {
		return nil, r.fail("list", "", err)
	}
	list := make([]runtime.Status, 0, len(found.Items))
	for _, item := range found.Items {
		task := item.Labels[labelTask]
		if id := item.Labels[LabelContainer]; id != "" {
			if task = r.taskIn(id, item.ID); task == "" {
				continue // nothing runs in it that anybody here started
			}
		}
		c, err := r.inspect(ctx, "list", task)
		if errors.Is(err, runtime.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if c.State.Running {
			err = r.adopt(ctx, c)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, r.statusOf(c))
	}
	slices.SortFunc(list, func(a, b runtime.Status) int { return strings.Compare(a.TaskID, b.TaskID) })
	return list, nil
}

// SetFunding reweighs the container and the cgroups above it. The engine's labels stay as launched, so an agent that was
// restarted says it again.
func (r *Runtime) SetFunding(ctx context.Context, taskID, funded, _ string) error {
	c, err := r.inspect(ctx, "fund", taskID)
	if err != nil || r.over(taskID, c) {
		return err
	}
	if err := r.adopt(ctx, c); err != nil {
		return err
	}
	r.tree.SetFunded(taskID, funded)
	task := r.taskOf(c)
	task.Funded = funded
	_, err = r.api.ContainerUpdate(ctx, c.ID, client.ContainerUpdateOptions{
		Resources: &container.Resources{CPUShares: cgroup.Shares(task)}})
	return r.fail("fund", taskID, err)
}

// adopt weighs a running container in, if it is not yet.
func (r *Runtime) adopt(ctx context.Context, c container.InspectResponse) error {
	systemd, err := r.systemd(ctx)
	task := r.taskOf(c)
	if err != nil || systemd || r.tree.Has(task.ID) {
		return err
	}
	return r.weigh(task)
}

// systemd reports whether the engine leaves cgroups to systemd, which then owns names and weights.
func (r *Runtime) systemd(ctx context.Context) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.driver == "" {
		info, err := r.api.Info(ctx, client.InfoOptions{})
		if err != nil {
			return false, r.fail("ask the engine", "", err)
		}
		r.driver = info.Info.CgroupDriver
	}
	return r.driver == "systemd", nil
}

// Close lets go of the engine.
func (r *Runtime) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.closed:
		return nil
	default:
		close(r.closed)
		return r.api.Close()
	}
}

// inspect reads the task's container; one by that name without the labels is somebody else's.
func (r *Runtime) inspect(ctx context.Context, op, taskID string) (container.InspectResponse, error) {
	if !runtime.ValidTaskID(taskID) {
		return container.InspectResponse{}, &runtime.Error{Kind: runtime.ErrNotFound, Op: op, Task: taskID}
	}
	h, held := r.holding(taskID)
	name := containerName(taskID)
	if held {
		name = h.Engine
	}
	res, err := r.api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	c := res.Container
	if err != nil {
		return c, r.fail(op, taskID, err)
	}
	if held && c.State != nil && c.Config != nil && c.Config.Labels[LabelContainer] == h.Container {
		return c, nil
	}
	if c.State == nil || c.Config == nil || c.Config.Labels[labelTask] != taskID || c.Config.Labels[labelAgent] != r.opt.Agent {
		return c, &runtime.Error{Kind: runtime.ErrNotFound, Op: op, Task: taskID,
			Cause: fmt.Errorf("container %s is not a task of agent %q", containerName(taskID), r.opt.Agent)}
	}
	return c, nil
}
