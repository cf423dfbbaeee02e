package docker

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	runtime "polder.dev/polder/agent/runtime/docker"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/docker/fields"
)

// filtersOf reads the parameter filters.
func filtersOf(q url.Values) (map[string][]string, error) {
	out, err := fields.Filters(q.Get("filters"))
	if err != nil {
		return nil, fail(http.StatusBadRequest, "%s", err)
	}
	return out, nil
}

// engineFilters are those of docker ps that an engine answers; the others are the door's.
var engineFilters = []string{"ancestor", "exited", "expose", "health", "is-task", "isolation", "label", "name", "network", "publish", "status", "volume"}

// list is docker ps over the whole pool.
func (d *Door) list(q *request) error {
	ctx, query := q.Context(), q.URL.Query()
	filters, err := filtersOf(query)
	if err != nil {
		return err
	}
	limit, err := limitOf(query)
	if err != nil {
		return err
	}
	keep, err := d.ownFilters(ctx, filters)
	if err != nil {
		return err
	}
	pass := mine(filters)
	if !isSet(query, "all") && limit < 0 && len(filters["status"]) == 0 && len(filters["exited"]) == 0 {
		pass.Del("all")
	}
	if isSet(query, "size") {
		pass.Set("size", "1")
	}
	found, err := d.containers(ctx, pass)
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(c listed) bool { return !keep(c) })
	slices.SortStableFunc(found, func(a, b listed) int { return cmp.Compare(b.Created, a.Created) })
	if limit >= 0 && limit < len(found) {
		found = found[:limit]
	}
	q.w.Header().Set("Content-Type", "application/json")
	_, err = q.w.Write(inJSON(found))
	return ignoreGone(err)
}

func limitOf(q url.Values) (int, error) {
	text := q.Get("limit")
	if text == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fail(http.StatusBadRequest, "limit: %q is not a number", clip(text))
	}
	if n == 0 {
		n = -1
	}
	return n, nil
}

// ownFilters takes the filters that engines would misunderstand out of the list: they know neither the door's ids nor nodes. It
// refuses those that nobody knows.
func (d *Door) ownFilters(ctx context.Context, filters map[string][]string) (keep func(listed) bool, err error) {
	var tests []func(listed) bool
	for name, values := range filters {
		switch {
		case name == "id":
			tests = append(tests, func(c listed) bool {
				return slices.ContainsFunc(values, func(v string) bool { return strings.HasPrefix(c.at.id, v) })
			})
		case name == "node":
			tests = append(tests, func(c listed) bool { return slices.Contains(values, c.at.node) })
		case name == "before" || name == "since":
			for _, ref := range values {
				than, err := d.created(ctx, ref)
				if err != nil {
					return nil, err
				}
				tests = append(tests, func(c listed) bool { return c.Created != than && (c.Created < than) == (name == "before") })
			}
		case slices.Contains(engineFilters, name):
			continue
		default:
			return nil, fail(http.StatusBadRequest, "invalid filter '%s'", clip(name))
		}
		delete(filters, name)
	}
	return func(c listed) bool {
		return !slices.ContainsFunc(tests, func(t func(listed) bool) bool { return !t(c) })
	}, nil
}

// created is when a container was made, in seconds.
func (d *Door) created(ctx context.Context, ref string) (int64, error) {
	p, err := d.lookup(ctx, ref)
	if err != nil {
		return 0, err
	}
	var c struct{ Created time.Time }
	err = d.onEngine(ctx, p, errand{p.role, "view", ""}, http.MethodGet, "/json", nil, nil, &c)
	return c.Created.Unix(), err
}

// containers lists what the caller may view on all engines.
func (d *Door) containers(ctx context.Context, query url.Values) ([]listed, error) {
	engines, err := d.engines(ctx)
	if err != nil {
		return nil, err
	}
	found := make([]json.RawMessage, len(engines))
	err = d.each(ctx, engines, func(ctx context.Context, i int, e engine) error {
		return d.ask(ctx, e.node(), looking, http.MethodGet, "/containers/json", query, nil, &found[i])
	})
	if err != nil {
		return nil, err
	}
	leases, err := d.leases(ctx)
	if err != nil {
		return nil, err
	}
	mayView := d.viewer(ctx)
	var out []listed
	for i, list := range found {
		if list == nil {
			continue // it did not answer
		}
		err := eachElement(list, func(raw []byte) error {
			l, err := listedIn(raw, engines[i].id)
			if err != nil || l.at.id == "" || !has(engines[i], l.at.node) || !mayView(l.at.role) {
				return err
			}
			d.mu.Lock()
			d.note(l.at)
			d.mu.Unlock()
			leases.show(&l)
			out = append(out, l)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("what the engine of node %s lists: %w", engines[i].node(), err)
		}
	}
	return out, nil
}

// leases are the pool's side of containers: what runs, what waits.
type leases struct {
	tasks map[string]*polderv1.Task // by container
	asks  map[string]*polderv1.Ask
}

func (d *Door) leases(ctx context.Context) (leases, error) {
	out := leases{map[string]*polderv1.Task{}, map[string]*polderv1.Ask{}}
	tasks := &polderv1.TaskServiceListRequest{PageSize: 1000}
	for more := true; more; more = tasks.PageToken != "" {
		res, err := d.api.Tasks.List(ctx, connect.NewRequest(tasks))
		if err != nil {
			return out, err
		}
		for _, t := range res.Msg.Tasks {
			if t.Container != "" {
				out.tasks[t.Container] = t
			}
		}
		tasks.PageToken = res.Msg.NextPageToken
	}
	asks := &polderv1.AskServiceListRequest{State: "open", Waiting: true, PageSize: 1000}
	for more := true; more; more = asks.PageToken != "" {
		res, err := d.api.Asks.List(ctx, connect.NewRequest(asks))
		if err != nil {
			return out, err
		}
		for _, a := range res.Msg.Asks {
			if id := a.Spec.Task.GetContainer().GetId(); id != "" && a.Pending > 0 {
				out.asks[id] = a
			}
		}
		asks.PageToken = res.Msg.NextPageToken
	}
	return out, nil
}

// show puts the pool's side into an engine's summary of a container.
func (l leases) show(c *listed) {
	c.said = l.words(c.at)
	if a := l.asks[c.at.id]; a != nil && c.State != "running" {
		c.status = fmt.Sprintf("%s (waiting: %s)", cmp.Or(c.status, "Created"), a.Reason.GetMessage())
	}
	if t := l.tasks[c.at.id]; t.GetNotice() != nil {
		c.status = fmt.Sprintf("%s (leaves by %s for %s)", c.status, t.Notice.Deadline.AsTime().UTC().Format(time.TimeOnly), t.Notice.Claimant)
	}
}

// hidden are the labels of a container that are for the door alone.
var hidden = []string{labelSpec, runtime.LabelContainer, runtime.LabelRemove, runtime.LabelAgent}

// label shows how the pool treats a container, and hides what is for the door alone.
func (l leases) label(labels thing, p place) {
	for _, name := range hidden {
		delete(labels, name)
	}
	for _, w := range l.words(p) {
		labels[w[0]] = w[1]
	}
}

// words are labels that say how the pool treats a container.
func (l leases) words(p place) [][2]string {
	t := l.tasks[p.id]
	if t == nil {
		return [][2]string{{"polder.node", p.node}}
	}
	out := [][2]string{{"polder.task", t.Id}, {"polder.funding", t.Funding}, {"polder.node", t.Node}}
	if n := t.Notice; n != nil {
		out = append(out, [2]string{"polder.notice.deadline", n.Deadline.AsTime().UTC().Format(time.RFC3339)}, [2]string{"polder.notice.claimant", n.Claimant})
	}
	return out
}

// withoutSandbox leaves out the mount that the agent adds.
func withoutSandbox(mounts []any) []any {
	return slices.DeleteFunc(mounts, func(x any) bool {
		m, _ := x.(thing)
		return text(m, "Destination") == runtime.SandboxPath || text(m, "Target") == runtime.SandboxPath
	})
}

// inspect is what an engine says about a container, in the door's words.
func (d *Door) inspect(q *request) error {
	ctx := q.Context()
	p, err := d.lookup(ctx, q.PathValue("id"))
	if err != nil {
		return err
	}
	var c thing
	query := url.Values{}
	if isSet(q.URL.Query(), "size") {
		query.Set("size", "1")
	}
	if err := d.onEngine(ctx, p, errand{p.role, "view", ""}, http.MethodGet, "/json", query, nil, &c); err != nil {
		return err
	}
	one, err := d.leaseOf(ctx, p)
	if err != nil {
		return err
	}
	c["Id"] = p.id
	c["Node"] = thing{"Name": p.node, "ID": p.host}
	if m, ok := c["Mounts"].([]any); ok {
		c["Mounts"] = withoutSandbox(m)
	}
	d.showConfig(c, one, p)
	reply(q.w, http.StatusOK, c)
	return nil
}

// leaseOf is leases for one container.
func (d *Door) leaseOf(ctx context.Context, p place) (leases, error) {
	out := leases{map[string]*polderv1.Task{}, map[string]*polderv1.Ask{}}
	t, err := d.taskOn(ctx, p)
	if t != nil {
		out.tasks[p.id] = t
	}
	return out, err
}

// showConfig shows restart policy and removal as the client gave them: to the engine they are the pool's.
func (d *Door) showConfig(c thing, l leases, p place) {
	config, host := under(c, "Config"), under(c, "HostConfig")
	labels := under(config, "Labels")
	var spec polderv1.TaskSpec
	if s, err := taskIn(map[string]string{labelSpec: text(labels, labelSpec)}); err == nil {
		spec = polderv1.TaskSpec{Labels: s.Labels}
	}
	l.label(labels, p)
	var policy thing
	if json.Unmarshal([]byte(spec.Labels["docker.restart"]), &policy) == nil {
		host["RestartPolicy"] = policy
	}
	host["AutoRemove"] = spec.Labels["docker.remove"] != ""
	if m, ok := host["Mounts"].([]any); ok {
		if m = withoutSandbox(m); len(m) > 0 {
			host["Mounts"] = m
		} else {
			delete(host, "Mounts")
		}
	}
}
