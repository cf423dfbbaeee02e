package docker

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	runtime "polder.dev/polder/agent/runtime/docker"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/docker/fields"
)

// A network is one engine's. The containers that use it are placed there: on one machine they reach each other as on any Docker
// host, and nothing is needed of the machines.

// network is one network and where it is.
type network struct {
	thing
	engine engine
}

func (n network) role() string { return text(under(n.thing, "Labels"), runtime.LabelRole) }

// builtinNetwork reports whether a network is every engine's own.
func builtinNetwork(name string) bool { return name == "bridge" || name == "host" || name == "none" }

// listNetworks lists the networks the caller may view; of those that every engine has, one.
func (d *Door) listNetworks(ctx context.Context, query url.Values) ([]network, error) {
	engines, err := d.engines(ctx)
	if err != nil {
		return nil, err
	}
	found := make([][]thing, len(engines))
	err = d.each(ctx, engines, func(ctx context.Context, i int, e engine) error {
		return d.ask(ctx, e.node(), looking, http.MethodGet, "/networks", query, nil, &found[i])
	})
	if err != nil {
		return nil, err
	}
	mayView := d.viewer(ctx)
	var out []network
	for i, list := range found {
		for _, m := range list {
			n := network{m, engines[i]}
			if builtinNetwork(text(m, "Name")) && i == 0 || n.role() != "" && mayView(n.role()) {
				out = append(out, n)
			}
		}
	}
	return out, nil
}

// looksLikeID are names that an engine might take for the id of another network.
var looksLikeID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// is reports whether a reference is the network's whole name or id. An engine might take a part of its id for another's name.
func (n network) is(ref string) bool {
	return ref == text(n.thing, "Id") || ref == text(n.thing, "Name")
}

// joins refuses an endpoint that names another network than the one it is for: engines go by the id.
func (n network) joins(endpoint thing) error {
	if id := text(endpoint, "NetworkID"); id != "" && id != text(n.thing, "Id") {
		return fail(http.StatusBadRequest, "NetworkID: %s is not the id of network %s", clip(id), clip(text(n.thing, "Name")))
	}
	return nil
}

// network finds one by id, name or the beginning of its id.
func (d *Door) network(ctx context.Context, ref string) (network, error) {
	list, err := d.listNetworks(ctx, nil)
	if err != nil {
		return network{}, err
	}
	for _, match := range []func(network) bool{
		func(n network) bool { return text(n.thing, "Id") == ref },
		func(n network) bool { return text(n.thing, "Name") == ref },
		func(n network) bool { return ref != "" && strings.HasPrefix(text(n.thing, "Id"), ref) },
	} {
		if i := slices.IndexFunc(list, match); i >= 0 {
			return list[i], nil
		}
	}
	return network{}, fail(http.StatusNotFound, "network %s not found", clip(ref))
}

func (d *Door) networks(q *request) error {
	filters, err := filtersOf(q.URL.Query())
	if err != nil {
		return err
	}
	list, err := d.listNetworks(q.Context(), url.Values{"filters": {encode(filters)}})
	if err != nil {
		return err
	}
	out := []thing{}
	for _, n := range list {
		d.showMembers(q.Context(), n.thing) // engines list them to clients of old versions
		out = append(out, n.thing)
	}
	reply(q.w, http.StatusOK, out)
	return nil
}

func (d *Door) inspectNetwork(q *request) error {
	n, err := d.network(q.Context(), q.PathValue("id"))
	if err != nil {
		return err
	}
	var out thing
	if err := d.ask(q.Context(), n.engine.node(), looking, http.MethodGet, "/networks/"+text(n.thing, "Id"), q.URL.Query(), nil, &out); err != nil {
		return err
	}
	d.showMembers(q.Context(), out)
	reply(q.w, http.StatusOK, out)
	return nil
}

// showMembers puts the door's ids in place of the engine's, and leaves out containers that the caller may not view.
func (d *Door) showMembers(ctx context.Context, n thing) {
	members := under(n, "Containers")
	shown := thing{}
	mayView := d.viewer(ctx)
	for id, about := range members {
		if p, ok := d.byEngine(id); ok && mayView(p.role) {
			shown[p.id] = about
		}
	}
	n["Containers"] = shown
}

// createNetwork makes a network on the engine where its project has something already, else where there is most room.
func (d *Door) createNetwork(q *request) error {
	ctx := q.Context()
	role, err := d.roleFor(q, "")
	if err != nil {
		return err
	}
	body, err := d.judged(q, role, fields.Network)
	if err != nil {
		return err
	}
	if role, err = d.labelled(q, body, role); err != nil {
		return err
	}
	name := text(body, "Name")
	if name == "" || builtinNetwork(name) {
		return fail(http.StatusForbidden, "operation is not permitted on predefined %s network", clip(name))
	}
	if looksLikeID.MatchString(name) {
		return fail(http.StatusBadRequest, "a network's name cannot look like an id: %s", clip(name))
	}
	if _, err := d.network(ctx, name); statusIn(err) == 0 {
		return fail(http.StatusConflict, "network with name %s already exists", clip(name))
	}
	at, err := d.home(ctx, under(body, "Labels"))
	if err != nil {
		return err
	}
	body["CheckDuplicate"] = true
	if text(body, "Driver") == "overlay" { // what is attached to it is placed on its engine, so a bridge reaches all of it
		body["Driver"] = "bridge"
		delete(body, "Scope")
	}
	var made thing
	if err := d.ask(ctx, at.node(), errand{role, "run", "create network " + name}, http.MethodPost, "/networks/create", nil, body, &made); err != nil {
		return err
	}
	reply(q.w, http.StatusCreated, made)
	return nil
}

// labelled gives an object the label of its role.
func (d *Door) labelled(q *request, body thing, role string) (string, error) {
	labels := under(body, "Labels")
	if labels == nil {
		labels = thing{}
		body["Labels"] = labels
	}
	if own := text(labels, runtime.LabelRole); own != "" && own != role {
		if err := d.may(q.Context(), "run", own); err != nil {
			return "", err
		}
		role = own
	}
	labels[runtime.LabelRole] = role
	return role, nil
}

// projectLabel says which project of docker compose something belongs to.
const projectLabel = "com.docker.compose.project"

// home is the engine for something that a project's containers share.
func (d *Door) home(ctx context.Context, labels thing) (engine, error) {
	if project := text(labels, projectLabel); project != "" {
		at, err := d.projectEngine(ctx, project)
		if err != nil || at.id != "" {
			return at, err
		}
	}
	engines, err := d.byRoom(ctx)
	if err != nil {
		return engine{}, err
	}
	return engines[0], nil
}

// byRoom lists the engines, that of the node with most room first.
func (d *Door) byRoom(ctx context.Context) ([]engine, error) {
	nodes, err := d.nodes(ctx, &polderv1.EngineServiceListRequest{Resources: map[string]string{"cpu": "1m", "memory": "1Mi"}})
	if err != nil {
		return nil, err
	}
	return d.group(ctx, nodes)
}

// projectEngine is where a project has a network, a volume or a container.
func (d *Door) projectEngine(ctx context.Context, project string) (engine, error) {
	filter := map[string][]string{"label": {projectLabel + "=" + project}}
	networks, err := d.listNetworks(ctx, url.Values{"filters": {encode(filter)}})
	if err != nil {
		return engine{}, err
	}
	for _, n := range networks {
		return n.engine, nil
	}
	volumes, err := d.volumes(ctx)
	if err != nil {
		return engine{}, err
	}
	for _, v := range volumes {
		if v.project == project && d.may(ctx, "view", v.role) == nil {
			return v.engine, nil
		}
	}
	containers, err := d.containers(ctx, mine(filter))
	if err != nil || len(containers) == 0 {
		return engine{}, err
	}
	engines, err := d.engines(ctx)
	for _, e := range engines {
		if e.id == containers[0].at.host {
			return e, nil
		}
	}
	return engine{}, err
}

func (d *Door) removeNetwork(q *request) error {
	n, err := d.network(q.Context(), q.PathValue("id"))
	if err != nil {
		return err
	}
	name := text(n.thing, "Name")
	if n.role() == "" {
		return fail(http.StatusForbidden, "%s is a pre-defined network and cannot be removed", name)
	}
	if d.swarm != nil { // docker stack rm does not wait for the tasks of the services it removed
		if err := d.swarm.AwaitLeft(q.Context(), name, text(n.thing, "Id")); err != nil {
			return err
		}
	}
	if err := d.ask(q.Context(), n.engine.node(), errand{n.role(), "run", "remove network " + name}, http.MethodDelete, "/networks/"+text(n.thing, "Id"), nil, nil, nil); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// connectTo connects a container to a network of its engine, or takes it off.
func connectTo(word string, table fields.Table) func(*Door, *request) error {
	return func(d *Door, q *request) error {
		ctx := q.Context()
		n, err := d.network(ctx, q.PathValue("id"))
		if err != nil {
			return err
		}
		body, err := d.judged(q, n.role(), table)
		if err != nil {
			return err
		}
		if err := d.mayJoin(ctx, n, word, body); err != nil {
			return err
		}
		p, err := d.lookup(ctx, text(body, "Container"))
		if err != nil {
			return err
		}
		if err := d.may(ctx, "run", p.role); err != nil {
			return err
		}
		if p.host != n.engine.id {
			return fail(http.StatusConflict, "container %s is on node %s, network %s is not: name the network when the container is made, then it is placed there",
				p.name, p.node, text(n.thing, "Name"))
		}
		body["Container"] = p.engine
		e := errand{p.role, "run", word + " container " + short(p.id)}
		if err := d.ask(ctx, n.engine.node(), e, http.MethodPost, "/networks/"+text(n.thing, "Id")+"/"+word, nil, body, nil); err != nil {
			return err
		}
		q.w.WriteHeader(http.StatusOK)
		return nil
	}
}

// mayJoin asks for what joining a network takes. Whoever may leave his container may take it off any network.
func (d *Door) mayJoin(ctx context.Context, n network, word string, body thing) error {
	if err := n.joins(under(body, "EndpointConfig")); err != nil {
		return err
	}
	if word == "disconnect" || n.role() == "" { // every engine's own are everybody's
		return nil
	}
	return d.may(ctx, "run", n.role())
}

// pruneNetworks removes the caller's networks that no container uses.
func (d *Door) pruneNetworks(q *request) error {
	filters, err := filtersOf(q.URL.Query())
	if err != nil {
		return err
	}
	filters["dangling"] = []string{"true"}
	list, err := d.listNetworks(q.Context(), url.Values{"filters": {encode(filters)}})
	if err != nil {
		return err
	}
	gone := []string{}
	for _, n := range list {
		name := text(n.thing, "Name")
		if n.role() == "" || d.may(q.Context(), "run", n.role()) != nil {
			continue
		}
		err := d.ask(q.Context(), n.engine.node(), errand{n.role(), "run", "remove network " + name}, http.MethodDelete, "/networks/"+text(n.thing, "Id"), nil, nil, nil)
		if err == nil {
			gone = append(gone, name)
		}
	}
	reply(q.w, http.StatusOK, thing{"NetworksDeleted": gone})
	return nil
}
