package mesos

import (
	"context"
	"net/http"
	"path"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"polder.dev/polder/door"
	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/agentv1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

const agentCall = "agent::Call"

// agentPath is where agents are in the paths of tools that call them through something else.
const agentPath = "/slave(1)"

// AgentHandler serves what Mesos' agents serve, for all nodes at once: containers, sandboxes and documents are found by ids that say where they are.
func (d *Door) AgentHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer d.recovered(w, r)
		if err := d.routeAgent(w, r); err != nil {
			writeProblem(w, err)
		}
	})
}

// agentHandlers are the paths of an agent. The longest that a request's path starts with serves it.
var agentHandlers map[string]handler

func init() { // a table that refers to functions that read it
	agentHandlers = map[string]handler{"/api/v1": (*Door).serveAgent}
	for _, name := range []string{"/version", "/flags", "/metrics/snapshot", "/files/browse", "/files/read", "/files/download", "/files/debug"} {
		agentHandlers[name] = endpoints[name]
	}
	for name, h := range agentEndpoints {
		agentHandlers[name], agentHandlers[name+".json"] = h, h
	}
}

func (d *Door) routeAgent(w http.ResponseWriter, r *http.Request) error {
	name := cleanPath(r.URL.Path)
	switch name {
	case executorPath:
		return d.serveExecutor(w, r)
	case "/health":
		return nil
	}
	h := longest(agentHandlers, name)
	who, err := d.who.of(r)
	if err != nil {
		realm := "mesos-agent-readonly"
		if strings.HasPrefix(name, "/api/v1") {
			realm = "mesos-agent-readwrite"
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="`+realm+`"`)
		return answer(http.StatusUnauthorized, "%v", err)
	}
	if h == nil {
		return answer(http.StatusNotFound, "%s is not served for agents; docs/mesos.md lists what is", name)
	}
	return h(d, who, w, r)
}

// longest finds the handler of the longest path that a request's path starts with.
func longest(table map[string]handler, name string) (h handler) {
	for at := name; at != "/" && h == nil; at = path.Dir(at) {
		h = table[at]
	}
	return h
}

// serveAgent serves one call to an agent.
func (d *Door) serveAgent(who principal, w http.ResponseWriter, r *http.Request) error {
	if media, ok, err := wire.RequestStream(r.Header); ok {
		if err != nil {
			return answer(http.StatusUnsupportedMediaType, "%v", err)
		}
		return d.serveInput(who, media, w, r)
	}
	call := &agentv1.Call{}
	if _, err := readCall(w, r, call); err != nil {
		return err
	}
	switch {
	case call.Type == nil:
		return badCall(agentCall, "Expecting 'type' to be present")
	case call.GetType() == agentv1.Call_ATTACH_CONTAINER_INPUT:
		return answer(http.StatusUnsupportedMediaType, "Expecting 'Content-Type' of application/recordio for ATTACH_CONTAINER_INPUT")
	case !hasBody(call):
		return badCall(agentCall, "Expecting '%s' to be present", strings.ToLower(call.GetType().String()))
	}
	if do := agentStreams[call.GetType()]; do != nil {
		media, head, err := wire.AnswerStream(r.Header)
		if err != nil {
			return answer(http.StatusNotAcceptable, "%v", err)
		}
		return do(d, who, call, &outlet{media: media, head: head, w: w, r: r, beat: d.c.Heartbeat})
	}
	media, err := answerMedia(r)
	if err != nil {
		return err
	}
	out, err := d.answerAgent(who, call, r)
	if err != nil || out == nil {
		return err
	}
	return writeAnswer(w, media, out)
}

// answerAgent does what a call says, and returns the message that answers it, if there is one.
func (d *Door) answerAgent(who principal, call *agentv1.Call, r *http.Request) (proto.Message, error) {
	if do := agentCalls[call.GetType()]; do != nil {
		return do(d, r.Context(), who, call)
	}
	get := agentQueries[call.GetType()]
	if get == nil {
		return nil, answer(http.StatusNotImplemented, "%v is not supported; docs/mesos.md says why", call.GetType())
	}
	v, err := d.viewerOf(who)
	if err != nil {
		return nil, answer(http.StatusForbidden, "%v", err)
	}
	var out proto.Message
	d.with(func() { out = get(d, v, r, call) })
	if res, ok := out.(*agentv1.Response); ok {
		d.measure(r.Context(), res.GetGetContainers().GetContainers())
	}
	return out, nil
}

// hasBody reports whether a call has the message that belongs to its type, if there is one.
func hasBody(c *agentv1.Call) bool {
	m := c.ProtoReflect()
	f := m.Descriptor().Fields().ByTextName(strings.ToLower(c.GetType().String()))
	return f == nil || f.Message() == nil || m.Has(f) || optionalBody[c.GetType()]
}

// optionalBody are the calls that do without theirs.
var optionalBody = map[agentv1.Call_Type]bool{agentv1.Call_GET_CONTAINERS: true, agentv1.Call_GET_METRICS: true}

// outlet is the stream of a container's output that answers a call.
type outlet struct {
	media wire.Media
	head  http.Header
	w     http.ResponseWriter
	r     *http.Request
	beat  time.Duration
}

// serve writes what comes until the flow has ended, or the client.
func (o *outlet) serve(s *sink, f *flow) error {
	for name, value := range o.head {
		o.w.Header()[name] = value
	}
	o.w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(o.w)
	if err := control.Flush(); err != nil {
		return err
	}
	beat := time.NewTicker(o.beat)
	defer beat.Stop()
	alive := &agentv1.ProcessIO{Type: agentv1.ProcessIO_CONTROL.Enum(), Control: &agentv1.ProcessIO_Control{
		Type: agentv1.ProcessIO_Control_HEARTBEAT.Enum(), Heartbeat: &agentv1.ProcessIO_Control_Heartbeat{Interval: &mesosv1.DurationInfo{Nanoseconds: new(o.beat.Nanoseconds())}},
	}}
	for {
		m := alive
		select {
		case m = <-s.next:
		case <-beat.C:
		case <-f.ended:
			return nil
		case <-o.r.Context().Done():
			return context.Cause(o.r.Context())
		}
		record, err := o.media.Append(nil, m)
		if err != nil {
			return err
		}
		_ = control.SetWriteDeadline(time.Now().Add(stallTimeout)) // not every transport has one
		if _, err := o.w.Write(wire.AppendRecord(nil, record)); err != nil {
			return err
		}
		if err := control.Flush(); err != nil {
			return err
		}
		_ = control.SetWriteDeadline(time.Time{})
	}
}

// agentStreams are the calls that are answered with a container's output.
var agentStreams = map[agentv1.Call_Type]func(*Door, principal, *agentv1.Call, *outlet) error{
	agentv1.Call_LAUNCH_NESTED_CONTAINER_SESSION: func(d *Door, who principal, c *agentv1.Call, o *outlet) error {
		m := c.LaunchNestedContainerSession
		ctx, cancel := d.whileServed(o.r.Context())
		defer cancel() // the container's life is the connection's
		s := newSink()
		x, err := d.launchNested(ctx, who, m.ContainerId, m.Command, m.Container, s)
		if err != nil {
			return err
		}
		if x == nil {
			return answer(http.StatusConflict, "Container %.200s exists", pathOf(m.ContainerId))
		}
		defer x.leave(s)
		return ended(o.serve(s, x.flow))
	},
	agentv1.Call_ATTACH_CONTAINER_OUTPUT: func(d *Door, who principal, c *agentv1.Call, o *outlet) error {
		id := c.AttachContainerOutput.ContainerId
		x, err := d.enterable(o.r.Context(), who, id)
		if err != nil {
			return err
		}
		s := newSink()
		if x != nil {
			defer x.watch(s)()
			return ended(o.serve(s, x.flow))
		}
		ctx, cancel := d.whileServed(o.r.Context())
		defer cancel()
		t, err := d.attachTo(door.As(ctx, who.caller), attachStart(id, false))
		if err != nil {
			return err
		}
		f := newFlow(s)
		defer func() { <-f.ended }()
		defer cancel()
		defer f.leave(s)
		go f.pump(t)
		return ended(o.serve(s, f))
	},
}

// ended is nil: what a stream ended with has no status any more.
func ended(error) error { return nil }

// whileServed is a request's context, which ends with the door, too.
func (d *Door) whileServed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	d.mu.Lock()
	life := d.ctx
	d.mu.Unlock()
	if life == nil {
		return ctx, cancel
	}
	stop := context.AfterFunc(life, cancel)
	return ctx, func() { stop(); cancel() }
}

// agentCalls are the other calls. Those that only change something have no message to answer.
var agentCalls = map[agentv1.Call_Type]func(*Door, context.Context, principal, *agentv1.Call) (proto.Message, error){
	agentv1.Call_LAUNCH_NESTED_CONTAINER: func(d *Door, _ context.Context, who principal, c *agentv1.Call) (proto.Message, error) {
		m := c.LaunchNestedContainer
		return nil, d.launchApart(who, m.ContainerId, m.Command, m.Container)
	},
	agentv1.Call_LAUNCH_CONTAINER: func(d *Door, _ context.Context, who principal, c *agentv1.Call) (proto.Message, error) {
		m := c.LaunchContainer
		return nil, d.launchApart(who, m.ContainerId, m.Command, m.Container)
	},
	agentv1.Call_WAIT_NESTED_CONTAINER: func(d *Door, ctx context.Context, who principal, c *agentv1.Call) (proto.Message, error) {
		status, text, err := d.waitNested(ctx, who, c.WaitNestedContainer.ContainerId)
		return &agentv1.Response{Type: agentv1.Response_WAIT_NESTED_CONTAINER.Enum(), WaitNestedContainer: &agentv1.Response_WaitNestedContainer{ExitStatus: &status, Message: textOf(text)}}, err
	},
	agentv1.Call_WAIT_CONTAINER: func(d *Door, ctx context.Context, who principal, c *agentv1.Call) (proto.Message, error) {
		status, text, err := d.waitNested(ctx, who, c.WaitContainer.ContainerId)
		return &agentv1.Response{Type: agentv1.Response_WAIT_CONTAINER.Enum(), WaitContainer: &agentv1.Response_WaitContainer{ExitStatus: &status, Message: textOf(text)}}, err
	},
	agentv1.Call_KILL_NESTED_CONTAINER: func(d *Door, ctx context.Context, who principal, c *agentv1.Call) (proto.Message, error) {
		return nil, d.killNested(ctx, who, c.KillNestedContainer.ContainerId, c.KillNestedContainer.GetSignal())
	},
	agentv1.Call_KILL_CONTAINER: func(d *Door, ctx context.Context, who principal, c *agentv1.Call) (proto.Message, error) {
		return nil, d.killNested(ctx, who, c.KillContainer.ContainerId, c.KillContainer.GetSignal())
	},
	agentv1.Call_REMOVE_NESTED_CONTAINER: func(d *Door, ctx context.Context, who principal, c *agentv1.Call) (proto.Message, error) {
		return nil, d.removeNested(ctx, who, c.RemoveNestedContainer.ContainerId)
	},
	agentv1.Call_REMOVE_CONTAINER: func(d *Door, ctx context.Context, who principal, c *agentv1.Call) (proto.Message, error) {
		return nil, d.removeNested(ctx, who, c.RemoveContainer.ContainerId)
	},
	agentv1.Call_SET_LOGGING_LEVEL: func(d *Door, _ context.Context, who principal, c *agentv1.Call) (proto.Message, error) {
		return nil, d.setLoggingLevel(who, c.SetLoggingLevel.GetLevel(), c.SetLoggingLevel.GetDuration())
	},
	agentv1.Call_LIST_FILES: func(d *Door, ctx context.Context, who principal, c *agentv1.Call) (proto.Message, error) {
		files, err := d.listFiles(ctx, who, c.ListFiles.GetPath())
		return &agentv1.Response{Type: agentv1.Response_LIST_FILES.Enum(), ListFiles: &agentv1.Response_ListFiles{FileInfos: files}}, err
	},
	agentv1.Call_READ_FILE: func(d *Door, ctx context.Context, who principal, c *agentv1.Call) (proto.Message, error) {
		m := c.ReadFile
		size, data, err := d.pieceOf(ctx, who, m.GetPath(), m.GetOffset(), m.Length)
		return &agentv1.Response{Type: agentv1.Response_READ_FILE.Enum(), ReadFile: &agentv1.Response_ReadFile{Size: &size, Data: data}}, err
	},
}

func textOf(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// launchApart starts a command in a task that goes on when its caller has left.
func (d *Door) launchApart(who principal, id *mesosv1.ContainerID, c *mesosv1.CommandInfo, box *mesosv1.ContainerInfo) error {
	d.mu.Lock()
	life := d.ctx
	d.mu.Unlock()
	if life == nil || life.Err() != nil {
		return answer(http.StatusServiceUnavailable, "Agent has not finished recovery")
	}
	x, err := d.launchNested(life, who, id, c, box)
	if err == nil && x == nil {
		err = &problem{http.StatusAccepted, ""} // Mesos' answer to an id that is in use
	}
	return err
}
