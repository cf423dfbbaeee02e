package docker

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	runtime "polder.dev/polder/agent/runtime/docker"
	polderv1 "polder.dev/polder/api/polder/v1"
)

// Labels of what a door makes, besides those of the agent's runtime.
const (
	labelSpec = "polder.spec" // of a container: the task that runs it, as JSON
	labelNote = "polder."     // what begins so is Polder's
)

// place is where a container is.
type place struct {
	id     string // the door's
	name   string // without a slash
	role   string
	node   string
	engine string // the engine's id of it
	host   string // the engine
	weight int64  // of two with one id, the one that weighs more counts: it runs, or was made later
	since  uint64 // when it was noted, in notes
}

// summary is a container in an engine's list, with what is read of it. The rest is passed on as it came.
type summary struct {
	ID      string `json:"Id"`
	Names   []string
	Created int64
	State   string
	Labels  map[string]string
	Mounts  []mounted
	SizeRw  int64
}

// mounted is a mount of a container, in a list.
type mounted struct{ Type, Destination string }

// made reports whether an agent made the container, for a door.
func (s summary) made() bool {
	return slices.ContainsFunc(s.Mounts, func(m mounted) bool { return runtime.IsSandbox(m.Type, m.Destination) })
}

// place is where it is; without an id when it only says that it is a door's.
func (s summary) place(engine string) place {
	if !s.made() {
		return place{}
	}
	name := ""
	for _, n := range s.Names {
		if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") {
			name = n
		}
	}
	weight := s.Created
	if s.State == "running" {
		weight += 1 << 40
	}
	return place{id: s.Labels[runtime.LabelContainer], name: name, role: s.Labels[runtime.LabelRole], node: s.Labels[runtime.LabelAgent],
		engine: s.ID, host: engine, weight: weight}
}

// mine limits a list to containers that a door made.
func mine(filters map[string][]string) url.Values {
	all := map[string][]string{"label": {runtime.LabelContainer}}
	for name, values := range filters {
		all[name] = append(all[name], values...)
	}
	return url.Values{"all": {"1"}, "filters": {encode(all)}}
}

// survey asks every engine what there is and remembers where. What is noted meanwhile is newer than what engines say.
func (d *Door) survey(ctx context.Context) error {
	d.mu.Lock()
	began := d.notes
	d.mu.Unlock()
	nodes, err := d.nodes(ctx, &polderv1.EngineServiceListRequest{})
	if err != nil {
		return err
	}
	engines, err := d.group(ctx, nodes)
	if err != nil {
		return err
	}
	found := make([][]summary, len(engines))
	err = d.each(ctx, engines, func(ctx context.Context, i int, e engine) error {
		return d.ask(ctx, e.node(), looking, http.MethodGet, "/containers/json", mine(nil), nil, &found[i])
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	newer := map[string]bool{}
	for id, p := range d.places {
		if newer[id] = p.since > began; newer[id] {
			continue
		}
		if answered(engines, found, p.host) || !slices.ContainsFunc(nodes, func(n *polderv1.EngineNode) bool { return n.Name == p.node }) {
			delete(d.places, id)
		}
	}
	for name, id := range d.names {
		if _, kept := d.places[id]; id != "" && !kept {
			delete(d.names, name)
		}
	}
	for i, list := range found {
		for _, s := range list {
			p := s.place(engines[i].id)
			if have, twice := d.places[p.id]; has(engines[i], p.node) && !newer[p.id] && (!twice || p.weight > have.weight) {
				d.note(p)
			}
		}
	}
	return nil
}

// answered reports whether an engine has told what it has. What is on one of the pool's that has not stays known, and its names taken.
func answered(engines []engine, found [][]summary, host string) bool {
	i := slices.IndexFunc(engines, func(e engine) bool { return e.id == host })
	return i >= 0 && found[i] != nil
}

// has reports whether a node of this pool stands on the engine: another pool may use it, too.
func has(e engine, node string) bool {
	for _, n := range e.nodes {
		if n.Name == node {
			return true
		}
	}
	return false
}

// note remembers a place; the caller holds the lock.
func (d *Door) note(p place) {
	if p.id == "" {
		return
	}
	d.notes++
	p.since = d.notes
	d.places[p.id] = p
	if p.name != "" {
		d.names[p.name] = p.id
	}
}

// forget drops what is remembered of a container.
func (d *Door) forget(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[d.places[id].name] == id {
		delete(d.names, d.places[id].name)
	}
	delete(d.places, id)
	delete(d.asks, id)
	delete(d.moves, id)
	d.recent.take(id)
}

// lookup finds a container by id, name or the beginning of its id. What the caller may not view is not there.
func (d *Door) lookup(ctx context.Context, ref string) (place, error) {
	p, err := d.known(ref)
	if err == nil && p.id == "" {
		if err = d.survey(ctx); err == nil {
			p, err = d.known(ref)
		}
	}
	switch {
	case err != nil:
		return place{}, err
	case p.id == "" || d.may(ctx, "view", p.role) != nil:
		return place{}, noContainer(ref)
	}
	return p, nil
}

// known is lookup in what is remembered, in the engine's own order: id, name, beginning of an id.
func (d *Door) known(ref string) (place, error) {
	ref = strings.TrimPrefix(ref, "/")
	d.mu.Lock()
	defer d.mu.Unlock()
	if p, ok := d.places[ref]; ok {
		return p, nil
	}
	if id := d.names[ref]; id != "" {
		return d.places[id], nil
	}
	if node, name, ok := strings.Cut(ref, "/"); ok { // as listed with the node
		if p := d.places[d.names[name]]; p.node == node {
			return p, nil
		}
	}
	var found []string
	for id := range d.places {
		if ref != "" && strings.HasPrefix(id, ref) {
			found = append(found, id)
		}
	}
	if len(found) > 1 {
		slices.Sort(found)
		return place{}, fail(http.StatusBadRequest, "Multiple IDs found with provided prefix: %s", clip(ref))
	}
	if len(found) == 0 {
		return place{}, nil
	}
	return d.places[found[0]], nil
}

// reserveName takes a name for a container that is about to be made; release gives it back unless the container was noted.
func (d *Door) reserveName(ctx context.Context, name string) (release func(), err error) {
	if taken := d.holder(name); taken != nil {
		if err := d.survey(ctx); err != nil { // it may have been removed since
			return nil, err
		}
		if taken = d.holder(name); taken != nil {
			return nil, fail(http.StatusConflict, "Conflict. The container name \"/%s\" is already in use by container \"%s\". You have to remove (or rename) that container to be able to reuse that name.", name, *taken)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.names[name]; ok {
		return nil, fail(http.StatusConflict, "Conflict. The container name \"/%s\" is being taken by somebody else now.", name)
	}
	d.names[name] = ""
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.names[name] == "" {
			delete(d.names, name)
		}
	}, nil
}

// holder is the id of the container with a name, nil when there is none.
func (d *Door) holder(name string) *string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if id, ok := d.names[name]; ok {
		return &id
	}
	return nil
}
