package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/cgroup"
)

// Prepare pulls the image unless the engine has it.
func (r *Runtime) Prepare(ctx context.Context, spec runtime.Spec, progress func(runtime.Progress)) error {
	if err := validate(spec); err != nil {
		return err
	}
	if spec.Container != nil {
		if r.made(spec.Container.ID) {
			return nil // Start looks whether it is still there
		}
		if _, err := r.find(ctx, spec.Container.ID); err == nil || !errors.Is(err, runtime.ErrNotFound) {
			return err // what it was made from is its own
		}
	}
	if progress == nil {
		progress = func(runtime.Progress) {}
	}
	_, err := r.api.ImageInspect(ctx, spec.Image)
	if errdefs.IsNotFound(err) {
		err = r.pull(ctx, spec, progress)
	} else {
		err = r.fail("look for the image", spec.TaskID, err)
	}
	if err == nil {
		progress(runtime.Progress{Step: "ready", Item: spec.Image})
	}
	return err
}

func validate(spec runtime.Spec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	if spec.Image == "" {
		return &runtime.Error{Kind: runtime.ErrInvalid, Op: "prepare", Task: spec.TaskID, Cause: errors.New("no image"),
			Next: "name one, or use the process runtime"}
	}
	return nil
}

func (r *Runtime) pull(ctx context.Context, spec runtime.Spec, progress func(runtime.Progress)) error {
	res, err := r.api.ImagePull(ctx, spec.Image, client.ImagePullOptions{})
	if err != nil {
		return r.imageError(spec, err)
	}
	defer res.Close()
	for m, err := range res.JSONMessages(ctx) {
		if err != nil {
			return r.imageError(spec, err)
		}
		if m.Error != nil {
			return r.imageError(spec, m.Error)
		}
		p := runtime.Progress{Step: strings.ToLower(m.Status), Item: m.ID}
		if m.Progress != nil {
			p.Done, p.Total = m.Progress.Current, m.Progress.Total
		}
		progress(p)
	}
	return nil
}

func (r *Runtime) imageError(spec runtime.Spec, err error) error {
	if away(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return r.fail("pull "+spec.Image, spec.TaskID, err)
	}
	return &runtime.Error{Kind: runtime.ErrImage, Op: "pull " + spec.Image, Task: spec.TaskID, Cause: err,
		Next: "check the name and that this machine reaches the registry, or load it here with docker load or docker pull"}
}

// Start creates the container and starts it. A container that was created and never started, by an agent that died in
// between, is started now; one that has run is not run again.
func (r *Runtime) Start(ctx context.Context, spec runtime.Spec) (runtime.Status, error) {
	if err := validate(spec); err != nil {
		return runtime.Status{}, err
	}
	done, err := r.alone(ctx, spec.TaskID)
	if err != nil {
		return runtime.Status{}, err
	}
	defer done()
	if spec.Container != nil {
		return r.startContainer(ctx, spec)
	}
	c, err := r.inspect(ctx, "start", spec.TaskID)
	if errors.Is(err, runtime.ErrNotFound) {
		c, err = r.create(ctx, spec)
	}
	if err == nil && c.State.Status == container.StateCreated {
		err = r.beginNew(ctx, spec, c.ID)
		if err == nil {
			c, err = r.inspect(ctx, "start", spec.TaskID)
		}
	}
	if err != nil {
		return runtime.Status{}, err
	}
	return r.statusOf(c), nil
}

// alone waits until no other call starts this task, and returns how to let the next one in.
func (r *Runtime) alone(ctx context.Context, taskID string) (done func(), err error) {
	for {
		r.mu.Lock()
		other, busy := r.starting[taskID]
		if !busy {
			mine := make(chan struct{})
			r.starting[taskID] = mine
			r.mu.Unlock()
			return func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				delete(r.starting, taskID)
				close(mine)
			}, nil
		}
		r.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// create makes the container. If another call made it meanwhile, that one counts.
func (r *Runtime) create(ctx context.Context, spec runtime.Spec) (c container.InspectResponse, err error) {
	if err := r.shareSandbox(ctx, spec); err != nil {
		return c, err
	}
	parent, err := r.weighIn(ctx, spec)
	if err != nil {
		return c, err
	}
	host, err := hostConfig(spec, parent)
	if err != nil {
		return c, err
	}
	if r.opt.Network != "" {
		host.NetworkMode = container.NetworkMode(r.opt.Network)
	}
	err = r.turns.do(ctx, func() error {
		_, err := r.api.ContainerCreate(ctx, client.ContainerCreateOptions{
			Name: containerName(spec.TaskID), Config: r.config(spec), HostConfig: host})
		return err
	})
	if err == nil || errdefs.IsConflict(err) {
		return r.created(ctx, spec)
	}
	r.tree.Remove(spec.TaskID)
	switch {
	case errdefs.IsNotFound(err):
		return c, r.imageError(spec, err)
	case errdefs.IsInvalidArgument(err):
		return c, &runtime.Error{Kind: runtime.ErrStart, Op: "create", Task: spec.TaskID, Cause: err}
	}
	return c, r.fail("create", spec.TaskID, err)
}

// created looks at the container that has the name now. The engine reserves a name a little before it knows the
// container, which matters when an agent died in the middle of create.
func (r *Runtime) created(ctx context.Context, spec runtime.Spec) (c container.InspectResponse, err error) {
	for range 100 {
		if c, err = r.inspect(ctx, "start", spec.TaskID); !errdefs.IsNotFound(err) {
			break
		}
		if err := r.pause(ctx, spec.TaskID, soon); err != nil {
			return c, err
		}
	}
	if errors.Is(err, runtime.ErrNotFound) {
		r.tree.Remove(spec.TaskID)
		err = &runtime.Error{Kind: runtime.ErrStart, Op: "start", Task: spec.TaskID, Cause: err,
			Next: "remove or rename that container"}
	}
	return c, err
}

// beginNew starts a created container; one that cannot start is removed, because it never ran.
func (r *Runtime) beginNew(ctx context.Context, spec runtime.Spec, id string) error {
	err := r.begin(ctx, id)
	if err == nil {
		return nil
	}
	if away(err) || ctx.Err() != nil {
		return r.fail("start", spec.TaskID, err)
	}
	_, removeErr := r.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{RemoveVolumes: true, Force: true})
	r.tree.Remove(spec.TaskID)
	if errdefs.IsNotFound(removeErr) {
		removeErr = nil
	}
	return &runtime.Error{Kind: runtime.ErrStart, Op: "start", Task: spec.TaskID, Cause: errors.Join(err, removeErr)}
}

// weighIn makes the cgroup the container is to be in and returns the engine's name of it.
func (r *Runtime) weighIn(ctx context.Context, spec runtime.Spec) (parent string, err error) {
	systemd, err := r.systemd(ctx)
	if err != nil {
		return "", err
	}
	parent = r.tree.Parent(spec.Role, spec.FundedOrBorrowed())
	if systemd && parent != "" {
		return slice(parent), nil
	}
	task := cgroup.TaskOf(spec)
	task.Engine = true
	return parent, r.tree.Add(task)
}

// slice names a cgroup path as a systemd slice, where "-" separates levels: "/polder/a/corp" is "polder-a-corp.slice".
func slice(path string) string {
	return strings.NewReplacer("-", "_", "/", "-").Replace(strings.Trim(path, "/")) + ".slice"
}

func (r *Runtime) config(spec runtime.Spec) *container.Config {
	inside := ""
	if spec.Sandbox != "" {
		inside = SandboxPath
	}
	c := &container.Config{Image: spec.Image, Cmd: spec.Command, Env: spec.Environ(inside, true), WorkingDir: spec.WorkDir,
		User: spec.User, Labels: r.labels(spec), ExposedPorts: network.PortSet{},
		// With StdinOnce the end of an attachment's input is the end of the container's; the engine knows no other way.
		OpenStdin: spec.Interactive(), StdinOnce: spec.Stdin && !spec.TTY, Tty: spec.TTY}
	if spec.StopSignal != "" {
		c.StopSignal = runtime.SignalName(spec.Stop())
	}
	for _, p := range spec.Ports {
		if port, ok := enginePort(p); ok {
			c.ExposedPorts[port] = struct{}{}
		}
	}
	return c
}

func hostConfig(spec runtime.Spec, parent string) (*container.HostConfig, error) {
	h := &container.HostConfig{
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
		SecurityOpt:   []string{"no-new-privileges"},
		PortBindings:  network.PortMap{},
		Mounts:        mountsOf(spec),
	}
	h.CgroupParent = parent
	h.CPUShares = cgroup.Shares(cgroup.TaskOf(spec))
	h.Memory = spec.MemoryBytes
	if spec.CPUHard {
		h.NanoCPUs = spec.CPU * 1e6
	}
	if spec.Pids > 0 {
		h.PidsLimit = &spec.Pids
	}
	if len(spec.GPUs) > 0 {
		h.DeviceRequests = []container.DeviceRequest{{DeviceIDs: spec.GPUs, Capabilities: [][]string{{"gpu"}}}}
	}
	for _, p := range spec.Ports {
		port, ok := enginePort(p)
		if !ok {
			return nil, &runtime.Error{Kind: runtime.ErrInvalid, Op: "start", Task: spec.TaskID,
				Cause: fmt.Errorf("port %q: %d/%s is not a port", p.Name, p.Container(), p.Protocol)}
		}
		h.PortBindings[port] = append(h.PortBindings[port], network.PortBinding{HostPort: strconv.Itoa(int(p.HostPort))})
	}
	return h, nil
}

func enginePort(p runtime.PortMap) (network.Port, bool) {
	protocol := network.TCP
	if p.Protocol == "udp" {
		protocol = network.UDP
	}
	return network.PortFrom(p.Container(), protocol)
}

func mountsOf(spec runtime.Spec) (list []mount.Mount) {
	if spec.Sandbox != "" {
		list = append(list, mount.Mount{Type: mount.TypeBind, Source: spec.Sandbox, Target: SandboxPath})
	}
	for _, m := range spec.Mounts {
		list = append(list, mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.At(SandboxPath), ReadOnly: m.ReadOnly})
	}
	return list
}

// shareSandbox lets the container's user write to the sandbox: it is given to a user known by number, and opened to all
// for one that only the image can name.
func (r *Runtime) shareSandbox(ctx context.Context, spec runtime.Spec) error {
	user := spec.User
	if user == "" {
		image, err := r.api.ImageInspect(ctx, spec.Image)
		if errdefs.IsNotFound(err) {
			return r.imageError(spec, err)
		}
		if err != nil {
			return r.fail("look at the image", spec.TaskID, err)
		}
		if image.Config != nil {
			user = image.Config.User
		}
	}
	if spec.Sandbox == "" {
		return nil
	}
	if err := giveTo(spec.Sandbox, user); err != nil {
		return &runtime.Error{Kind: runtime.ErrStart, Op: "share the sandbox", Task: spec.TaskID, Cause: err}
	}
	return nil
}

func giveTo(dir, user string) error {
	name, group, _ := strings.Cut(user, ":")
	uid, err := strconv.Atoi(name)
	switch {
	case name == "" || name == "root" || (err == nil && uid == 0):
		return nil
	case err != nil:
		return os.Chmod(dir, os.ModeSticky|0o777)
	}
	gid, err := strconv.Atoi(group)
	if err != nil {
		gid = -1
	}
	return os.Chown(dir, uid, gid)
}
