package docker

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"

	"polder.dev/polder/door/docker/fields"
)

// execAt is where an exec is.
type execAt struct{ container string }

// maxExecs bounds what is remembered of execs; what is forgotten is asked for.
const maxExecs = 10_000

// execFields are what an exec may be told.
var execFields = fields.Exec

// execCreate prepares a command in a container.
func (d *Door) execCreate(q *request) error {
	ctx := q.Context()
	p, err := d.lookup(ctx, q.PathValue("id"))
	if err != nil {
		return err
	}
	body, err := d.judged(q, p.role, execFields)
	if err != nil {
		return err
	}
	var made struct {
		ID string `json:"Id"`
	}
	if err := d.onEngine(ctx, p, errand{p.role, "exec", "exec in container " + short(p.id)}, http.MethodPost, "/exec", nil, body, &made); err != nil {
		return err
	}
	d.noteExec(made.ID, p.id)
	reply(q.w, http.StatusCreated, made)
	return nil
}

// judged reads a body that a table judges, and asks for the permission host where it takes that.
func (d *Door) judged(q *request, role string, table fields.Table) (thing, error) {
	data, err := io.ReadAll(io.LimitReader(q.Body, maxCreate+1))
	if err != nil || len(data) > maxCreate {
		return nil, fail(http.StatusBadRequest, "want a body of at most %d bytes", maxCreate)
	}
	body, err := fields.Decode(data)
	if err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	verdict, err := table.Check(body)
	if err != nil {
		return nil, err
	}
	if len(verdict.Host) > 0 {
		if err := d.may(q.Context(), "host", role); err != nil {
			return nil, fail(http.StatusForbidden, "%s: %v", strings.Join(verdict.Host, ", "), err)
		}
	}
	return body, nil
}

func (d *Door) noteExec(id, container string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.execs) >= maxExecs {
		clear(d.execs)
	}
	d.execs[id] = execAt{container}
}

// execPlace finds the container of an exec.
func (d *Door) execPlace(ctx context.Context, id string) (place, error) {
	d.mu.Lock()
	at, ok := d.execs[id]
	d.mu.Unlock()
	if ok {
		return d.lookup(ctx, at.container)
	}
	engines, err := d.engines(ctx)
	if err != nil {
		return place{}, err
	}
	for _, e := range engines {
		var found struct{ ContainerID string }
		if d.ask(ctx, e.node(), looking, http.MethodGet, "/exec/"+url.PathEscape(id)+"/json", nil, nil, &found) != nil {
			continue
		}
		if err := d.survey(ctx); err != nil {
			return place{}, err
		}
		if p, ok := d.byEngine(found.ContainerID); ok {
			d.noteExec(id, p.id)
			return d.lookup(ctx, p.id)
		}
	}
	return place{}, fail(http.StatusNotFound, "No such exec instance: %s", clip(id))
}

// byEngine finds a container by the engine's id of it.
func (d *Door) byEngine(id string) (place, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.places {
		if p.engine == id {
			return p, true
		}
	}
	return place{}, false
}

// execForward sends a call about an exec to the engine that has it.
func execForward(verb, action string) func(*Door, *request) error {
	return func(d *Door, q *request) error {
		id := q.PathValue("id")
		p, err := d.execPlace(q.Context(), id)
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/exec/"), "/")
		e := errand{p.role, verb, strings.TrimSpace(action + " container " + short(p.id))}
		return d.pass(q, p.node, e, "/exec/"+id+"/"+rest, func(res *http.Response) error { return d.showExec(res, p) })
	}
}

// showExec puts the door's id into what an engine says about an exec.
func (d *Door) showExec(res *http.Response, p place) error {
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		return d.translate(res, p)
	}
	var about thing
	reader := json.NewDecoder(io.LimitReader(res.Body, maxAnswer))
	reader.UseNumber()
	err := reader.Decode(&about)
	res.Body.Close()
	if err != nil {
		return err
	}
	if about["ContainerID"] != nil {
		about["ContainerID"] = p.id
	}
	setBody(res, []byte(encode(about)))
	return nil
}
