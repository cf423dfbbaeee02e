package mesos

import (
	"fmt"
	"time"

	"connectrpc.com/connect"

	"context"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/mesos/piece"
	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// task is a task of a framework. The door's mutex guards it.
type task struct {
	fw       *framework
	info     *mesosv1.TaskInfo
	key      string              // where it is written down, once it was
	wire     []byte              // info as it is written down, once it was
	shelf    *piece.Shelf[*task] // where its text is while it is on the framework's books
	takes    amounts             // of its node, once somebody asked
	node     string
	role     string // Mesos'
	path     string // the pool's
	native   string // id of the pool's task: what runs, or what holds the lease for an executor
	executor *executor
	group    *group
	state    mesosv1.TaskState
	sent     mesosv1.TaskState     // the last state the framework was told
	statuses []*mesosv1.TaskStatus // one per state it was in
	updates  []*update             // not acknowledged, in order; the first is on its way
	killed   bool                  // somebody asked for its end
	healthy  string
	ip       string
}

func (t *task) id() string { return t.info.TaskId.GetValue() }

func (t *task) at() string { return t.node }

func (t *task) over() bool { return terminal(t.state) }

func terminal(s mesosv1.TaskState) bool {
	switch s {
	case mesosv1.TaskState_TASK_STAGING, mesosv1.TaskState_TASK_STARTING, mesosv1.TaskState_TASK_RUNNING,
		mesosv1.TaskState_TASK_KILLING, mesosv1.TaskState_TASK_UNREACHABLE, mesosv1.TaskState_TASK_UNKNOWN:
		return false
	}
	return true
}

// newTask is a task about to be claimed.
func (d *Door) newTask(a *acceptance, info *mesosv1.TaskInfo) *task {
	return &task{
		fw: a.f, info: info, node: a.node.name, role: a.sub.role, path: a.sub.path, ip: a.node.ip(),
		state: mesosv1.TaskState_TASK_STAGING, sent: mesosv1.TaskState_TASK_STAGING,
	}
}

// ip is where tasks of the node are reached: its attribute "ip", or loopback.
func (n *node) ip() string {
	if ip := n.attributes["ip"]; ip != "" {
		return ip
	}
	return "127.0.0.1"
}

// report takes over what the pool knows of the task.
func (t *task) report(d *Door, n news) {
	switch {
	case t.over():
	case n.State == polderv1.TaskState_TASK_STATE_UNREACHABLE:
		t.unreachable(d)
	case n.over():
		t.ended(d, n)
	case t.executor != nil: // its executor says how it is
	case n.State == polderv1.TaskState_TASK_STATE_STOPPING && t.fw.capable(mesosv1.FrameworkInfo_Capability_TASK_KILLING_STATE):
		d.update(t, t.status(mesosv1.TaskState_TASK_KILLING, "The task is being stopped"))
	case n.State >= polderv1.TaskState_TASK_STATE_RUNNING:
		t.runs(d, n)
	}
}

// runs tells that the task runs, and when its health changes.
func (t *task) runs(d *Door, n news) {
	if t.state == mesosv1.TaskState_TASK_RUNNING && t.healthy == n.Health || t.state == mesosv1.TaskState_TASK_KILLING {
		return
	}
	s := t.status(mesosv1.TaskState_TASK_RUNNING, "")
	if t.state == mesosv1.TaskState_TASK_UNREACHABLE {
		s.Reason = mesosv1.TaskStatus_REASON_AGENT_REREGISTERED.Enum()
	}
	if n.Health != "" {
		s.Healthy = new(n.Health == "healthy")
		s.Reason = mesosv1.TaskStatus_REASON_TASK_HEALTH_CHECK_STATUS_UPDATED.Enum()
	}
	t.healthy = n.Health
	d.update(t, s)
}

// unreachable tells a framework that knows partitions that the task's node does not answer. Others hear when it is lost.
func (t *task) unreachable(d *Door) {
	if t.state == mesosv1.TaskState_TASK_UNREACHABLE || !t.fw.capable(mesosv1.FrameworkInfo_Capability_PARTITION_AWARE) {
		return
	}
	s := t.made(mesosv1.TaskState_TASK_UNREACHABLE, mesosv1.TaskStatus_REASON_AGENT_REMOVED, "The agent does not answer")
	s.UnreachableTime = &mesosv1.TimeInfo{Nanoseconds: new(d.c.Now().UnixNano())}
	t.note(d, s)
	d.keepTask(t)
	d.sendStatus(t.fw, s)
}

// ended tells how the task ended.
func (t *task) ended(d *Door, n news) {
	s := t.status(t.endState(n), n.GetReason().GetMessage())
	if r, ok := t.endReason(n); ok {
		s.Reason = r.Enum()
	}
	if n.ExitCode != nil && s.GetMessage() == "" {
		s.Message = new(fmt.Sprintf("Command exited with status %d", n.GetExitCode()))
	}
	if t.executor != nil { // the lease is gone: what runs on it must go, too
		t.executor.evict(d, t)
	}
	d.update(t, s)
	t.group.member(d, t)
}

func (t *task) endState(n news) mesosv1.TaskState {
	switch n.State {
	case polderv1.TaskState_TASK_STATE_SUCCEEDED:
		return mesosv1.TaskState_TASK_FINISHED
	case polderv1.TaskState_TASK_STATE_KILLED:
		return mesosv1.TaskState_TASK_KILLED
	case polderv1.TaskState_TASK_STATE_RECLAIMED, polderv1.TaskState_TASK_STATE_LOST:
		if t.killed {
			return mesosv1.TaskState_TASK_KILLED
		}
		return t.fw.state(mesosv1.TaskState_TASK_GONE)
	}
	return mesosv1.TaskState_TASK_FAILED
}

// endReason is Mesos' word for why.
func (t *task) endReason(n news) (mesosv1.TaskStatus_Reason, bool) {
	switch {
	case n.State == polderv1.TaskState_TASK_STATE_RECLAIMED:
		return mesosv1.TaskStatus_REASON_CONTAINER_PREEMPTED, true
	case n.State == polderv1.TaskState_TASK_STATE_LOST:
		return mesosv1.TaskStatus_REASON_AGENT_REMOVED, true
	case n.State != polderv1.TaskState_TASK_STATE_FAILED:
		return 0, false
	}
	switch n.GetReason().GetCode() {
	case "OutOfMemory":
		return mesosv1.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY, true
	case "MaxRunTime":
		return mesosv1.TaskStatus_REASON_MAX_COMPLETION_TIME_REACHED, true
	case "Exited", "Unhealthy":
		return mesosv1.TaskStatus_REASON_COMMAND_EXECUTOR_FAILED, true
	}
	return mesosv1.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED, true
}

// agentStatus is a status and everything in it, which is one piece of memory: there is one for each state of each task.
type agentStatus struct {
	status    mesosv1.TaskStatus
	agent     mesosv1.AgentID
	executor  mesosv1.ExecutorID
	container mesosv1.ContainerStatus
	id        mesosv1.ContainerID
	network   mesosv1.NetworkInfo
	address   mesosv1.NetworkInfo_IPAddress
	networks  [1]*mesosv1.NetworkInfo
	addresses [1]*mesosv1.NetworkInfo_IPAddress
	state     mesosv1.TaskState
	source    mesosv1.TaskStatus_Source
	protocol  mesosv1.NetworkInfo_Protocol
	at        float64
	uuid      [16]byte
}

// status is a status as an agent sends it: reliably, so with a uuid.
func (t *task) status(state mesosv1.TaskState, message string) *mesosv1.TaskStatus {
	x := &agentStatus{state: state, source: mesosv1.TaskStatus_SOURCE_AGENT, at: float64(time.Now().UnixNano()) / 1e9}
	x.agent.Value, x.executor.Value = &t.node, new(t.executorID())
	s := &x.status
	s.TaskId, s.AgentId, s.ExecutorId = t.info.TaskId, &x.agent, &x.executor
	s.State, s.Source, s.Timestamp, s.Uuid = &x.state, &x.source, &x.at, randomUUID(x.uuid[:])
	if message != "" {
		s.Message = &message
	}
	x.contain(t)
	return s
}

// containerStatus says where the task is reached.
func (t *task) containerStatus() *mesosv1.ContainerStatus {
	x := &agentStatus{}
	x.contain(t)
	return &x.container
}

// contain says where the task is reached. Some clients need the first address of the first network.
func (x *agentStatus) contain(t *task) {
	x.id.Value = &t.native
	x.protocol = mesosv1.NetworkInfo_IPv4
	x.address.Protocol, x.address.IpAddress = &x.protocol, &t.ip
	x.addresses[0], x.networks[0] = &x.address, &x.network
	x.network.IpAddresses = x.addresses[:]
	x.container.ContainerId, x.container.NetworkInfos = &x.id, x.networks[:]
	x.status.ContainerStatus = &x.container
}

func (t *task) executorID() string {
	if t.executor != nil {
		return t.executor.id
	}
	return t.id()
}

// made is a status as a master makes it: it is sent once and not acknowledged.
func (t *task) made(state mesosv1.TaskState, reason mesosv1.TaskStatus_Reason, message string) *mesosv1.TaskStatus {
	return madeStatus(t.info.TaskId, &mesosv1.AgentID{Value: new(t.node)}, state, reason, message, time.Now())
}

func madeStatus(id *mesosv1.TaskID, agent *mesosv1.AgentID, state mesosv1.TaskState, reason mesosv1.TaskStatus_Reason, message string, now time.Time) *mesosv1.TaskStatus {
	s := &mesosv1.TaskStatus{
		TaskId: id, AgentId: agent, State: state.Enum(), Reason: reason.Enum(), Source: mesosv1.TaskStatus_SOURCE_MASTER.Enum(),
		Timestamp: new(float64(now.UnixNano()) / 1e9),
	}
	if message != "" {
		s.Message = &message
	}
	return s
}

// sendMade sends a status about a task that is, or has become, none.
func (d *Door) sendMade(f *framework, info *mesosv1.TaskInfo, state mesosv1.TaskState, reason mesosv1.TaskStatus_Reason, message string) {
	d.sendStatus(f, madeStatus(info.TaskId, info.AgentId, state, reason, message, d.c.Now()))
}

func (d *Door) sendStatus(f *framework, s *mesosv1.TaskStatus) { d.sendUpdate(f, &update{status: s}) }

// sendUpdate sends a status; to a framework that reads protobuf, the bytes that are written down.
func (d *Door) sendUpdate(f *framework, u *update) {
	d.counters.updates++
	if f.stream != nil && f.stream.media == wire.Protobuf {
		f.stream.queueRecord(u.record())
		return
	}
	e := event(schedulerv1.Event_UPDATE)
	e.Update = &schedulerv1.Event_Update{Status: u.status}
	f.send(e)
}

// killNative ends tasks of the pool in the framework's name. The mutex may be held.
func (d *Door) killNative(f *framework, force bool, ids ...string) {
	var list []string
	for _, id := range ids {
		if id != "" {
			list = append(list, id)
		}
	}
	for len(list) > 0 {
		part := list[:min(len(list), maxBatch)]
		list = list[len(part):]
		d.later(f.caller, func(ctx context.Context) error {
			_, err := d.c.API.Tasks.Kill(ctx, connect.NewRequest(&polderv1.KillRequest{Ids: part, Force: force}))
			if connect.CodeOf(err) == connect.CodeNotFound {
				return nil // it is over and forgotten
			}
			return err
		})
	}
}

// kill ends a task. Of one that nobody knows the framework is told so.
func (d *Door) kill(f *framework, c *schedulerv1.Call) {
	t := f.tasks[c.Kill.TaskId.GetValue()]
	if t == nil || t.over() {
		d.reconcileOne(f, c.Kill.TaskId, c.Kill.AgentId)
		return
	}
	d.killTask(t, c.Kill.KillPolicy)
}

func (d *Door) killTask(t *task, policy *mesosv1.KillPolicy) {
	t.killed = true
	d.keepTask(t)
	switch {
	case t.native == "": // it is being claimed; settling finds the mark
	case t.executor != nil:
		t.executor.kill(t, policy)
	default:
		d.killNative(t.fw, policy.GetGracePeriod() != nil && policy.GetGracePeriod().GetNanoseconds() == 0, t.native)
	}
}

// group is a pod: its tasks end together.
type group struct {
	name  string // the id of its first task
	tasks []*task
}

// member takes note that a task of the group has ended. One that did not finish takes the others along.
func (g *group) member(d *Door, t *task) {
	if g == nil || t.state == mesosv1.TaskState_TASK_FINISHED {
		return
	}
	for _, o := range g.tasks {
		if !o.over() && !o.killed {
			d.killTask(o, nil)
		}
	}
}
