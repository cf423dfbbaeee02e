package docker

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/docker/fields"
	"polder.dev/polder/door/docker/swarm"
)

// containersOf is what package swarm is given of the door: how containers are described, made, read and removed.
type containersOf struct{ d *Door }

var _ swarm.Containers = containersOf{}

// versioned gives calls that no client began the version that every engine speaks.
func (c containersOf) versioned(ctx context.Context) (context.Context, error) {
	if c.d.version(ctx) != "" {
		return ctx, nil
	}
	newest, err := c.d.recent.version(func() (string, error) { return c.d.newest(ctx) })
	return context.WithValue(ctx, versionKey{}, newest), err
}

// RoleFor implements [swarm.Containers].
func (c containersOf) RoleFor(r *http.Request, label string) (string, error) {
	return c.d.roleFor(&request{Request: r, who: "the caller"}, label)
}

// May implements [swarm.Containers].
func (c containersOf) May(ctx context.Context, verb, role string) error {
	return c.d.may(ctx, verb, role)
}

// draft is a task's container on its way in.
func (c containersOf) draft(ctx context.Context, s swarm.Container) (*draft, error) {
	body, err := fields.Decode([]byte(encode(s.Body)))
	if err != nil {
		return nil, err
	}
	verdict, err := fields.Create.Check(body)
	if err != nil {
		return nil, err
	}
	x := &draft{id: s.ID, name: s.Name, role: s.Role, body: body, host: len(verdict.Host) > 0}
	if x.task, _, err = taskOf(body); err != nil {
		return nil, err
	}
	if text(body, "Hostname") == "" && free(under(body, "HostConfig")) {
		body["Hostname"] = short(x.id)
	}
	x.pins.volumes = named(body)
	return x, c.d.mountSized(ctx, x)
}

// Check implements [swarm.Containers].
func (c containersOf) Check(ctx context.Context, s swarm.Container) error {
	if len(encode(s.Body)) > maxCreate {
		return fail(http.StatusRequestEntityTooLarge, "the container's description has more than %d bytes", maxCreate)
	}
	x, err := c.draft(ctx, s)
	if err == nil && x.host {
		err = c.d.may(ctx, "host", s.Role)
	}
	return err
}

// Places implements [swarm.Containers].
func (c containersOf) Places(ctx context.Context, role string, networks, volumes []string) (nodes []string, err error) {
	for _, name := range networks {
		if slices.Contains(builtin, name) {
			continue
		}
		n, err := c.d.network(ctx, name)
		if err != nil {
			return nil, err
		}
		if !n.is(name) {
			return nil, fail(http.StatusBadRequest, "network %s: say its whole name or id", clip(name))
		}
		if n.role() != role {
			return nil, fail(http.StatusForbidden, "network %s belongs to another role; a service uses networks of its own role, %s", clip(name), role)
		}
		there := n.engine.names()
		if nodes != nil {
			there = slices.DeleteFunc(there, func(n string) bool { return !slices.Contains(nodes, n) })
		}
		if nodes = there; len(nodes) == 0 {
			return nil, fail(http.StatusConflict, "no node has all of the networks %s", strings.Join(networks, ", "))
		}
	}
	if len(volumes) == 0 {
		return nodes, nil
	}
	sized, err := c.d.sized(ctx)
	for _, v := range sized {
		switch {
		case !slices.Contains(volumes, v.Name):
		case nodes != nil && !slices.Contains(nodes, v.Node):
			return nil, fail(http.StatusConflict, "volume %s is on node %s, where the service's other volumes and networks are not", v.Name, cmp.Or(v.Node, "none yet"))
		default:
			nodes = []string{v.Node}
		}
	}
	return nodes, err
}

// Task implements [swarm.Containers].
func (c containersOf) Task(ctx context.Context, s swarm.Container) (*polderv1.TaskSpec, error) {
	ctx, err := c.versioned(ctx)
	if err != nil {
		return nil, err
	}
	x, err := c.draft(ctx, s)
	if err != nil {
		return nil, err
	}
	_, err = x.container(c.d.version(ctx))
	return x.task, err
}

// Prepare implements [swarm.Containers].
func (c containersOf) Prepare(ctx context.Context, s swarm.Container, node string, more swarm.Extras) error {
	ctx, err := c.versioned(ctx)
	if err != nil {
		return err
	}
	x, err := c.draft(ctx, s)
	if err != nil {
		return err
	}
	if err := c.image(ctx, x, node, more.Empty()); err != nil {
		return err
	}
	if err := c.volumes(ctx, x, node); err != nil || more.Empty() {
		return err
	}
	return c.make(ctx, x, node, more)
}

// image brings an image to a node. Where no engine has it, it is for the agent to pull, unless the container is to be made before.
func (c containersOf) image(ctx context.Context, x *draft, node string, later bool) error {
	name, engine := text(x.body, "Image"), c.d.info(ctx, node).ID
	if c.d.recent.sees(engine, name) {
		return nil // of a service's many tasks one has looked; its agent looks again
	}
	e := errand{x.role, "run", "pull image " + clip(name)}
	err := c.d.ask(ctx, node, looking, http.MethodGet, imagePath(name, "/json"), nil, nil, nil)
	if err == nil {
		c.d.recent.saw(engine, name)
	}
	if statusIn(err) != http.StatusNotFound {
		return err
	}
	holders, err := c.d.holders(ctx, name)
	switch {
	case err != nil:
		return err
	case len(holders) > 0:
		return c.d.copyImage(ctx, x, holders, site{node, engine})
	case later:
		return nil
	}
	return c.pull(ctx, node, e, name, nil)
}

// pull has a node get an image from its registry.
func (c containersOf) pull(ctx context.Context, node string, e errand, name string, header http.Header) error {
	from := name
	if !strings.Contains(path.Base(name), ":") && !strings.Contains(name, "@") {
		from += ":latest"
	}
	res, err := c.d.call(ctx, node, e, http.MethodPost, "/images/create", url.Values{"fromImage": {from}}, nil, header)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	defer c.d.recent.imagesChanged()
	heard, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return gone(err, node)
	}
	why := failedIn(heard)
	if res.StatusCode != http.StatusOK {
		why = cmp.Or(said(res.StatusCode, heard).message, res.Status)
	}
	if why != "" {
		return fail(http.StatusNotFound, "No such image: %s, and node %s cannot pull it: %s", clip(name), node, clip(why))
	}
	return nil
}

// failedIn is the error that ends a stream of progress; empty when none does.
func failedIn(stream []byte) string {
	for line := range bytes.Lines(stream) {
		if bytes.Contains(line, []byte(`"errorDetail"`)) {
			var m struct{ ErrorDetail struct{ Message string } }
			_ = json.Unmarshal(line, &m) // one that cannot be read is an error all the same
			return cmp.Or(m.ErrorDetail.Message, "it does not say why")
		}
	}
	return ""
}

// Fetch implements [swarm.Containers].
func (c containersOf) Fetch(ctx context.Context, role, image, auth string) error {
	holders, err := c.d.holders(ctx, image)
	if err != nil || len(holders) > 0 {
		return err
	}
	engines, err := c.d.roomiest(ctx)
	if err != nil {
		return err
	}
	return c.pull(ctx, engines[0].node(), errand{role, "run", "pull image " + clip(image)}, image, http.Header{"X-Registry-Auth": {auth}})
}

// volumes makes the volumes that are not there, and refuses those of other roles.
func (c containersOf) volumes(ctx context.Context, x *draft, node string) error {
	if err := c.d.volumesFor(ctx, x, node); err != nil {
		return err
	}
	for _, name := range x.pins.volumes {
		if x.sized[name] != nil {
			continue // of its role
		}
		var have struct{ Labels map[string]string }
		if err := c.d.ask(ctx, node, errand{x.role, "view", ""}, http.MethodGet, "/volumes/"+url.PathEscape(name), nil, nil, &have); err != nil {
			return err
		}
		if role := have.Labels[labelNote+"role"]; role != x.role {
			return fail(http.StatusForbidden, "volume %s of node %s belongs to another role", name, node)
		}
	}
	return nil
}

// make makes the container and puts what it is to have into it before it starts.
func (c containersOf) make(ctx context.Context, x *draft, node string, more swarm.Extras) error {
	p, status, answer, err := c.d.make(ctx, x, site{node, c.d.info(ctx, node).ID})
	switch {
	case err != nil:
		return err
	case status == http.StatusConflict: // by an earlier life of the door, which then died
		if p, err = c.d.lookup(ctx, x.id); err != nil || p.node != node {
			return errors.Join(err, said(status, answer))
		}
	case status != http.StatusCreated:
		return said(status, answer)
	}
	c.d.mu.Lock()
	c.d.note(p)
	c.d.mu.Unlock()
	e := errand{x.role, "run", "make container " + short(x.id)}
	for _, n := range more.Networks {
		in := thing{"Container": p.engine, "EndpointConfig": thing{"Aliases": n.Aliases}}
		if err := c.d.ask(ctx, node, e, http.MethodPost, "/networks/"+url.PathEscape(n.Name)+"/connect", nil, in, nil); err != nil {
			return err
		}
	}
	if len(more.Files) == 0 {
		return nil
	}
	e = errand{x.role, "exec", "put files into container " + short(x.id)}
	for at, archive := range archives(more.Files) {
		res, err := c.d.call(ctx, node, e, http.MethodPut, "/containers/"+p.engine+"/archive", url.Values{"path": {at}}, bytes.NewReader(archive),
			http.Header{"Content-Type": {"application/x-tar"}})
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			return errors.Join(err, said(res.StatusCode, text))
		}
	}
	return nil
}

// filesIn is the directory of the task's own where its files are. It is not of the container's image: what is committed or exported
// has only the names.
const filesIn = ".files"

// archives are the files as they go into the task's own directory, and links to them where the container looks.
func archives(files []swarm.File) map[string][]byte {
	var own, root bytes.Buffer
	in, links := tar.NewWriter(&own), tar.NewWriter(&root)
	write := func(w *tar.Writer, h *tar.Header, data []byte) {
		h.Size = int64(len(data))
		if err := errors.Join(w.WriteHeader(h), ignoreWritten(w.Write(data))); err != nil {
			panic(err) // a buffer takes everything; names are checked
		}
	}
	write(in, &tar.Header{Name: filesIn + "/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	write(links, &tar.Header{Name: "run/secrets/", Typeflag: tar.TypeDir, Mode: 0o755}, nil) // engines make other directories that are missing
	for i, f := range files {
		name := path.Join(filesIn, string(rune('a'+i/26%26))+string(rune('a'+i%26))+"-"+path.Base(f.Path))
		write(in, &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: f.Mode, Uid: f.UID, Gid: f.GID}, f.Data)
		write(links, &tar.Header{Name: strings.TrimPrefix(f.Path, "/"), Typeflag: tar.TypeSymlink, Linkname: path.Join("/polder", name), Mode: 0o777}, nil)
	}
	if err := errors.Join(in.Close(), links.Close()); err != nil {
		panic(err)
	}
	return map[string][]byte{"/polder": own.Bytes(), "/": root.Bytes()}
}

func ignoreWritten(_ int, err error) error { return err }

// Remove implements [swarm.Containers].
func (c containersOf) Remove(ctx context.Context, id string) error {
	ctx, err := c.versioned(ctx)
	if err != nil {
		return err
	}
	p, err := c.d.lookup(ctx, id)
	if statusIn(err) == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	err = c.d.onEngine(ctx, p, errand{p.role, "run", "remove container " + short(id)}, http.MethodDelete, "", url.Values{"force": {"1"}}, nil, nil)
	if statusIn(err) == http.StatusNotFound {
		err = nil
	}
	c.d.forget(id)
	return err
}

// Logs implements [swarm.Containers].
func (c containersOf) Logs(ctx context.Context, id string, query url.Values) (*http.Response, error) {
	p, err := c.d.lookup(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.d.call(ctx, p.node, errand{p.role, "logs", ""}, http.MethodGet, "/containers/"+p.engine+"/logs", query, nil, nil)
}

// Engine implements [swarm.Containers].
func (c containersOf) Engine(ctx context.Context, node string) (swarm.Engine, bool) {
	i := c.d.info(ctx, node)
	return swarm.Engine{ID: i.ID, Arch: i.Architecture, Version: i.ServerVersion}, i.ID != ""
}

// Run serves swarm mode until ctx ends. Without a store there is none.
func (d *Door) Run(ctx context.Context) error {
	if d.swarm == nil {
		<-ctx.Done()
		return nil
	}
	return d.swarm.Run(ctx)
}

// toSwarm serves what is swarm mode's.
func (d *Door) toSwarm(q *request) error {
	if d.swarm == nil {
		return fail(http.StatusServiceUnavailable, "This node is not a swarm manager: this server keeps nothing for services; use docker run or docker compose")
	}
	return d.swarm.Serve(q.w, q.Request, q.who)
}

// swarmEndpoints are the lines of the table that swarm mode serves.
func swarmEndpoints() (out []Endpoint) {
	for _, line := range swarm.Endpoints() {
		method, path, _ := strings.Cut(line, " ")
		mode := "door"
		if strings.HasSuffix(path, "/logs") {
			mode = "merge"
		}
		out = append(out, works(method, path, mode, (*Door).toSwarm))
	}
	return out
}

// swarmInfo is the part of docker info about swarm mode.
func (d *Door) swarmInfo() any {
	if d.swarm == nil {
		return thing{"LocalNodeState": "inactive", "NodeID": "", "NodeAddr": "", "ControlAvailable": false, "Error": "", "RemoteManagers": nil}
	}
	return json.RawMessage(encode(d.swarm.Info()))
}
