package docker

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	runtime "polder.dev/polder/agent/runtime/docker"
	polderv1 "polder.dev/polder/api/polder/v1"
)

// askOf is the open ask of a container, empty when nothing of it runs or waits.
func (d *Door) askOf(ctx context.Context, p place) (string, error) {
	d.mu.Lock()
	ask, ok := d.asks[p.id]
	d.mu.Unlock()
	if ok {
		res, err := d.api.Asks.Get(ctx, connect.NewRequest(&polderv1.AskServiceGetRequest{Id: ask}))
		switch {
		case connect.CodeOf(err) == connect.CodeNotFound:
		case err != nil:
			return "", err
		case res.Msg.State == "open":
			return ask, nil
		}
		d.mu.Lock()
		delete(d.asks, p.id)
		d.mu.Unlock()
		return "", nil
	}
	return d.searchAsk(ctx, p)
}

// searchAsk looks through all open asks of the container's role: the door was restarted since the start.
func (d *Door) searchAsk(ctx context.Context, p place) (string, error) {
	req := &polderv1.AskServiceListRequest{Role: p.role, State: "open"}
	for {
		res, err := d.api.Asks.List(ctx, connect.NewRequest(req))
		if err != nil {
			return "", err
		}
		for _, a := range res.Msg.Asks {
			if a.Spec.Task.GetContainer().GetId() == p.id {
				d.mu.Lock()
				d.asks[p.id] = a.Id
				d.mu.Unlock()
				return a.Id, nil
			}
		}
		if req.PageToken = res.Msg.NextPageToken; req.PageToken == "" {
			return "", nil
		}
	}
}

// taskOn is the task that runs in a container now, nil when none does.
func (d *Door) taskOn(ctx context.Context, p place) (*polderv1.Task, error) {
	ask, err := d.askOf(ctx, p)
	if ask == "" || err != nil {
		return nil, err
	}
	res, err := d.api.Tasks.List(ctx, connect.NewRequest(&polderv1.TaskServiceListRequest{Ask: ask}))
	if err != nil || len(res.Msg.Tasks) == 0 {
		return nil, err
	}
	return res.Msg.Tasks[0], nil
}

// withdraw cancels what waits of a container.
func (d *Door) withdraw(ctx context.Context, p place, ask string) error {
	_, err := d.api.Asks.Cancel(ctx, connect.NewRequest(&polderv1.CancelRequest{Ids: []string{ask}}))
	if connect.CodeOf(err) == connect.CodeNotFound {
		err = nil
	}
	d.mu.Lock()
	delete(d.asks, p.id)
	d.mu.Unlock()
	return err
}

// halt ends the task of a container and what waits of it, and returns when both are over. It is false when there was nothing.
func (d *Door) halt(ctx context.Context, p place, grace *time.Duration, force bool) (bool, error) {
	t, err := d.taskOn(ctx, p)
	if err != nil {
		return false, err
	}
	if t == nil {
		ask, err := d.askOf(ctx, p)
		if ask == "" || err != nil {
			return false, err
		}
		return true, d.withdraw(ctx, p, ask)
	}
	req := &polderv1.KillRequest{Ids: []string{t.Id}, Force: force}
	if grace != nil {
		req.Grace = durationpb.New(*grace)
	}
	if _, err := d.api.Tasks.Kill(ctx, connect.NewRequest(req)); err != nil {
		return false, err
	}
	_, err = d.await(ctx, t.Id)
	return true, err
}

// stop ends a container: its stop signal, and SIGKILL after the time the client or the container says.
func (d *Door) stop(q *request) error {
	p, err := d.lookup(q.Context(), q.PathValue("id"))
	if err != nil {
		return err
	}
	if s := q.URL.Query().Get("signal"); s != "" {
		return fail(http.StatusBadRequest, "the stop signal is the container's own (--stop-signal when it is made); docker kill --signal sends another one")
	}
	grace, err := seconds(q.URL.Query(), "t")
	if err != nil {
		return err
	}
	if err := d.may(q.Context(), "run", p.role); err != nil {
		return err
	}
	had, err := d.halt(q.Context(), p, grace, false)
	if err != nil {
		return err
	}
	q.w.WriteHeader(map[bool]int{true: http.StatusNoContent, false: http.StatusNotModified}[had])
	return nil
}

// fatal are the names of the signal that ends a container whatever it does.
var fatal = []string{"", "KILL", "SIGKILL", "9"}

// kill sends a signal. SIGKILL ends the task; what others do is the container's business.
func (d *Door) kill(q *request) error {
	p, err := d.lookup(q.Context(), q.PathValue("id"))
	if err != nil {
		return err
	}
	signal := strings.ToUpper(q.URL.Query().Get("signal"))
	if !slices.Contains(fatal, signal) {
		return forward("run", "signal")(d, q)
	}
	if err := d.may(q.Context(), "run", p.role); err != nil {
		return err
	}
	t, err := d.taskOn(q.Context(), p)
	if err != nil {
		return err
	}
	if t == nil {
		return fail(http.StatusConflict, "Cannot kill container: %s: Container %s is not running", clip(q.PathValue("id")), p.id)
	}
	if _, err := d.halt(q.Context(), p, nil, true); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// restart ends a container and starts it again. The lease is given back in between: it may be claimed by somebody with a better
// right.
func (d *Door) restart(q *request) error {
	ctx := q.Context()
	p, err := d.lookup(ctx, q.PathValue("id"))
	if err != nil {
		return err
	}
	grace, err := seconds(q.URL.Query(), "t")
	if err != nil {
		return err
	}
	c, err := d.inspected(ctx, p)
	if err != nil {
		return err
	}
	if c.Config.Labels[runtime.LabelRemove] != "" {
		return fail(http.StatusConflict, "this container is removed when it ends (--rm), so it cannot be restarted")
	}
	if err := d.may(ctx, "run", p.role); err != nil {
		return err
	}
	if _, err := d.halt(ctx, p, grace, false); err != nil {
		return err
	}
	if c, err = d.inspected(ctx, p); err != nil {
		return err
	}
	if err := d.settled(ctx, p); err != nil {
		return err
	}
	if err := d.startAt(ctx, p, c); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// remove removes a container, with its anonymous volumes if the client says so.
func (d *Door) remove(q *request) error {
	ctx, query := q.Context(), q.URL.Query()
	p, err := d.lookup(ctx, q.PathValue("id"))
	if err != nil {
		return err
	}
	if isSet(query, "link") {
		return fail(http.StatusBadRequest, "links are removed with their container")
	}
	if err := d.may(ctx, "run", p.role); err != nil {
		return err
	}
	t, err := d.taskOn(ctx, p)
	if err != nil {
		return err
	}
	if t != nil && !isSet(query, "force") {
		if err := d.through(ctx, p, t); err != nil {
			return err
		}
	}
	if _, err := d.halt(ctx, p, nil, true); err != nil {
		return err
	}
	pass := url.Values{"force": {"1"}}
	if isSet(query, "v") {
		pass.Set("v", "1")
	}
	err = d.onEngine(ctx, p, errand{p.role, "run", "remove container " + short(p.id)}, http.MethodDelete, "", pass, nil, nil)
	switch statusIn(err) {
	case 0, http.StatusNotFound: // a container of --rm may be gone already
	case http.StatusConflict:
		if !strings.Contains(err.Error(), "already in progress") {
			return err
		}
	default:
		return err
	}
	d.forget(p.id)
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// through waits until the pool knows of the end of a container that has ended: its client may have heard of it from the engine first.
func (d *Door) through(ctx context.Context, p place, t *polderv1.Task) error {
	c, err := d.inspected(ctx, p)
	if err != nil {
		return err
	}
	if c.State.Status != "exited" && c.State.Status != "dead" {
		return fail(http.StatusConflict, "You cannot remove a running container %s. Stop the container before attempting removal or force remove", p.id)
	}
	_, err = d.await(ctx, t.Id)
	return err
}

// rename gives a container another name, which no other container of the pool has.
func (d *Door) rename(q *request) error {
	ctx := q.Context()
	p, err := d.lookup(ctx, q.PathValue("id"))
	if err != nil {
		return err
	}
	name := q.URL.Query().Get("name")
	if name == "" {
		return fail(http.StatusBadRequest, "Neither old nor new names may be empty")
	}
	if name, err = nameOf(name); err != nil {
		return err
	}
	release, err := d.reserveName(ctx, name)
	if err != nil {
		return err
	}
	defer release()
	err = d.onEngine(ctx, p, errand{p.role, "run", "rename container " + short(p.id)}, http.MethodPost, "/rename", url.Values{"name": {name}}, nil, nil)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[p.name] == p.id {
		delete(d.names, p.name)
	}
	p.name = name
	d.note(p)
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}
