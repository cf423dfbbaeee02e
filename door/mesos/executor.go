package mesos

import (
	"cmp"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/door/mesos/wire/executorv1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// Times of executors, which they read from their environment.
const (
	shutdownGrace   = 5 * time.Second
	recoveryTimeout = 15 * time.Minute
	subscribeMost   = 2 * time.Second
	executorBeat    = 30 * time.Minute
)

// executorKey names an executor of a framework.
type executorKey struct{ node, id string }

func compareKeys(a, b executorKey) int {
	return cmp.Or(strings.Compare(a.node, b.node), strings.Compare(a.id, b.id))
}

// executor is a program of a framework that runs its tasks. The door's mutex guards it.
type executor struct {
	fw         *framework
	info       *mesosv1.ExecutorInfo
	id         string
	node       string
	role, path string
	native     string
	token      string
	stream     *stream
	tasks      map[string]*task
	waiting    []proto.Message // events for when it subscribes
	killAt     time.Time       // when it is killed if it is still there
	stopping   bool
	adopted    bool // of an earlier life of the door: what its framework said of it is not known
}

func (e *executor) at() string { return e.node }

func (e *executor) key() executorKey { return executorKey{e.node, e.id} }

// prepareExecutor finds the executor a task names, or what must be claimed for a new one.
func (a *acceptance) prepareExecutor(d *Door, info *mesosv1.ExecutorInfo, _ wanted) (*executor, []*launch, error) {
	id := info.ExecutorId.GetValue()
	if err := checkID(id); err != nil {
		return nil, nil, refusal("Executor ID is invalid: %v", err)
	}
	switch {
	case info.GetType() == mesosv1.ExecutorInfo_DEFAULT:
		return nil, nil, refusal("'ExecutorInfo.type' must be 'CUSTOM' for a task outside of a task group")
	case info.Command == nil:
		return nil, nil, refusal("'ExecutorInfo.command' must be set for 'CUSTOM' executor")
	case info.FrameworkId != nil && info.FrameworkId.GetValue() != a.f.id:
		return nil, nil, refusal("ExecutorInfo has an invalid FrameworkID")
	}
	info = proto.CloneOf(info)
	info.FrameworkId, info.Type = &mesosv1.FrameworkID{Value: &a.f.id}, mesosv1.ExecutorInfo_CUSTOM.Enum()
	if e := a.f.executors[executorKey{a.node.name, id}]; e != nil {
		if !e.adopted && !proto.Equal(e.info, info) {
			return nil, nil, refusal("ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID")
		}
		if e.stopping {
			return nil, nil, refusal("Executor %s is shutting down", id)
		}
		return e, nil, nil
	}
	need, err := wantedOf(info.Resources)
	if err != nil {
		return nil, nil, err
	}
	if isEmpty(need.amounts) { // the pool gives nothing to run without any
		need.amounts = amounts{"memory": leastOffer["memory"]}
		need.regular = need.amounts
	}
	e := &executor{
		fw: a.f, info: info, id: id, node: a.node.name, role: a.sub.role, path: a.sub.path, token: rand.Text(), tasks: map[string]*task{},
	}
	spec, err := d.executorSpec(e, need)
	if err != nil {
		return nil, nil, err
	}
	return e, []*launch{{executor: e, spec: spec, need: need}}, nil
}

// executorSpec is what the pool is to run for an executor. What it must know is in its environment.
func (d *Door) executorSpec(e *executor, need wanted) (*polderv1.TaskSpec, error) {
	spec, err := runSpec(e.info.Command, e.info.Container)
	if err != nil {
		return nil, err
	}
	common(spec, e.fw, need, e.role)
	spec.Labels[labelKind], spec.Labels[labelExecutor] = "executor", e.id
	grace := shutdownGrace
	if g := e.info.GetShutdownGracePeriod(); g != nil {
		grace = time.Duration(g.GetNanoseconds())
	}
	checkpoint := "0"
	if e.fw.info.GetCheckpoint() {
		checkpoint = "1"
	}
	for name, value := range map[string]string{
		"MESOS_FRAMEWORK_ID": e.fw.id, "MESOS_EXECUTOR_ID": e.id, "MESOS_AGENT_ENDPOINT": d.c.Addr, "MESOS_CHECKPOINT": checkpoint,
		"MESOS_RECOVERY_TIMEOUT": durationText(recoveryTimeout), "MESOS_SUBSCRIPTION_BACKOFF_MAX": durationText(subscribeMost),
		"MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": durationText(grace), executorToken: e.token, auth.GateToken: e.token,
		"MESOS_SLAVE_ID": e.node, "MESOS_SLAVE_PID": "slave(1)@" + d.c.Addr, "MESOS_ALLOCATION_ROLE": e.role, "LIBPROCESS_PORT": "0",
	} {
		setEnv(spec, name, value)
	}
	sandbox(spec)
	spec.Kill = killSpec(&mesosv1.KillPolicy{GracePeriod: &mesosv1.DurationInfo{Nanoseconds: new(grace.Nanoseconds())}})
	return spec, checkText(spec)
}

// executorToken is the variable in which an executor has the token of its calls. Its node's agent finds it in [auth.GateToken] when a call
// has none.
const executorToken = "MESOS_EXECUTOR_AUTHENTICATION_TOKEN"

// sandbox tells where the sandbox is, and the agent. In a container the sandbox is known; a process is told both by its node's agent, which
// passes its calls on to this door.
func sandbox(spec *polderv1.TaskSpec) {
	names := []string{"MESOS_DIRECTORY", "MESOS_SANDBOX"}
	if spec.Image != "" {
		for _, name := range names {
			setEnv(spec, name, containerSandbox)
		}
		return
	}
	spec.Command = append([]string{"/bin/sh", "-c", onNode, "sh"}, spec.Command...)
}

// onNode is what a process does first.
const onNode = `MESOS_DIRECTORY=$POLDER_SANDBOX MESOS_SANDBOX=$POLDER_SANDBOX
[ -z "$POLDER_GATE" ] || MESOS_AGENT_ENDPOINT=$POLDER_GATE MESOS_SLAVE_PID="slave(1)@$POLDER_GATE"
export MESOS_DIRECTORY MESOS_SANDBOX MESOS_AGENT_ENDPOINT MESOS_SLAVE_PID
exec "$@"`

// containerSandbox is where agents mount the sandbox in a container.
const containerSandbox = "/polder"

// durationText writes a duration as Mesos reads it.
func durationText(d time.Duration) string {
	return strings.TrimSuffix(strings.TrimSuffix(trimZeros(d.Seconds()), "."), "") + "secs"
}

func trimZeros(f float64) string {
	return strings.TrimRight(strings.TrimRight(formatFloat(f), "0"), ".")
}

// send sends an event now, or when the executor subscribes.
func (e *executor) send(m proto.Message) {
	if e.stream != nil {
		e.stream.send(m)
	} else {
		e.waiting = append(e.waiting, m)
	}
}

func execEvent(kind executorv1.Event_Type) *executorv1.Event {
	return &executorv1.Event{Type: kind.Enum()}
}

// launch gives the executor a task.
func (e *executor) launch(t *task) {
	m := execEvent(executorv1.Event_LAUNCH)
	info := proto.CloneOf(t.info)
	info.Executor = e.info
	m.Launch = &executorv1.Event_Launch{Task: info}
	e.send(m)
}

// launchGroup gives the executor tasks that are one group to it.
func (e *executor) launchGroup(list []*task) {
	m := execEvent(executorv1.Event_LAUNCH_GROUP)
	m.LaunchGroup = &executorv1.Event_LaunchGroup{TaskGroup: &mesosv1.TaskGroupInfo{}}
	for _, t := range list {
		info := proto.CloneOf(t.info)
		info.Executor = e.info
		m.LaunchGroup.TaskGroup.Tasks = append(m.LaunchGroup.TaskGroup.Tasks, info)
	}
	e.send(m)
}

// kill asks the executor to end a task.
func (e *executor) kill(t *task, policy *mesosv1.KillPolicy) {
	if policy == nil {
		policy = t.info.KillPolicy
	}
	m := execEvent(executorv1.Event_KILL)
	m.Kill = &executorv1.Event_Kill{TaskId: t.info.TaskId, KillPolicy: policy}
	e.waiting = slices.DeleteFunc(e.waiting, func(w proto.Message) bool { // its framework may ask as often as it likes
		before, ok := w.(*executorv1.Event)
		return ok && before.GetKill() != nil && before.GetKill().GetTaskId().GetValue() == t.id()
	})
	e.send(m)
}

// acknowledged tells the executor that the framework has an update of its.
func (e *executor) acknowledged(t *task, uuid []byte) {
	m := execEvent(executorv1.Event_ACKNOWLEDGED)
	m.Acknowledged = &executorv1.Event_Acknowledged{TaskId: t.info.TaskId, Uuid: uuid}
	e.send(m)
}

// evict ends what an executor still runs of a task whose lease is gone. It is told to end the task; when it does not in its grace,
// the whole executor goes: what it uses is somebody else's now.
func (e *executor) evict(d *Door, t *task) {
	if e.stopping {
		return
	}
	e.kill(t, nil)
	e.killAt = d.c.Now().Add(shutdownGrace)
	d.nudge()
}

// shutdown asks the executor to end; it is killed when it does not.
func (e *executor) shutdown(d *Door) {
	if e.stopping {
		return
	}
	e.stopping = true
	e.send(execEvent(executorv1.Event_SHUTDOWN))
	d.killNative(e.fw, false, e.native) // its kill policy has the grace
}

func (e *executor) hangUp(why error) {
	if e.stream != nil {
		e.stream.end(why)
	}
}

// report takes over what the pool knows of the executor. Its end is the end of its tasks.
func (e *executor) report(d *Door, n news) {
	if !n.over() {
		return
	}
	e.hangUp(errEnded)
	delete(e.fw.executors, e.key())
	d.keep(e.storeKey(), nil)
	var holds []string
	for _, t := range e.tasks {
		holds = append(holds, t.native)
		if t.over() {
			continue
		}
		s := t.status(mesosv1.TaskState_TASK_FAILED, "Executor terminated: "+n.GetReason().GetMessage())
		s.Reason = mesosv1.TaskStatus_REASON_EXECUTOR_TERMINATED.Enum()
		if n.State == polderv1.TaskState_TASK_STATE_RECLAIMED {
			s.State, s.Reason = e.fw.state(mesosv1.TaskState_TASK_GONE).Enum(), mesosv1.TaskStatus_REASON_CONTAINER_PREEMPTED.Enum()
		}
		d.update(t, s)
	}
	d.killNative(e.fw, true, holds...)
	m := event(schedulerv1.Event_FAILURE)
	m.Failure = &schedulerv1.Event_Failure{
		AgentId: &mesosv1.AgentID{Value: new(e.node)}, ExecutorId: &mesosv1.ExecutorID{Value: new(e.id)}, Status: new(n.GetExitCode()),
	}
	e.fw.send(m)
}

// shutdown is the scheduler's call to end an executor.
func (d *Door) shutdown(f *framework, c *schedulerv1.Call) {
	if e := f.executors[executorKey{c.Shutdown.AgentId.GetValue(), c.Shutdown.ExecutorId.GetValue()}]; e != nil {
		e.shutdown(d)
	}
}

// message hands bytes to an executor, if it is there.
func (d *Door) message(f *framework, c *schedulerv1.Call) {
	if e := f.executors[executorKey{c.Message.AgentId.GetValue(), c.Message.ExecutorId.GetValue()}]; e != nil && e.stream != nil {
		m := execEvent(executorv1.Event_MESSAGE)
		m.Message = &executorv1.Event_Message{Data: c.Message.Data}
		e.stream.send(m)
	}
}
