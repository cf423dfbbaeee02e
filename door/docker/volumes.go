package docker

import (
	"cmp"
	"context"
	"net/http"
	"net/url"

	runtime "polder.dev/polder/agent/runtime/docker"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/docker/fields"
)

// volume is a volume and where it is. Only those with a role are the pool's.
type volume struct {
	thing
	name, role, project string
	engine              engine
	sized               *polderv1.Volume // nil for an engine's own
}

// volumes lists the pool's volumes, whoever's they are.
func (d *Door) volumes(ctx context.Context) ([]volume, error) {
	return d.listVolumes(ctx, map[string][]string{})
}

func (d *Door) listVolumes(ctx context.Context, filters map[string][]string) ([]volume, error) {
	engines, err := d.engines(ctx)
	if err != nil {
		return nil, err
	}
	sized, err := d.sized(ctx)
	if err != nil {
		return nil, err
	}
	query := url.Values{"filters": {encode(filters)}}
	found := make([]struct{ Volumes []thing }, len(engines))
	err = d.each(ctx, engines, func(ctx context.Context, i int, e engine) error {
		return d.ask(ctx, e.node(), looking, http.MethodGet, "/volumes", query, nil, &found[i])
	})
	if err != nil {
		return nil, err
	}
	var out []volume
	held := map[string]bool{}
	if len(filters["dangling"]) > 0 {
		if held, err = d.held(ctx, engines); err != nil {
			return nil, err
		}
	}
	for _, v := range sized {
		if shown := shownSized(v, engines); shown.matches(filters, held[v.Task]) {
			out = append(out, shown)
		}
	}
	for i, list := range found {
		for _, m := range list.Volumes {
			labels := under(m, "Labels")
			if role := text(labels, runtime.LabelRole); role != "" && text(labels, runtime.LabelVolume) == "" { // or it stands for the pool's
				out = append(out, volume{m, text(m, "Name"), role, text(labels, projectLabel), engines[i], nil})
			}
		}
	}
	return out, nil
}

// held are the leases of those of the pool's volumes that a container has, running or not.
func (d *Door) held(ctx context.Context, engines []engine) (map[string]bool, error) {
	query := url.Values{"filters": {encode(map[string][]string{"dangling": {"false"}, "label": {runtime.LabelVolume}})}}
	found := make([]struct{ Volumes []thing }, len(engines))
	err := d.each(ctx, engines, func(ctx context.Context, i int, e engine) error {
		return d.ask(ctx, e.node(), looking, http.MethodGet, "/volumes", query, nil, &found[i])
	})
	out := map[string]bool{}
	for _, list := range found {
		for _, m := range list.Volumes {
			out[text(under(m, "Labels"), runtime.LabelVolume)] = true
		}
	}
	return out, err
}

func (d *Door) showVolumes(q *request) error {
	filters, err := filtersOf(q.URL.Query())
	if err != nil {
		return err
	}
	list, err := d.listVolumes(q.Context(), filters)
	if err != nil {
		return err
	}
	mayView, out := d.viewer(q.Context()), []thing{}
	for _, v := range list {
		if mayView(v.role) {
			out = append(out, v.thing)
		}
	}
	reply(q.w, http.StatusOK, thing{"Volumes": out, "Warnings": []string{}})
	return nil
}

// volume finds one by name among those the caller may view.
func (d *Door) volume(ctx context.Context, name string) (volume, error) {
	list, err := d.volumes(ctx)
	if err != nil {
		return volume{}, err
	}
	for _, v := range list {
		if v.name == name && d.may(ctx, "view", v.role) == nil {
			return v, nil
		}
	}
	return volume{}, fail(http.StatusNotFound, "get %s: no such volume", clip(name))
}

func (d *Door) inspectVolume(q *request) error {
	v, err := d.volume(q.Context(), q.PathValue("name"))
	if err != nil {
		return err
	}
	reply(q.w, http.StatusOK, v.thing)
	return nil
}

// createVolume makes a volume: with a size the pool's, else one of an engine's own, where its project has something already, else where there
// is most room.
func (d *Door) createVolume(q *request) error {
	ctx := q.Context()
	role, err := d.roleFor(q, "")
	if err != nil {
		return err
	}
	body, err := d.judged(q, role, fields.Volume)
	if err != nil {
		return err
	}
	if role, err = d.labelled(q, body, role); err != nil {
		return err
	}
	body["Name"] = cmp.Or(text(body, "Name"), newID())
	made, err := d.createOrFind(ctx, role, body)
	if err != nil {
		return err
	}
	reply(q.w, http.StatusCreated, made)
	return nil
}

// createOrFind makes a volume, or finds the one that has its name: making it again changes nothing.
func (d *Door) createOrFind(ctx context.Context, role string, body thing) (made thing, err error) {
	size, err := sizeOf(body)
	if err != nil {
		return nil, err
	}
	all, err := d.volumes(ctx)
	if err != nil {
		return nil, err
	}
	var at engine
	name := text(body, "Name")
	for _, v := range all {
		if v.name != name {
			continue
		}
		if err := d.may(ctx, "run", v.role); err != nil {
			return nil, fail(http.StatusConflict, "a volume named %s exists, and it is another role's", clip(v.name))
		}
		if size == "" && v.sized != nil {
			return v.thing, nil
		}
		if size != "" && v.sized == nil {
			return nil, fail(http.StatusConflict, "a volume named %s exists, and has no size; remove it, or choose another name", clip(v.name))
		}
		at = v.engine
	}
	if err := d.unseen(ctx, name); err != nil {
		return nil, fail(http.StatusConflict, "a volume named %s exists, and it is another role's", clip(name))
	}
	if size != "" {
		v, err := d.createSized(ctx, role, size, body)
		return v.thing, err
	}
	if at.id == "" {
		if at, err = d.home(ctx, under(body, "Labels")); err != nil {
			return nil, err
		}
	}
	if err := d.dropStandIn(ctx, at.node(), name, role); err != nil { // for one that is no more
		return nil, err
	}
	return made, d.ask(ctx, at.node(), errand{role, "run", "create volume " + name}, http.MethodPost, "/volumes/create", nil, body, &made)
}

func (d *Door) removeVolume(q *request) error {
	v, err := d.volume(q.Context(), q.PathValue("name"))
	if err != nil {
		return err
	}
	pass := url.Values{}
	if isSet(q.URL.Query(), "force") {
		pass.Set("force", "1")
	}
	if err := d.dropVolume(q.Context(), v, pass); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (d *Door) dropVolume(ctx context.Context, v volume, query url.Values) error {
	if v.sized != nil {
		return d.removeSized(ctx, v)
	}
	return d.ask(ctx, v.engine.node(), errand{v.role, "run", "remove volume " + v.name}, http.MethodDelete, "/volumes/"+url.PathEscape(v.name), query, nil, nil)
}

// pruneVolumes removes the caller's volumes that no container uses, but none that has a size: its role pays for that to be kept.
func (d *Door) pruneVolumes(q *request) error {
	filters, err := filtersOf(q.URL.Query())
	if err != nil {
		return err
	}
	delete(filters, "all")
	filters["dangling"] = []string{"true"}
	list, err := d.listVolumes(q.Context(), filters)
	if err != nil {
		return err
	}
	gone := []string{}
	for _, v := range list {
		if v.sized == nil && d.may(q.Context(), "run", v.role) == nil && d.dropVolume(q.Context(), v, nil) == nil {
			gone = append(gone, v.name)
		}
	}
	reply(q.w, http.StatusOK, thing{"VolumesDeleted": gone, "SpaceReclaimed": 0})
	return nil
}
