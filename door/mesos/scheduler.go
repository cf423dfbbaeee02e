package mesos

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

const schedulerCall = "scheduler::Call"

// serveScheduler serves one call of a scheduler.
func (d *Door) serveScheduler(who principal, w http.ResponseWriter, r *http.Request) error {
	call := &schedulerv1.Call{}
	if _, err := readCall(w, r, call); err != nil {
		return err
	}
	if err := checkCall(call); err != nil {
		return err
	}
	if call.GetType() == schedulerv1.Call_SUBSCRIBE {
		return d.serveSubscribe(who, call, w, r)
	}
	f, err := d.callerOf(who, call, r)
	if err != nil {
		return err
	}
	do := calls[call.GetType()]
	if do == nil {
		return answer(http.StatusNotImplemented, "Unknown 'scheduler' call of type %v", call.GetType())
	}
	status, err := do(d, f, call)
	if err != nil {
		return err
	}
	w.WriteHeader(status)
	return nil
}

// calls are what a subscribed framework may call. The answers are those of Mesos: accepted, before anything is done.
var calls = map[schedulerv1.Call_Type]func(*Door, *framework, *schedulerv1.Call) (int, error){
	schedulerv1.Call_TEARDOWN:                     locked((*Door).teardown),
	schedulerv1.Call_ACCEPT:                       (*Door).accept,
	schedulerv1.Call_DECLINE:                      locked((*Door).decline),
	schedulerv1.Call_REVIVE:                       locked((*Door).revive),
	schedulerv1.Call_SUPPRESS:                     locked((*Door).suppress),
	schedulerv1.Call_KILL:                         locked((*Door).kill),
	schedulerv1.Call_SHUTDOWN:                     locked((*Door).shutdown),
	schedulerv1.Call_ACKNOWLEDGE:                  locked((*Door).acknowledge),
	schedulerv1.Call_RECONCILE:                    locked((*Door).reconcile),
	schedulerv1.Call_MESSAGE:                      locked((*Door).message),
	schedulerv1.Call_REQUEST:                      locked((*Door).request),
	schedulerv1.Call_ACCEPT_INVERSE_OFFERS:        locked((*Door).acceptInverse),
	schedulerv1.Call_DECLINE_INVERSE_OFFERS:       locked((*Door).declineInverse),
	schedulerv1.Call_UPDATE_FRAMEWORK:             (*Door).updateFramework,
	schedulerv1.Call_ACKNOWLEDGE_OPERATION_STATUS: locked(nothing),
	schedulerv1.Call_RECONCILE_OPERATIONS:         locked((*Door).reconcileOperations),
}

// locked makes a call out of something that only touches the books.
func locked(do func(*Door, *framework, *schedulerv1.Call)) func(*Door, *framework, *schedulerv1.Call) (int, error) {
	return func(d *Door, f *framework, c *schedulerv1.Call) (int, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		do(d, f, c)
		d.nudge()
		return http.StatusAccepted, nil
	}
}

// nothing is what is done about statuses of operations that nobody sent.
func nothing(*Door, *framework, *schedulerv1.Call) {}

// checkCall is Mesos' validation of a call, as far as the message alone can tell.
func checkCall(c *schedulerv1.Call) error {
	bad := func(format string, args ...any) error { return badCall(schedulerCall, format, args...) }
	if c.Type == nil || c.GetType() == schedulerv1.Call_UNKNOWN {
		if c.Type == nil {
			return bad("Expecting 'type' to be present")
		}
		return answer(http.StatusNotImplemented, "Unknown 'scheduler' call")
	}
	if c.GetType() == schedulerv1.Call_SUBSCRIBE {
		return checkSubscribe(c, bad)
	}
	if c.FrameworkId == nil {
		return bad("Expecting 'framework_id' to be present")
	}
	has := map[schedulerv1.Call_Type]bool{
		schedulerv1.Call_ACCEPT: c.Accept != nil, schedulerv1.Call_DECLINE: c.Decline != nil, schedulerv1.Call_KILL: c.Kill != nil,
		schedulerv1.Call_SHUTDOWN: c.Shutdown != nil, schedulerv1.Call_ACKNOWLEDGE: c.Acknowledge != nil,
		schedulerv1.Call_RECONCILE: c.Reconcile != nil, schedulerv1.Call_MESSAGE: c.Message != nil, schedulerv1.Call_REQUEST: c.Request != nil,
		schedulerv1.Call_ACCEPT_INVERSE_OFFERS:  c.AcceptInverseOffers != nil,
		schedulerv1.Call_DECLINE_INVERSE_OFFERS: c.DeclineInverseOffers != nil, schedulerv1.Call_UPDATE_FRAMEWORK: c.UpdateFramework != nil,
		schedulerv1.Call_ACKNOWLEDGE_OPERATION_STATUS: c.AcknowledgeOperationStatus != nil,
		schedulerv1.Call_RECONCILE_OPERATIONS:         c.ReconcileOperations != nil,
	}
	if present, needs := has[c.GetType()]; needs && !present {
		return bad("Expecting '%s' to be present", fieldOf(c.GetType()))
	}
	if c.GetType() == schedulerv1.Call_ACKNOWLEDGE && len(c.Acknowledge.GetUuid()) != 16 {
		return bad("Not a valid UUID")
	}
	return nil
}

func checkSubscribe(c *schedulerv1.Call, bad func(string, ...any) error) error {
	if c.Subscribe == nil {
		return bad("Expecting 'subscribe' to be present")
	}
	if c.FrameworkId.GetValue() != c.Subscribe.FrameworkInfo.Id.GetValue() {
		return bad("'framework_id' differs from 'subscribe.framework_info.id'")
	}
	return nil
}

// callerOf finds the framework a call is of, and checks that it comes from its subscription.
func (d *Door) callerOf(who principal, c *schedulerv1.Call, r *http.Request) (*framework, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.frameworks[c.FrameworkId.GetValue()]
	ids := r.Header.Values(streamHeader)
	switch {
	case f == nil:
		return nil, answer(http.StatusBadRequest, "Framework cannot be found")
	case f.principal != who.name:
		return nil, answer(http.StatusForbidden, "Authenticated principal '%s' does not match principal '%s' of the framework", who.name, f.principal)
	case f.stream == nil:
		return nil, answer(http.StatusForbidden, "Framework is not subscribed")
	case len(ids) != 1 || ids[0] == "":
		return nil, answer(http.StatusBadRequest, "All non-subscribe calls should include the 'Mesos-Stream-Id' header")
	case ids[0] != f.stream.id:
		return nil, answer(http.StatusBadRequest, "The stream ID '%.80s' included in this request didn't match the stream ID currently associated with framework ID '%s'", ids[0], f.id)
	}
	f.caller = who.caller
	return f, nil
}

func (d *Door) decline(f *framework, c *schedulerv1.Call) {
	now := d.c.Now()
	for _, id := range c.Decline.OfferIds {
		o := f.offers[id.GetValue()]
		if o == nil {
			continue // rescinded meanwhile
		}
		d.forget(o)
		d.counters.declined++
		o.to.refuse(o.node, plus(o.regular, o.revocable), c.Decline.Filters, now)
		d.unwanted(o, filterFor(c.Decline.Filters))
	}
}

// chosen are the subscriptions that roles name; none is all. Unknown roles are skipped: Mesos only logs them.
func (f *framework) chosen(roles []string) []*subscription {
	var out []*subscription
	if len(roles) == 0 {
		for _, s := range f.subs {
			out = append(out, s)
		}
	}
	for _, r := range roles {
		if s := f.subs[r]; s != nil {
			out = append(out, s)
		}
	}
	return out
}

func (d *Door) revive(f *framework, c *schedulerv1.Call) {
	for _, s := range f.chosen(c.GetRevive().GetRoles()) {
		s.suppressed = false
		s.wish.believe()
		s.wish.exactly, s.wish.asked = false, nil
		clear(s.filters)
		d.anew = true
	}
	d.keep(frameworkKey(f.id), f)
}

func (d *Door) suppress(f *framework, c *schedulerv1.Call) {
	for _, s := range f.chosen(c.GetSuppress().GetRoles()) {
		s.suppressed = true
		d.withdraw(s)
	}
	d.keep(frameworkKey(f.id), f)
}

// request takes a framework's word for what it needs, in place of what its roles' guarantees have left: each request is one place.
// Filters that would hide it are dropped.
func (d *Door) request(f *framework, c *schedulerv1.Call) {
	var need []amounts
	for _, r := range c.Request.Requests {
		if w, err := wantedOf(r.Resources); err == nil && worthwhile(w.amounts) {
			need = append(need, w.amounts)
		}
	}
	for _, s := range f.subs {
		d.withdraw(s)
		s.wish.believe()
		s.wish.exactly, s.wish.asked = true, slices.Clone(need)
		clear(s.filters)
		d.anew = true
	}
}

func (d *Door) teardown(f *framework, _ *schedulerv1.Call) { d.remove(f) }

// updateFramework changes what a framework said of itself, without subscribing again.
func (d *Door) updateFramework(f *framework, c *schedulerv1.Call) (int, error) {
	u := c.UpdateFramework
	if err := checkInfo(u.FrameworkInfo, u.SuppressedRoles); err != nil {
		return 0, answer(http.StatusBadRequest, "'UpdateFramework.framework_info' is not valid: %v", err)
	}
	d.mu.Lock()
	old, who := f.info, f.caller
	d.mu.Unlock()
	now := u.FrameworkInfo
	switch {
	case now.GetId().GetValue() != f.id:
		return 0, answer(http.StatusBadRequest, "'UpdateFramework.framework_info.id' differs from the framework's")
	case now.GetUser() != old.GetUser() || now.GetCheckpoint() != old.GetCheckpoint():
		return 0, answer(http.StatusBadRequest, "Updating 'FrameworkInfo.user' or 'FrameworkInfo.checkpoint' is unsupported")
	case now.Principal != nil && now.GetPrincipal() != old.GetPrincipal():
		return 0, answer(http.StatusBadRequest, "Changing framework's principal is not allowed")
	}
	if err := d.mayUse(who, rolesOf(now)); err != nil {
		return 0, answer(http.StatusForbidden, "%v", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now.Principal = old.Principal
	f.info = now
	if err := d.subscribe(f, u.SuppressedRoles, u.OfferConstraints); err != nil {
		f.info = old
		return 0, answer(http.StatusBadRequest, "%v", err)
	}
	for _, o := range f.offers {
		if s := f.subs[o.to.role]; s == nil || s.suppressed {
			d.rescind(o, "its role is no longer wanted")
		}
	}
	d.keep(frameworkKey(f.id), f)
	d.tellFramework(f, frameworkUpdated)
	d.nudge()
	return http.StatusOK, nil
}

// mayUse asks the pool whether somebody may run work in roles, and whether there are such roles.
func (d *Door) mayUse(c door.Caller, roles []string) error {
	ctx, cancel := contextFor(d, c)
	defer cancel()
	for _, r := range roles {
		path := d.pathOf(r)
		res, err := d.c.API.Access.CanI(ctx, connect.NewRequest(&polderv1.CanIRequest{Verb: "run", Role: path}))
		if err != nil {
			return reasonOf(err)
		}
		if !res.Msg.Allowed {
			return refusal("Not authorized to use role '%s': %s", r, res.Msg.Reason)
		}
		if _, err := d.c.API.Roles.Get(door.As(ctx, self), connect.NewRequest(&polderv1.RoleServiceGetRequest{Path: path})); err != nil {
			return refusal("Role '%s' is role %s of the pool, which its plan does not have: %v", r, path, reasonOf(err))
		}
	}
	return nil
}

// reconcileOperations answers that nobody knows the operations: there are none.
func (d *Door) reconcileOperations(f *framework, c *schedulerv1.Call) {
	for _, o := range c.ReconcileOperations.Operations {
		e := event(schedulerv1.Event_UPDATE_OPERATION_STATUS)
		e.UpdateOperationStatus = &schedulerv1.Event_UpdateOperationStatus{Status: &mesosv1.OperationStatus{
			OperationId: o.OperationId, State: mesosv1.OperationState_OPERATION_UNKNOWN.Enum(), AgentId: o.AgentId,
			Message: new("Reconciliation: the operation is unknown"),
		}}
		f.send(e)
	}
}

// remaining is how long a call to the server may take for a client that waits.
const remaining = 30 * time.Second

// fieldOf is the field of a call that its type needs.
func fieldOf(t schedulerv1.Call_Type) string { return strings.ToLower(t.String()) }
