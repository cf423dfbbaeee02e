package mesos

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door"
	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/masterv1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// viewer says what somebody may see.
type viewer struct {
	all   bool
	paths map[string]bool // roles of the pool
}

func (v viewer) task(t *task) bool { return v.all || v.paths[t.path] }

// framework reports whether one of its roles may be seen; one without any, of an earlier life, whose tasks may.
func (v viewer) framework(f *framework) bool {
	if v.all {
		return true
	}
	for _, s := range f.subs {
		if v.paths[s.path] {
			return true
		}
	}
	return slices.ContainsFunc(f.seen(v), func(p *papers) bool { return p.tasks.Len()+p.unreachable.Len() > 0 })
}

// viewerOf asks the pool what somebody may view, of the roles frameworks are in.
func (d *Door) viewerOf(who principal) (viewer, error) {
	ctx, cancel := contextFor(d, who.caller)
	defer cancel()
	may := func(path string) (bool, error) {
		res, err := d.c.API.Access.CanI(ctx, connect.NewRequest(&polderv1.CanIRequest{Verb: "view", Role: path}))
		if err != nil {
			return false, reasonOf(err)
		}
		return res.Msg.Allowed, nil
	}
	v := viewer{paths: map[string]bool{}}
	var err error
	if v.all, err = may(""); v.all || err != nil {
		return v, err
	}
	d.mu.Lock()
	roles := map[string]bool{}
	for path := range d.quotas {
		roles[path] = true
	}
	for _, f := range d.frameworks {
		for _, s := range f.subs {
			roles[s.path] = true
		}
		for path := range f.papers {
			roles[path] = true
		}
	}
	d.mu.Unlock()
	for path := range roles {
		if v.paths[path], err = may(path); err != nil {
			return v, err
		}
	}
	return v, nil
}

// serveOperator serves one call of an operator's tool.
func (d *Door) serveOperator(who principal, w http.ResponseWriter, r *http.Request) error {
	call := &masterv1.Call{}
	if _, err := readCall(w, r, call); err != nil {
		return err
	}
	if call.Type == nil {
		return badCall("master::Call", "Expecting 'type' to be present")
	}
	media, err := answerMedia(r)
	if err != nil {
		return err
	}
	v, err := d.viewerOf(who)
	if err != nil {
		return answer(http.StatusForbidden, "%v", err)
	}
	if call.GetType() == masterv1.Call_SUBSCRIBE {
		s := newStream(media, "")
		d.watch(s, v)
		defer d.unwatch(s)
		err := s.serve(r.Context(), w, &masterv1.Event{Type: masterv1.Event_HEARTBEAT.Enum()}, d.c.Heartbeat)
		d.log.Debug("operator's stream ended", "principal", who.name, "reason", err)
		return nil
	}
	if do := orders[call.GetType()]; do != nil {
		return do(d, who, call)
	}
	if read := reads[call.GetType()]; read != nil {
		out, err := read(d, r.Context(), who, call)
		if err != nil {
			return err
		}
		return writeAnswer(w, media, out)
	}
	get := queries[call.GetType()]
	if get == nil {
		return answer(http.StatusNotImplemented, "%v is not supported; docs/mesos.md says why", call.GetType())
	}
	switch call.GetType() {
	case masterv1.Call_GET_ROLES, masterv1.Call_GET_QUOTA, masterv1.Call_GET_WEIGHTS: // the others say nothing of what roles may have
		d.freshen(r.Context())
	}
	var out proto.Message
	d.with(func() { out = get(d, v) })
	return writeAnswer(w, media, out)
}

// writeAnswer answers a call with a message.
func writeAnswer(w http.ResponseWriter, media wire.Media, out proto.Message) error {
	body, err := media.Append(nil, out)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", string(media))
	_, _ = w.Write(body) // the client is gone if this fails
	return nil
}

// queries read the books. The mutex is held.
var queries = map[masterv1.Call_Type]func(*Door, viewer) *masterv1.Response{
	masterv1.Call_GET_HEALTH: func(*Door, viewer) *masterv1.Response {
		return &masterv1.Response{Type: masterv1.Response_GET_HEALTH.Enum(), GetHealth: &masterv1.Response_GetHealth{Healthy: new(true)}}
	},
	masterv1.Call_GET_VERSION: func(*Door, viewer) *masterv1.Response {
		return &masterv1.Response{Type: masterv1.Response_GET_VERSION.Enum(), GetVersion: &masterv1.Response_GetVersion{VersionInfo: &mesosv1.VersionInfo{Version: new(Version)}}}
	},
	masterv1.Call_GET_FLAGS: func(d *Door, _ viewer) *masterv1.Response {
		return &masterv1.Response{Type: masterv1.Response_GET_FLAGS.Enum(), GetFlags: &masterv1.Response_GetFlags{Flags: []*mesosv1.Flag{{Name: new("cluster"), Value: &d.c.Cluster}}}}
	},
	masterv1.Call_GET_METRICS: func(d *Door, v viewer) *masterv1.Response {
		return &masterv1.Response{Type: masterv1.Response_GET_METRICS.Enum(), GetMetrics: &masterv1.Response_GetMetrics{Metrics: d.metricProtos(v)}}
	},
	masterv1.Call_GET_MASTER: func(d *Door, _ viewer) *masterv1.Response {
		return &masterv1.Response{Type: masterv1.Response_GET_MASTER.Enum(), GetMaster: &masterv1.Response_GetMaster{
			MasterInfo: d.masterInfo(), StartTime: new(float64(d.started.UnixNano()) / 1e9), ElectedTime: new(float64(d.started.UnixNano()) / 1e9),
		}}
	},
	masterv1.Call_GET_STATE: func(d *Door, v viewer) *masterv1.Response {
		return &masterv1.Response{Type: masterv1.Response_GET_STATE.Enum(), GetState: d.getState(v)}
	},
	masterv1.Call_GET_AGENTS: func(d *Door, v viewer) *masterv1.Response {
		return &masterv1.Response{Type: masterv1.Response_GET_AGENTS.Enum(), GetAgents: d.getState(v).GetAgents}
	},
	masterv1.Call_GET_FRAMEWORKS: func(d *Door, v viewer) *masterv1.Response {
		return &masterv1.Response{Type: masterv1.Response_GET_FRAMEWORKS.Enum(), GetFrameworks: d.getState(v).GetFrameworks}
	},
	masterv1.Call_GET_TASKS: func(d *Door, v viewer) *masterv1.Response {
		return &masterv1.Response{Type: masterv1.Response_GET_TASKS.Enum(), GetTasks: d.getState(v).GetTasks}
	},
	masterv1.Call_GET_EXECUTORS: func(d *Door, v viewer) *masterv1.Response {
		return &masterv1.Response{Type: masterv1.Response_GET_EXECUTORS.Enum(), GetExecutors: d.getState(v).GetExecutors}
	},
	masterv1.Call_GET_OPERATIONS: func(*Door, viewer) *masterv1.Response {
		return &masterv1.Response{Type: masterv1.Response_GET_OPERATIONS.Enum(), GetOperations: &masterv1.Response_GetOperations{}}
	},
	masterv1.Call_GET_ROLES: func(d *Door, v viewer) *masterv1.Response {
		return &masterv1.Response{Type: masterv1.Response_GET_ROLES.Enum(), GetRoles: &masterv1.Response_GetRoles{Roles: d.roleProtos(v)}}
	},
	masterv1.Call_GET_WEIGHTS: func(d *Door, v viewer) *masterv1.Response {
		out := &masterv1.Response_GetWeights{}
		for _, r := range d.roleProtos(v) {
			out.WeightInfos = append(out.WeightInfos, &mesosv1.WeightInfo{Role: r.Name, Weight: r.Weight})
		}
		return &masterv1.Response{Type: masterv1.Response_GET_WEIGHTS.Enum(), GetWeights: out}
	},
	masterv1.Call_GET_LOGGING_LEVEL: func(d *Door, _ viewer) *masterv1.Response {
		return &masterv1.Response{Type: masterv1.Response_GET_LOGGING_LEVEL.Enum(), GetLoggingLevel: &masterv1.Response_GetLoggingLevel{Level: new(d.level.get())}}
	},
	masterv1.Call_GET_MAINTENANCE_STATUS: func(d *Door, _ viewer) *masterv1.Response {
		return &masterv1.Response{Type: masterv1.Response_GET_MAINTENANCE_STATUS.Enum(), GetMaintenanceStatus: &masterv1.Response_GetMaintenanceStatus{Status: d.maintenanceStatus()}}
	},
	masterv1.Call_GET_MAINTENANCE_SCHEDULE: func(d *Door, _ viewer) *masterv1.Response {
		return &masterv1.Response{Type: masterv1.Response_GET_MAINTENANCE_SCHEDULE.Enum(), GetMaintenanceSchedule: &masterv1.Response_GetMaintenanceSchedule{Schedule: d.maint.schedule}}
	},
	masterv1.Call_GET_QUOTA: func(d *Door, v viewer) *masterv1.Response {
		return &masterv1.Response{Type: masterv1.Response_GET_QUOTA.Enum(), GetQuota: &masterv1.Response_GetQuota{Status: d.quotaStatus(v)}}
	},
}

// metricProtos are the figures of /metrics/snapshot, by name.
func (d *Door) metricProtos(v viewer) []*mesosv1.Metric {
	var out []*mesosv1.Metric
	m := d.metrics(v)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, &mesosv1.Metric{Name: new(name), Value: new(m[name])})
	}
	return out
}

// getState is everything that somebody may see.
func (d *Door) getState(v viewer) *masterv1.Response_GetState {
	out := &masterv1.Response_GetState{
		GetAgents: &masterv1.Response_GetAgents{}, GetFrameworks: &masterv1.Response_GetFrameworks{},
		GetTasks: &masterv1.Response_GetTasks{}, GetExecutors: &masterv1.Response_GetExecutors{},
	}
	for _, name := range slices.Sorted(maps.Keys(d.nodes)) {
		out.GetAgents.Agents = append(out.GetAgents.Agents, d.agentOf(d.nodes[name]))
	}
	for _, f := range d.sorted(v) {
		out.GetFrameworks.Frameworks = append(out.GetFrameworks.Frameworks, d.frameworkProto(f, v))
		for _, id := range slices.Sorted(maps.Keys(f.tasks)) {
			if t := f.tasks[id]; v.task(t) && t.state == mesosv1.TaskState_TASK_UNREACHABLE {
				out.GetTasks.UnreachableTasks = append(out.GetTasks.UnreachableTasks, d.taskProto(t))
			} else if v.task(t) {
				out.GetTasks.Tasks = append(out.GetTasks.Tasks, d.taskProto(t))
			}
		}
		for _, t := range f.completed {
			if v.task(t) {
				out.GetTasks.CompletedTasks = append(out.GetTasks.CompletedTasks, d.taskProto(t))
			}
		}
		for _, key := range slices.SortedFunc(maps.Keys(f.executors), compareKeys) {
			if e := f.executors[key]; v.all || v.paths[e.path] {
				out.GetExecutors.Executors = append(out.GetExecutors.Executors, d.executorProto(e))
			}
		}
	}
	for _, f := range d.gone {
		if v.framework(f) {
			out.GetFrameworks.CompletedFrameworks = append(out.GetFrameworks.CompletedFrameworks, d.frameworkProto(f, v))
		}
	}
	return out
}

// sorted are the frameworks somebody may see.
func (d *Door) sorted(v viewer) []*framework {
	var out []*framework
	for _, id := range slices.Sorted(maps.Keys(d.frameworks)) {
		if f := d.frameworks[id]; v.framework(f) {
			out = append(out, f)
		}
	}
	return out
}

// orders change something, in the operator's own name.
var orders = map[masterv1.Call_Type]func(*Door, principal, *masterv1.Call) error{
	masterv1.Call_TEARDOWN: func(d *Door, who principal, c *masterv1.Call) error {
		return d.operatorTeardown(who, c.GetTeardown().GetFrameworkId().GetValue())
	},
	masterv1.Call_DRAIN_AGENT: func(d *Door, who principal, c *masterv1.Call) error {
		m := c.GetDrainAgent()
		if m.GetMarkGone() {
			return answer(http.StatusNotImplemented, "'mark_gone' is not supported; remove the node when it is empty: polder node remove %s", m.GetAgentId().GetValue())
		}
		return d.nodeOrder(who, func(ctx context.Context) error {
			_, err := d.c.API.Nodes.Drain(ctx, connect.NewRequest(&polderv1.DrainRequest{Name: m.GetAgentId().GetValue(), Deadline: m.MaxGracePeriod}))
			return err
		})
	},
	masterv1.Call_DEACTIVATE_AGENT: func(d *Door, who principal, c *masterv1.Call) error {
		return d.cordon(who, c.GetDeactivateAgent().GetAgentId().GetValue(), true)
	},
	masterv1.Call_REACTIVATE_AGENT: func(d *Door, who principal, c *masterv1.Call) error {
		return d.cordon(who, c.GetReactivateAgent().GetAgentId().GetValue(), false)
	},
	masterv1.Call_SET_LOGGING_LEVEL: func(d *Door, who principal, c *masterv1.Call) error {
		return d.setLoggingLevel(who, c.GetSetLoggingLevel().GetLevel(), c.GetSetLoggingLevel().GetDuration())
	},
	masterv1.Call_UPDATE_QUOTA: func(d *Door, who principal, c *masterv1.Call) error { return d.updateQuota(who, c.GetUpdateQuota()) },
	masterv1.Call_SET_QUOTA: func(d *Door, who principal, c *masterv1.Call) error {
		return d.setQuota(who, c.GetSetQuota().GetQuotaRequest())
	},
	masterv1.Call_REMOVE_QUOTA: func(d *Door, who principal, c *masterv1.Call) error {
		return d.removeQuota(who, c.GetRemoveQuota().GetRole())
	},
	masterv1.Call_UPDATE_WEIGHTS: func(d *Door, who principal, c *masterv1.Call) error {
		return d.updateWeights(who, c.GetUpdateWeights().GetWeightInfos())
	},
	masterv1.Call_MARK_AGENT_GONE: func(d *Door, who principal, c *masterv1.Call) error {
		return d.markGone(who, c.GetMarkAgentGone().GetAgentId().GetValue())
	},
	masterv1.Call_UPDATE_MAINTENANCE_SCHEDULE: func(d *Door, who principal, c *masterv1.Call) error {
		return d.updateSchedule(who, c.GetUpdateMaintenanceSchedule().GetSchedule())
	},
	masterv1.Call_START_MAINTENANCE: func(d *Door, who principal, c *masterv1.Call) error {
		return d.switchMachines(who, c.GetStartMaintenance().GetMachines(), true)
	},
	masterv1.Call_STOP_MAINTENANCE: func(d *Door, who principal, c *masterv1.Call) error {
		return d.switchMachines(who, c.GetStopMaintenance().GetMachines(), false)
	},
}

func (d *Door) cordon(who principal, node string, cordoned bool) error {
	return d.nodeOrder(who, func(ctx context.Context) error {
		_, err := d.c.API.Nodes.Cordon(ctx, connect.NewRequest(&polderv1.CordonRequest{Name: node, Cordoned: cordoned}))
		return err
	})
}

func (d *Door) nodeOrder(who principal, call func(context.Context) error) error {
	ctx, cancel := contextFor(d, who.caller)
	defer cancel()
	return statusOf(call(ctx))
}

// statusOf turns an error of the server into an answer.
func statusOf(err error) error {
	switch connect.CodeOf(err) {
	case connect.CodePermissionDenied:
		return answer(http.StatusForbidden, "%v", reasonOf(err))
	case connect.CodeNotFound, connect.CodeInvalidArgument:
		return answer(http.StatusBadRequest, "%v", reasonOf(err))
	}
	if err != nil {
		return answer(http.StatusConflict, "%v", reasonOf(err))
	}
	return nil
}

// operatorTeardown removes a framework for somebody who may run work in all its roles.
func (d *Door) operatorTeardown(who principal, id string) error {
	d.mu.Lock()
	f := d.frameworks[id]
	var roles []string
	if f != nil {
		roles = slices.Sorted(maps.Keys(f.subs))
	}
	d.mu.Unlock()
	if f == nil {
		return answer(http.StatusBadRequest, "No framework found with specified ID")
	}
	if err := d.mayUse(who.caller, roles); err != nil {
		return answer(http.StatusForbidden, "%v", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.frameworks[id] == f {
		f.caller = door.Caller{Authorization: who.caller.Authorization, TLS: who.caller.TLS, Identity: who.caller.Identity, Remote: who.caller.Remote}
		d.remove(f)
	}
	return nil
}

// maxWatchers is how many operators' streams there may be; the oldest one goes.
const maxWatchers = 1000

// watch opens an operator's stream: the state, a heartbeat at once, and every change after it.
func (d *Door) watch(s *stream, v viewer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for old := range d.watchers {
		if len(d.watchers) < maxWatchers {
			break
		}
		old.end(errors.New("too many subscribers"))
		delete(d.watchers, old)
	}
	d.watchers[s] = v
	s.send(&masterv1.Event{Type: masterv1.Event_SUBSCRIBED.Enum(), Subscribed: &masterv1.Event_Subscribed{
		GetState: d.getState(v), HeartbeatIntervalSeconds: new(d.c.Heartbeat.Seconds()),
	}}, &masterv1.Event{Type: masterv1.Event_HEARTBEAT.Enum()})
}

func (d *Door) unwatch(s *stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.end(errEnded)
	delete(d.watchers, s)
}

// watched reports whether anybody follows the operator's events, which are made only then.
func (d *Door) watched() bool { return len(d.watchers) > 0 }

// tell sends all operators an event.
func (d *Door) tell(e proto.Message) {
	for s := range d.watchers {
		s.send(e)
	}
}

// tellTask sends an event about a task to those who may see it.
func (d *Door) tellTask(t *task, e proto.Message) {
	for s, v := range d.watchers {
		if v.task(t) {
			s.send(e)
		}
	}
}

// tellFramework sends an event about a framework to those who may see it, as far as they may.
func (d *Door) tellFramework(f *framework, event func(*masterv1.Response_GetFrameworks_Framework) *masterv1.Event) {
	for s, v := range d.watchers {
		if v.framework(f) {
			s.send(event(d.frameworkProto(f, v)))
		}
	}
}
