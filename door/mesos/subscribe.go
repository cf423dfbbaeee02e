package mesos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"polder.dev/polder/door"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// errFailedOver ends the stream of a framework that subscribed again.
var errFailedOver = errors.New("Framework failed over") //nolint:staticcheck // Mesos' words

// contextFor is a context for calls to the server for a client that waits.
func contextFor(d *Door, c door.Caller) (context.Context, context.CancelFunc) {
	d.mu.Lock()
	ctx := d.ctx
	d.mu.Unlock()
	if ctx == nil {
		ctx = context.Background()
	}
	return context.WithTimeout(door.As(ctx, c), remaining)
}

// serveSubscribe opens the stream of events. What is wrong with the call itself is a status; what is wrong with the
// framework is an event on the stream, which then ends.
func (d *Door) serveSubscribe(who principal, call *schedulerv1.Call, w http.ResponseWriter, r *http.Request) error {
	media, err := answerMedia(r)
	if err != nil {
		return err
	}
	info := call.Subscribe.FrameworkInfo
	switch {
	case r.Header.Get(streamHeader) != "":
		return answer(http.StatusBadRequest, "Subscribe calls should not include the '%s' header", streamHeader)
	case info.Principal != nil && info.GetPrincipal() != who.name:
		return answer(http.StatusBadRequest, "Authenticated principal '%s' does not match principal '%s' set in FrameworkInfo", who.name, info.GetPrincipal())
	case !d.isReady():
		return answer(http.StatusServiceUnavailable, "Master has not finished recovery")
	}
	s := newStream(media, newUUID())
	f, err := d.open(who, call.Subscribe, s)
	if err == nil {
		if err := d.durable(r.Context()); err != nil { // another door leads, or none; nothing was said yet
			d.hungUp(f, s, err)
			return answer(http.StatusServiceUnavailable, "the registration could not be written down: %v", err)
		}
	}
	if errors.Is(err, errStopped) {
		return answer(http.StatusServiceUnavailable, "No leading master: %v", err)
	}
	if err != nil {
		e := event(schedulerv1.Event_ERROR)
		e.Error = &schedulerv1.Event_Error{Message: new(err.Error())}
		s.send(e)
		s.end(err)
	}
	heartbeat := event(schedulerv1.Event_HEARTBEAT)
	err = s.serve(r.Context(), w, heartbeat, d.c.Heartbeat)
	if f != nil {
		d.hungUp(f, s, err)
	}
	return nil
}

func (d *Door) isReady() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ready
}

// open registers a framework, or takes it over from its former stream.
func (d *Door) open(who principal, sub *schedulerv1.Call_Subscribe, s *stream) (*framework, error) {
	info := sub.FrameworkInfo
	if err := checkInfo(info, sub.SuppressedRoles); err != nil {
		return nil, err
	}
	if err := d.mayUse(who.caller, rolesOf(info)); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx != nil && d.ctx.Err() != nil { // nobody would end the stream
		return nil, errStopped
	}
	f, err := d.claimID(who, info)
	if err != nil {
		return nil, err
	}
	if f.info != nil { // what may not change stays
		info.User, info.Checkpoint = f.info.User, f.info.Checkpoint
	}
	info.Id, info.Principal = &mesosv1.FrameworkID{Value: &f.id}, &who.name
	old := f.info
	f.info = info
	if err := d.subscribe(f, sub.SuppressedRoles, sub.OfferConstraints); err != nil {
		f.info = old // it may be subscribed, and then stays as it is
		return nil, err
	}
	f.caller, f.principal = who.caller, who.name
	d.attach(f, s)
	d.keep(frameworkKey(f.id), f)
	return f, nil
}

// claimID finds the framework an info names, or makes one. The mutex is held.
func (d *Door) claimID(who principal, info *mesosv1.FrameworkInfo) (*framework, error) {
	id := info.GetId().GetValue()
	for _, g := range d.gone {
		if g.id == id {
			return nil, refusal("Framework has been removed")
		}
	}
	f := d.frameworks[id]
	if f != nil && f.principal != who.name {
		return nil, refusal("Changing framework's principal is not allowed")
	}
	if f == nil {
		if id == "" {
			id = fmt.Sprintf("%s-%04d", d.uuid, d.count.frameworks)
			d.count.frameworks++
		}
		f = newFramework(id)
		f.principal = who.name
	}
	return f, nil
}

func newFramework(id string) *framework {
	return &framework{
		id: id, subs: map[string]*subscription{}, tasks: map[string]*task{}, papers: map[string]*papers{}, executors: map[executorKey]*executor{},
		offers: map[string]*offer{}, inverse: map[string]*inverseOffer{},
	}
}

// attach gives a framework its stream. The first event is SUBSCRIBED; a heartbeat follows at once, because some clients handle
// an event only when the next one begins.
func (d *Door) attach(f *framework, s *stream) {
	now := d.c.Now()
	if old := f.stream; old != nil {
		e := event(schedulerv1.Event_ERROR)
		e.Error = &schedulerv1.Event_Error{Message: new(errFailedOver.Error())}
		old.send(e)
		old.end(errFailedOver)
	}
	d.dropOffers(f)
	f.stream, f.awaySince = s, time.Time{}
	_, known := d.frameworks[f.id]
	if d.frameworks[f.id] = f; !known {
		f.registered = now
	}
	f.reregistered = now
	e := event(schedulerv1.Event_SUBSCRIBED)
	e.Subscribed = &schedulerv1.Event_Subscribed{
		FrameworkId: &mesosv1.FrameworkID{Value: &f.id}, HeartbeatIntervalSeconds: new(d.c.Heartbeat.Seconds()), MasterInfo: d.masterInfo(),
	}
	s.send(e, event(schedulerv1.Event_HEARTBEAT))
	for _, t := range f.tasks {
		d.restart(t) // unacknowledged updates are sent again at once
	}
	d.noticesOf(f)
	d.anew = true
	if known {
		d.tellFramework(f, frameworkUpdated)
	} else {
		d.tellFramework(f, frameworkAdded)
	}
	d.log.Info("framework subscribed", "framework", f.id, "name", f.info.GetName(), "principal", f.principal, "roles", rolesOf(f.info), "again", known)
	d.nudge()
}

// hungUp notes that a framework's stream is over, unless it has another one by now.
func (d *Door) hungUp(f *framework, s *stream, why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.end(errEnded)
	if f.stream != s {
		return
	}
	f.stream, f.awaySince = nil, d.c.Now()
	d.dropOffers(f)
	for _, s := range f.subs {
		d.withdraw(s)
	}
	d.log.Info("framework disconnected", "framework", f.id, "reason", why, "failover_timeout", f.failover())
	d.nudge()
}

// errEnded is why nothing more is queued for a stream.
var errEnded = errors.New("the stream has ended")

// dropOffers forgets what a framework was offered.
func (d *Door) dropOffers(f *framework) {
	for _, o := range f.offers {
		d.forget(o)
	}
	for _, i := range f.inverse {
		d.forgetInverse(i)
	}
}

// remove ends a framework: its executors, its tasks, its stream. The mutex is held.
func (d *Door) remove(f *framework) {
	d.dropOffers(f)
	for _, s := range f.subs {
		d.withdraw(s)
	}
	for _, e := range f.executors {
		e.shutdown(d)
	}
	var kill []string
	for _, t := range f.tasks {
		if !t.over() {
			kill = append(kill, t.native)
			t.become(mesosv1.TaskState_TASK_KILLED)
		}
		d.retire(t)
	}
	d.killNative(f, false, kill...)
	if f.stream != nil {
		f.stream.end(errors.New("Framework has been removed")) //nolint:staticcheck // Mesos' words
		f.stream = nil
	}
	delete(d.frameworks, f.id)
	f.removed = d.c.Now()
	d.keep(frameworkKey(f.id), f)
	if d.gone = append(d.gone, f); len(d.gone) > maxGone {
		d.keep(frameworkKey(d.gone[0].id), nil)
		d.gone = d.gone[1:]
	}
	d.tellFramework(f, frameworkRemoved)
	d.log.Info("framework removed", "framework", f.id, "name", f.info.GetName())
	d.nudge()
}

// What is remembered of the past, as Mesos does.
const (
	maxGone      = 50
	maxCompleted = 1000
)

// masterInfo says who we are.
func (d *Door) masterInfo() *mesosv1.MasterInfo {
	host, port := d.address()
	return &mesosv1.MasterInfo{
		Id: &d.uuid, Ip: new(ipNumber(host)), Port: new(uint32(port)), Pid: new(d.pid()), Hostname: &host, Version: new(Version),
		Address: &mesosv1.Address{Hostname: &host, Ip: &host, Port: new(int32(port))},
		Capabilities: []*mesosv1.MasterInfo_Capability{
			{Type: mesosv1.MasterInfo_Capability_AGENT_UPDATE.Enum()}, {Type: mesosv1.MasterInfo_Capability_AGENT_DRAINING.Enum()},
		},
	}
}

// address is where clients reach the door.
func (d *Door) address() (host string, port int) { return hostPort(d.c.Addr) }

// agentAddress is where tools reach agents: all of them are here.
func (d *Door) agentAddress() (host string, port int) { return hostPort(d.c.AgentAddr) }

// hostPort splits an address, which was checked by New.
func hostPort(addr string) (host string, port int) {
	host, text, _ := net.SplitHostPort(addr)
	port, _ = strconv.Atoi(text)
	return host, port
}

func (d *Door) agentPid() string { return pidOfAgents(d.c.AgentAddr) }

// pidOfAgents is how libprocess would call who serves agents at an address.
func pidOfAgents(addr string) string { return "slave(1)@" + addr }

func (d *Door) pid() string { return "master@" + d.c.Addr }

// ipNumber is an IPv4 address in network order as Mesos writes it; zero for others.
func ipNumber(host string) uint32 {
	ip := net.ParseIP(host).To4()
	if ip == nil {
		return 0
	}
	return uint32(ip[3])<<24 | uint32(ip[2])<<16 | uint32(ip[1])<<8 | uint32(ip[0])
}

// nodeURL is where an agent's API is: here, for all of them.
func (d *Door) nodeURL() *mesosv1.URL {
	host, port := d.agentAddress()
	return &mesosv1.URL{
		Scheme: new("http"), Path: new(agentPath), Address: &mesosv1.Address{Hostname: &host, Ip: &host, Port: new(int32(port))},
	}
}
