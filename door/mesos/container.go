package mesos

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// Bounds of nested containers: how many there are, and how long the end of one is known.
const (
	maxNested  = 1000
	nestedKept = 10 * time.Minute
)

// errNoContainer is the answer about a container that is not there.
func errNoContainer(id *mesosv1.ContainerID) error {
	return answer(http.StatusNotFound, "Container %.200s cannot be found", pathOf(id))
}

// containerProblem is the answer to a container that cannot be entered.
func containerProblem(err error) error {
	if connect.CodeOf(err) == connect.CodeFailedPrecondition { // it has ended, or has no input
		return answer(http.StatusInternalServerError, "%v", reasonOf(err))
	}
	return filesProblem(err)
}

// nested is a container in a task's own: a command that was started in the task.
type nested struct {
	*flow
	talk   *talk
	path   string // of the pool's role, whose permission it takes to touch it
	tty    bool
	signal int32 // that ended it
	endAt  time.Time
}

// nests are the nested containers by the path of their ids. One that is being started is nil.
type nests struct {
	mu  sync.Mutex // guards all, and each one's signal and endAt
	all map[string]*nested
	now func() time.Time
}

func newNests(now func() time.Time) *nests { return &nests{all: map[string]*nested{}, now: now} }

// pathOf is a container's id with those it is in, the outermost first.
func pathOf(id *mesosv1.ContainerID) string {
	if id.GetParent() == nil {
		return id.GetValue()
	}
	return pathOf(id.Parent) + "/" + id.GetValue()
}

// outermost is the container of the task that a container is in.
func outermost(id *mesosv1.ContainerID) string {
	for id.GetParent() != nil {
		id = id.Parent
	}
	return id.GetValue()
}

// reserve keeps a place for a container; it is not ok when there is one by that id.
func (n *nests) reserve(path string) (ok bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, taken := n.all[path]; taken {
		return false, nil
	}
	if len(n.all) >= maxNested {
		n.reap(nestedKept)
	}
	if len(n.all) >= maxNested {
		n.reap(0)
	}
	if len(n.all) >= maxNested {
		return false, answer(http.StatusServiceUnavailable, "%d nested containers run; wait until one ends", maxNested)
	}
	n.all[path] = nil
	return true, nil
}

// reap forgets containers that ended so long ago.
func (n *nests) reap(age time.Duration) {
	for path, x := range n.all {
		if x != nil && x.over() && n.now().Sub(x.endAt) >= age {
			delete(n.all, path)
		}
	}
}

func (n *nests) put(path string, x *nested) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if x == nil {
		delete(n.all, path)
		return
	}
	n.all[path] = x
}

func (n *nests) get(id *mesosv1.ContainerID) *nested {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.all[pathOf(id)]
}

// under are the ids of the containers in a task's own that run.
func (n *nests) under(native string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for path, x := range n.all {
		if root, rest, in := strings.Cut(path, "/"); in && root == native && x != nil && !x.over() {
			out = append(out, rest)
		}
	}
	slices.Sort(out)
	return out
}

// launchNested starts a command in a task, as a container in its own. It is nil when there is one by that id. The command ends with the context,
// and what it writes goes to those who look on.
func (d *Door) launchNested(ctx context.Context, who principal, id *mesosv1.ContainerID, c *mesosv1.CommandInfo, box *mesosv1.ContainerInfo, first ...*sink) (*nested, error) {
	command, err := nestedCommand(id, c, box)
	if err != nil {
		return nil, err
	}
	path := pathOf(id)
	if fresh, err := d.nests.reserve(path); err != nil || !fresh {
		return nil, err
	}
	x := &nested{flow: newFlow(first...), tty: box.GetTtyInfo() != nil}
	if x.path, err = d.mayEnter(ctx, who, outermost(id)); err == nil {
		x.talk, err = d.execIn(door.As(ctx, who.caller), &polderv1.ExecStart{Task: outermost(id), Command: command, Tty: x.tty})
	}
	if err != nil {
		d.nests.put(path, nil)
		return nil, err
	}
	if w := box.GetTtyInfo().GetWindowSize(); w != nil {
		_ = x.talk.send(nil, false, &polderv1.TerminalSize{Rows: w.GetRows(), Columns: w.GetColumns()}) // its end is told otherwise
	}
	d.nests.put(path, x)
	d.calls.Go(func() {
		x.pump(x.talk)
		d.nests.mu.Lock()
		defer d.nests.mu.Unlock()
		x.endAt = d.nests.now()
	})
	return x, nil
}

// nestedCommand is what is to be run. It runs where its task does: with the same file system, user and limits.
func nestedCommand(id *mesosv1.ContainerID, c *mesosv1.CommandInfo, box *mesosv1.ContainerInfo) ([]string, error) {
	for x := id; x != nil; x = x.Parent {
		if x.GetValue() == "" || strings.ContainsAny(x.GetValue(), "/\x00") || len(x.GetValue()) > 255 {
			return nil, answer(http.StatusBadRequest, "ContainerID %.80q is invalid", x.GetValue())
		}
	}
	switch {
	case id.GetParent() == nil:
		return nil, answer(http.StatusBadRequest, "Expecting 'container_id.parent' to be present: a container of its own would hold no lease; launch a task")
	case box.GetDocker() != nil || box.GetMesos().GetImage() != nil || len(box.GetVolumes()) > 0 || len(box.GetNetworkInfos()) > 0 || box.GetLinuxInfo() != nil:
		return nil, answer(http.StatusBadRequest, "a nested container has no image, volumes, networks or privileges of its own here: it runs in its task's")
	case c.GetUser() != "" || len(c.GetUris()) > 0:
		return nil, answer(http.StatusBadRequest, "a nested container's command has no user and no URIs of its own here: it runs as its task does")
	}
	spec, err := runSpec(c, nil)
	if err != nil {
		return nil, answer(http.StatusBadRequest, "%v", err)
	}
	if len(spec.Command) == 0 {
		return nil, answer(http.StatusBadRequest, "Expecting 'command' to be present")
	}
	if len(spec.Env) == 0 {
		return spec.Command, nil
	}
	set := []string{"env"}
	for name, value := range spec.Env {
		set = append(set, name+"="+value)
	}
	slices.Sort(set[1:])
	return append(set, spec.Command...), nil
}

// mayEnter finds the role of a task, and refuses who may not start commands in it.
func (d *Door) mayEnter(ctx context.Context, who principal, native string) (path string, err error) {
	res, err := d.c.API.Tasks.Get(withSelf(ctx), connect.NewRequest(&polderv1.TaskServiceGetRequest{Id: native}))
	if err != nil {
		return "", containerProblem(err)
	}
	return res.Msg.Task.Role, d.mayExec(ctx, who, res.Msg.Task.Role)
}

// mayExec refuses who may not start commands in a role's tasks.
func (d *Door) mayExec(ctx context.Context, who principal, path string) error {
	res, err := d.c.API.Access.CanI(door.As(ctx, who.caller), connect.NewRequest(&polderv1.CanIRequest{Verb: "exec", Role: path}))
	switch {
	case err != nil:
		return containerProblem(err)
	case !res.Msg.Allowed:
		return answer(http.StatusForbidden, "%s may not enter containers of role %s", who.name, path)
	}
	return nil
}

// enterable finds a nested container for somebody who may touch it; it is nil when the id is a task's own container.
func (d *Door) enterable(ctx context.Context, who principal, id *mesosv1.ContainerID) (*nested, error) {
	x := d.nests.get(id)
	if x == nil && id.GetParent() != nil {
		return nil, errNoContainer(id)
	}
	if x == nil {
		return nil, nil
	}
	return x, d.mayExec(ctx, who, x.path)
}

// waitNested waits for a container's end and returns how it ended, as wait(2) has it.
func (d *Door) waitNested(ctx context.Context, who principal, id *mesosv1.ContainerID) (status int32, message string, err error) {
	x, err := d.enterable(ctx, who, id)
	if err != nil {
		return 0, "", err
	}
	if x == nil {
		return d.waitTask(ctx, who, id.GetValue())
	}
	select {
	case <-x.ended:
	case <-ctx.Done():
		return 0, "", context.Cause(ctx)
	}
	d.nests.mu.Lock()
	defer d.nests.mu.Unlock()
	switch {
	case x.signal != 0:
		return x.signal, "", nil
	case x.exit != nil:
		return waitStatus(*x.exit), "", nil
	}
	return sigKill, reasonOf(cmp.Or(x.err, errEnded)).Error(), nil
}

// sigKill is the status of a process that was killed.
const sigKill = 9

// waitStatus is an exit code as wait(2) has it.
func waitStatus(code int32) int32 { return code & 0xff << 8 }

// waitTask waits for the end of a task's own command.
func (d *Door) waitTask(ctx context.Context, who principal, native string) (int32, string, error) {
	for {
		res, err := d.c.API.Tasks.Get(door.As(ctx, who.caller), connect.NewRequest(&polderv1.TaskServiceGetRequest{
			Id: native, Until: []polderv1.TaskState{polderv1.TaskState_TASK_STATE_LOST}, // any end will do
		}))
		if err != nil {
			return 0, "", containerProblem(err)
		}
		if t := res.Msg.Task; (news{t}).over() {
			if t.ExitCode == nil {
				return sigKill, t.GetReason().GetMessage(), nil
			}
			return waitStatus(t.GetExitCode()), t.GetReason().GetMessage(), nil
		}
	}
}

// killNested ends a container. Whatever the signal, a nested one ends at once; a task's own gets its grace unless it is killed.
func (d *Door) killNested(ctx context.Context, who principal, id *mesosv1.ContainerID, signal int32) error {
	x, err := d.enterable(ctx, who, id)
	if err != nil {
		return err
	}
	if signal = cmp.Or(signal, sigKill); signal < 1 || signal > 64 {
		return answer(http.StatusBadRequest, "%d is no signal", signal)
	}
	if x == nil {
		_, err := d.c.API.Tasks.Kill(door.As(ctx, who.caller), connect.NewRequest(&polderv1.KillRequest{Ids: []string{id.GetValue()}, Force: signal == sigKill}))
		if err != nil {
			return containerProblem(err)
		}
		return nil
	}
	d.nests.mu.Lock()
	if !x.over() {
		x.signal = signal
	}
	d.nests.mu.Unlock()
	x.talk.cancel()
	return nil
}

// removeNested forgets a container that has ended. The statuses are Mesos'.
func (d *Door) removeNested(ctx context.Context, who principal, id *mesosv1.ContainerID) error {
	x, err := d.enterable(ctx, who, id)
	switch {
	case err != nil:
		return err
	case x == nil:
		return answer(http.StatusInternalServerError, "Container %.200s is a task's; it is removed with the task", pathOf(id))
	case !x.over():
		return answer(http.StatusInternalServerError, "Container %.200s is still running", pathOf(id))
	}
	d.nests.put(pathOf(id), nil)
	return nil
}
