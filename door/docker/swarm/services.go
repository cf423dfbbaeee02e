package swarm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"polder.dev/polder/door/docker/fields"
	"polder.dev/polder/door/docker/swarm/orchestrator"
)

var serviceName = regexp.MustCompile(`^[a-zA-Z0-9]([-_a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$`)

// createService is docker service create.
func (s *Swarm) createService(c *call) error {
	if err := c.only(); err != nil {
		return err
	}
	x, err := s.draft(c, "")
	if err != nil {
		return err
	}
	x.ID, x.Owner = newID(), c.who
	err = s.change(c.Context(), x.Name, func() (orchestrator.Event, error) {
		if s.m.Named(x.Name) {
			return nil, fail(http.StatusConflict, "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service %s already exists", x.Name)
		}
		return orchestrator.PutService{Service: x}, nil
	})
	if err != nil {
		return err
	}
	return c.reply(http.StatusCreated, swarm.ServiceCreateResponse{ID: x.ID})
}

// change steps on an event about a service that is made when nothing else changes what has its name in between.
func (s *Swarm) change(ctx context.Context, name string, make func() (orchestrator.Event, error)) error {
	defer s.changing.service(name)()
	s.mu.Lock()
	e, err := make()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.step(context.WithoutCancel(ctx), e)
}

// draft reads and judges what the client wants of a service. role is the one it has already, empty for a new one.
func (s *Swarm) draft(c *call, role string) (x orchestrator.Service, err error) {
	var t template
	raw, verdict, err := c.read(fields.Service, "the service", &t)
	if err != nil {
		return x, err
	}
	switch {
	case !serviceName.MatchString(t.Name):
		return x, fail(http.StatusBadRequest, "rpc error: code = InvalidArgument desc = name must be valid as a DNS name component")
	case t.TaskTemplate.ContainerSpec == nil || t.spec().Image == "":
		return x, fail(http.StatusBadRequest, "TaskTemplate.ContainerSpec.Image: no image is named")
	}
	label := cmp.Or(t.Labels["polder.role"], t.spec().Labels["polder.role"])
	switch {
	case role == "":
		if role, err = s.opt.Containers.RoleFor(c.Request, label); err != nil {
			return x, err
		}
	case label != "" && label != role:
		return x, fail(http.StatusBadRequest, "Labels: a service keeps its role, %s; make another service for role %s", role, clip(label))
	}
	if err := s.permit(c.Context(), role, verdict); err != nil {
		return x, err
	}
	var small bytes.Buffer
	if err := json.Compact(&small, raw); err != nil {
		return x, err
	}
	x.Name, x.Role = t.Name, role
	if x.Spec, err = compile(t, small.Bytes()); err != nil {
		return x, err
	}
	if x.Spec.Placement.Only, err = s.opt.Containers.Places(c.Context(), role, t.networks(), t.volumes()); err != nil {
		return x, err
	}
	if err := s.tryOut(c.Context(), t, x); err != nil {
		return x, err
	}
	if auth := c.Header.Get("X-Registry-Auth"); given(auth) {
		err = s.opt.Containers.Fetch(c.Context(), role, t.spec().Image, auth)
	}
	return x, err
}

// permit asks whether the caller may run what the service wants.
func (s *Swarm) permit(ctx context.Context, role string, v fields.Verdict) error {
	if err := s.opt.Containers.May(ctx, "run", role); err != nil {
		return err
	}
	if len(v.Host) == 0 {
		return nil
	}
	if err := s.opt.Containers.May(ctx, "host", role); err != nil {
		return fail(http.StatusForbidden, "%s: %v", strings.Join(v.Host, ", "), err)
	}
	return nil
}

// tryOut makes the container of a task that will never be, and has it judged: what is wrong with it is said now, not by every task.
func (s *Swarm) tryOut(ctx context.Context, t template, x orchestrator.Service) error {
	s.mu.Lock()
	_, err := s.filesIn(t, x.Role)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	c, err := t.container(x, orchestrator.Task{ID: newID(), Slot: 1}, "node")
	if err != nil {
		return err
	}
	return s.opt.Containers.Check(ctx, c)
}

// given reports whether a header has credentials for a registry in it. They serve to get the image now, and are not kept: nodes that need
// it later copy it from each other.
func given(auth string) bool {
	data, err := base64.URLEncoding.DecodeString(auth)
	var some map[string]any
	return auth != "" && (err != nil || json.Unmarshal(data, &some) != nil || len(some) > 0)
}

// service finds a service that the caller may view.
func (s *Swarm) service(c *call, ref string) (orchestrator.Service, error) {
	s.mu.Lock()
	all := s.m.Services()
	s.mu.Unlock()
	may := s.viewer(c)
	all = slices.DeleteFunc(all, func(x orchestrator.Service) bool { return !may(x.Role) })
	return pick("service", ref, all, func(x orchestrator.Service) string { return x.ID }, func(x orchestrator.Service) string { return x.Name })
}

// updateService is docker service update, scale and rollback.
func (s *Swarm) updateService(c *call) error {
	if err := c.only("version", "rollback", "registryAuthFrom"); err != nil {
		return err
	}
	old, err := s.service(c, c.PathValue("id"))
	if err != nil {
		return err
	}
	version, err := strconv.ParseUint(c.URL.Query().Get("version"), 10, 64)
	if err != nil {
		return fail(http.StatusBadRequest, "invalid service version '%s': it must be the number in Version.Index", clip(c.URL.Query().Get("version")))
	}
	var x orchestrator.Service
	back := c.URL.Query().Get("rollback")
	switch back {
	case "":
		x, err = s.draft(c, old.Role)
	case "previous":
		x, err = s.before(c, old)
	default:
		err = fail(http.StatusBadRequest, "unrecognized rollback option %s", clip(back))
	}
	if err != nil {
		return err
	}
	if x.Name != old.Name {
		return fail(http.StatusNotImplemented, "rpc error: code = Unimplemented desc = renaming services is not supported")
	}
	if x.Spec.Mode != old.Spec.Mode {
		return fail(http.StatusNotImplemented, "rpc error: code = Unimplemented desc = service mode change is not allowed")
	}
	x.ID = old.ID
	err = s.change(c.Context(), x.Name, func() (orchestrator.Event, error) {
		now, ok := s.m.Service(old.ID)
		if !ok {
			return nil, fail(http.StatusNotFound, "service %s not found", old.ID)
		}
		if now.Index != version {
			return nil, fail(http.StatusConflict, "rpc error: code = Unknown desc = update out of sequence")
		}
		return orchestrator.PutService{Service: x, Back: back != ""}, nil
	})
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, swarm.ServiceUpdateResponse{})
}

// before is a service as it was before its last change.
func (s *Swarm) before(c *call, old orchestrator.Service) (orchestrator.Service, error) {
	if old.Previous == nil {
		return old, fail(http.StatusBadRequest, "rpc error: code = FailedPrecondition desc = service %s does not have a previous spec", old.ID)
	}
	old.Spec = *old.Previous
	var t template
	tree, err := fields.Decode(old.Spec.Template)
	if err == nil {
		err = json.Unmarshal(old.Spec.Template, &t)
	}
	if err != nil {
		return old, err
	}
	verdict, err := fields.Service.Check(tree) // somebody else may have been allowed to want that
	if err == nil {
		err = s.permit(c.Context(), old.Role, verdict)
	}
	if err == nil {
		err = s.tryOut(c.Context(), t, old)
	}
	return old, err
}

// removeService is docker service rm. Its tasks are stopped afterwards.
func (s *Swarm) removeService(c *call) error {
	x, err := s.service(c, c.PathValue("id"))
	if err != nil {
		return err
	}
	if err := s.opt.Containers.May(c.Context(), "run", x.Role); err != nil {
		return err
	}
	if err := s.change(c.Context(), x.Name, func() (orchestrator.Event, error) { return orchestrator.RemoveService{ID: x.ID}, nil }); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// leftEvery is how often it is looked whether the tasks of removed services are gone.
const leftEvery = 100 * time.Millisecond

// AwaitLeft waits until no task of a service that was removed is left in a network, which is told by its name or its id.
func (s *Swarm) AwaitLeft(ctx context.Context, network ...string) error {
	tick := time.NewTicker(leftEvery)
	defer tick.Stop()
	for s.leaving(network) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// leaving reports whether a service that was removed still has tasks in a network.
func (s *Swarm) leaving(network []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.m.Leaving(), func(raw json.RawMessage) bool {
		var t template
		return json.Unmarshal(raw, &t) == nil && slices.ContainsFunc(t.networks(), func(n string) bool { return slices.Contains(network, n) })
	})
}

// listServices is docker service ls.
func (s *Swarm) listServices(c *call) error {
	if err := c.only("filters", "status"); err != nil {
		return err
	}
	f, err := c.filters("id", "name", "label", "mode", "runtime")
	if err != nil {
		return err
	}
	s.mu.Lock()
	all := s.m.Services()
	s.mu.Unlock()
	may := s.viewer(c)
	out := []swarm.Service{}
	for _, x := range all {
		if !may(x.Role) {
			continue
		}
		shown, err := s.shown(x)
		if err != nil {
			return err
		}
		if isSet(c.URL.Query(), "status") {
			shown.ServiceStatus = s.status(x)
		}
		if matches(f["id"], func(v string) bool { return strings.HasPrefix(x.ID, v) }) && matches(f["name"], func(v string) bool { return strings.HasPrefix(x.Name, v) }) &&
			labelled(shown.Spec.Labels, f["label"]) && matches(f["mode"], func(v string) bool { return v == modeNames[x.Spec.Mode] }) &&
			matches(f["runtime"], func(v string) bool { return v == "container" }) {
			out = append(out, shown)
		}
	}
	return c.reply(http.StatusOK, out)
}

var modeNames = map[orchestrator.Mode]string{orchestrator.Replicated: "replicated", orchestrator.Global: "global",
	orchestrator.ReplicatedJob: "replicated-job", orchestrator.GlobalJob: "global-job"}

// inspectService is docker service inspect.
func (s *Swarm) inspectService(c *call) error {
	if err := c.only("insertDefaults"); err != nil {
		return err
	}
	x, err := s.service(c, c.PathValue("id"))
	if err != nil {
		return err
	}
	out, err := s.shown(x)
	if err != nil {
		return err
	}
	if isSet(c.URL.Query(), "insertDefaults") {
		fillIn(&out.Spec, x.Spec)
	}
	return c.reply(http.StatusOK, out)
}

// shown is a service in the Engine API's words.
func (s *Swarm) shown(x orchestrator.Service) (swarm.Service, error) {
	out := swarm.Service{ID: x.ID}
	out.Version.Index, out.CreatedAt, out.UpdatedAt = x.Index, x.Created, x.Updated
	if err := json.Unmarshal(x.Spec.Template, &out.Spec); err != nil {
		return out, err
	}
	if x.Previous != nil {
		out.PreviousSpec = &swarm.ServiceSpec{}
		if err := json.Unmarshal(x.Previous.Template, out.PreviousSpec); err != nil {
			return out, err
		}
	}
	if out.Spec.EndpointSpec != nil {
		out.Endpoint.Spec, out.Endpoint.Ports = *out.Spec.EndpointSpec, out.Spec.EndpointSpec.Ports
	}
	if u := x.Update; u != nil {
		out.UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateState(u.State), StartedAt: &u.Started, Message: u.Message}
		if !u.Completed.IsZero() {
			out.UpdateStatus.CompletedAt = &u.Completed
		}
	}
	if x.Spec.Mode.Job() {
		out.JobStatus = &swarm.JobStatus{JobIteration: swarm.Version{Index: x.Iteration}, LastExecution: x.Executed}
	}
	return out, nil
}

// status counts a service's tasks.
func (s *Swarm) status(x orchestrator.Service) *swarm.ServiceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &swarm.ServiceStatus{DesiredTasks: x.Spec.Replicas}
	wanted := uint64(0)
	for _, t := range s.m.Tasks(x.ID) {
		if t.Wanted && (!t.Done || x.Spec.Mode == orchestrator.GlobalJob && t.State != orchestrator.Complete) {
			wanted++
		}
		switch {
		case t.State == orchestrator.Running && t.Wanted:
			out.RunningTasks++
		case t.State == orchestrator.Complete && t.Iteration == x.Iteration:
			out.CompletedTasks++
		}
	}
	switch x.Spec.Mode {
	case orchestrator.Global:
		out.DesiredTasks = wanted
	case orchestrator.GlobalJob:
		out.DesiredTasks = wanted + out.CompletedTasks
	case orchestrator.ReplicatedJob:
		if x.Spec.Concurrent > 0 {
			out.DesiredTasks = min(x.Spec.Concurrent, x.Spec.Replicas)
		}
	}
	return out
}

// fillIn says what is true where the service says nothing.
func fillIn(spec *swarm.ServiceSpec, x orchestrator.Spec) {
	if spec.TaskTemplate.RestartPolicy == nil {
		spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: swarm.RestartPolicyCondition(x.Restart.Condition), Delay: &x.Restart.Delay,
			MaxAttempts: &x.Restart.MaxAttempts, Window: &x.Restart.Window}
	}
	if c := spec.TaskTemplate.ContainerSpec; c != nil && c.StopGracePeriod == nil {
		grace := defaultGrace
		c.StopGracePeriod = &grace
	}
	for to, r := range map[**swarm.UpdateConfig]orchestrator.Rollout{&spec.UpdateConfig: x.Update, &spec.RollbackConfig: x.Rollback} {
		if *to == nil {
			*to = &swarm.UpdateConfig{Parallelism: r.Parallelism, Delay: r.Delay, Monitor: r.Monitor, MaxFailureRatio: float32(r.MaxFailureRatio),
				FailureAction: swarm.FailureAction(r.FailureAction), Order: swarm.UpdateOrderStopFirst}
		}
	}
}
