package mesos

import (
	"crypto/subtle"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"polder.dev/polder/agent/peer"
	"polder.dev/polder/door/mesos/wire/executorv1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

const (
	executorCall = "executor::Call"
	executorPath = "/api/v1/executor"
)

func formatFloat(f float64) string { return strconv.FormatFloat(f, 'f', 3, 64) }

// serveExecutor serves one call of an executor. It is authenticated by the token it was started with: sent as a bearer token, or found in the
// environment of the process that calls.
func (d *Door) serveExecutor(w http.ResponseWriter, r *http.Request) error {
	return d.serveExecutorOf("", w, r)
}

// Gate serves executors on nodes, whose agents pass their calls on. One is served only if it calls from its own node.
func (d *Door) Gate(node string, w http.ResponseWriter, r *http.Request) {
	defer d.recovered(w, r)
	err := answer(http.StatusNotFound, "%s is not served to tasks; executors call %s", r.URL.Path, executorPath)
	if cleanPath(r.URL.Path) == executorPath {
		err = d.serveExecutorOf(node, w, r)
	}
	if err != nil {
		writeProblem(w, err)
	}
}

// serveExecutorOf serves one call of an executor on a node; no node is named when it called the door itself.
func (d *Door) serveExecutorOf(node string, w http.ResponseWriter, r *http.Request) error {
	call := &executorv1.Call{}
	if _, err := readCall(w, r, call); err != nil {
		return err
	}
	if err := checkExecutorCall(call); err != nil {
		return err
	}
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer && node == "" {
		token = peer.VariableOf(r, executorToken)
	}
	e, err := d.executorOf(call, node, token)
	if err != nil {
		if token == "" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="mesos-agent-executor"`)
		}
		return err
	}
	switch call.GetType() {
	case executorv1.Call_SUBSCRIBE:
		return d.serveExecutorStream(e, call.Subscribe, w, r)
	case executorv1.Call_UPDATE:
		err = d.executorUpdate(e, call.Update.Status)
	case executorv1.Call_MESSAGE:
		d.executorMessage(e, call.Message.Data)
	}
	if err == nil {
		w.WriteHeader(http.StatusAccepted)
	}
	return err
}

func checkExecutorCall(c *executorv1.Call) error {
	bad := func(text string) error { return badCall(executorCall, "%s", text) }
	switch c.GetType() {
	case executorv1.Call_UNKNOWN:
		return answer(http.StatusNotImplemented, "Unknown 'executor' call")
	case executorv1.Call_SUBSCRIBE:
		if c.Subscribe == nil {
			return bad("Expecting 'subscribe' to be present")
		}
	case executorv1.Call_MESSAGE:
		if c.Message == nil {
			return bad("Expecting 'message' to be present")
		}
	case executorv1.Call_UPDATE:
		s := c.GetUpdate().GetStatus()
		switch {
		case s == nil:
			return bad("Expecting 'update' to be present")
		case len(s.GetUuid()) != 16:
			return bad("Expecting 'uuid' to be present and a UUID of 16 bytes")
		case s.ExecutorId != nil && s.ExecutorId.GetValue() != c.ExecutorId.GetValue():
			return bad("ExecutorID in Call: " + c.ExecutorId.GetValue() + " does not match ExecutorID in TaskStatus: " + s.ExecutorId.GetValue())
		case s.GetSource() != mesosv1.TaskStatus_SOURCE_EXECUTOR:
			return bad("Received Call from executor " + c.ExecutorId.GetValue() + " with invalid source, expecting 'SOURCE_EXECUTOR'")
		case s.GetState() == mesosv1.TaskState_TASK_STAGING:
			return bad("Received TASK_STAGING from executor " + c.ExecutorId.GetValue() + " which is not allowed")
		}
	}
	return nil
}

// executorOf finds the executor that calls, by its ids and its token.
func (d *Door) executorOf(c *executorv1.Call, node, token string) (*executor, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if token == "" {
		return nil, answer(http.StatusUnauthorized, "no token: send the one in %s as a bearer token, or call from the process that has it in its environment", executorToken)
	}
	f := d.frameworks[c.FrameworkId.GetValue()]
	if f == nil {
		return nil, answer(http.StatusBadRequest, "Framework cannot be found")
	}
	for _, e := range f.executors {
		if e.id != c.ExecutorId.GetValue() || node != "" && e.node != node || subtle.ConstantTimeCompare([]byte(e.token), []byte(token)) != 1 {
			continue
		}
		if c.GetType() != executorv1.Call_SUBSCRIBE && e.stream == nil {
			return nil, answer(http.StatusForbidden, "Executor is not subscribed")
		}
		return e, nil
	}
	return nil, answer(http.StatusForbidden, "no executor %s has this token", c.ExecutorId.GetValue())
}

// serveExecutorStream opens an executor's stream of events.
func (d *Door) serveExecutorStream(e *executor, sub *executorv1.Call_Subscribe, w http.ResponseWriter, r *http.Request) error {
	media, err := answerMedia(r)
	if err != nil {
		return err
	}
	s := newStream(media, "")
	d.mu.Lock()
	if e.stream != nil {
		e.stream.end(errFailedOver)
	}
	e.stream = s
	m := execEvent(executorv1.Event_SUBSCRIBED)
	m.Subscribed = &executorv1.Event_Subscribed{ExecutorInfo: e.info, FrameworkInfo: e.fw.info, AgentInfo: d.agentInfo(d.nodes[e.node], e.node),
		ContainerId: &mesosv1.ContainerID{Value: new(e.native)}}
	s.send(m) // and no heartbeat at once: there are executors that end when they get one
	s.send(e.waiting...)
	e.waiting = nil
	d.mu.Unlock()
	for _, u := range sub.UnacknowledgedUpdates {
		_ = d.executorUpdate(e, u.Status) // what cannot be taken over was an earlier life's
	}
	err = s.serve(r.Context(), w, execEvent(executorv1.Event_HEARTBEAT), executorBeat)
	s.end(errEnded)
	d.mu.Lock()
	if e.stream == s {
		e.stream = nil
	}
	d.mu.Unlock()
	if err != nil {
		d.log.Debug("executor's stream ended", "executor", e.id, "reason", err)
	}
	return nil
}

// executorUpdate takes over what an executor says of a task. One it said before is not taken twice.
func (d *Door) executorUpdate(e *executor, s *mesosv1.TaskStatus) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := e.tasks[s.TaskId.GetValue()]
	if t == nil || t.over() {
		return nil // history: its framework has heard
	}
	for _, u := range t.updates {
		if string(u.status.GetUuid()) == string(s.GetUuid()) {
			return nil
		}
	}
	s = proto.CloneOf(s)
	s.AgentId, s.ExecutorId = &mesosv1.AgentID{Value: new(e.node)}, &mesosv1.ExecutorID{Value: new(e.id)}
	if s.Timestamp == nil {
		s.Timestamp = new(float64(d.c.Now().UnixNano()) / 1e9)
	}
	if s.GetContainerStatus().GetNetworkInfos() == nil {
		s.ContainerStatus = t.containerStatus()
	}
	d.update(t, s)
	if t.over() {
		delete(d.natives, t.native)
		d.killNative(t.fw, true, t.native)
	}
	return nil
}

func (d *Door) executorMessage(e *executor, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := event(schedulerv1.Event_MESSAGE)
	m.Message = &schedulerv1.Event_Message{
		AgentId: &mesosv1.AgentID{Value: new(e.node)}, ExecutorId: &mesosv1.ExecutorID{Value: new(e.id)}, Data: data,
	}
	e.fw.send(m)
}
