package docker

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	runtime "polder.dev/polder/agent/runtime/docker"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/docker/fields"
)

// maxCreate bounds a container's description: it goes into the task's spec, the container's label and the journal.
const maxCreate = 64 << 10

var containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}$`)

// draft is a container on its way in.
type draft struct {
	id, name, role, platform string
	body                     thing // what the engine is told
	task                     *polderv1.TaskSpec
	made                     *polderv1.Container // once it was
	host                     bool
	pins                     pins
	sized                    map[string]*polderv1.Volume // the pool's volumes among those it names
	warnings                 []string
}

// create makes a container where its lease would fit best. It holds nothing until it is started.
func (d *Door) create(q *request) error {
	x, err := d.draft(q)
	if statusIn(err) == http.StatusNotFound { // clients take that for a missing image, and pull
		return fail(http.StatusBadRequest, "%s", failureOf(err).message)
	}
	if err != nil {
		return err
	}
	release, err := d.reserveName(q.Context(), x.name)
	if err != nil {
		return err
	}
	defer release()
	status, answer, err := d.settle(q.Context(), x)
	if err != nil {
		return err
	}
	q.w.Header().Set("Content-Type", "application/json")
	q.w.WriteHeader(status)
	_, err = q.w.Write(answer)
	return ignoreGone(err)
}

// ignoreGone drops the error of writing to a client: it has hung up, and nobody is left to tell.
func ignoreGone(error) error { return nil }

// draft reads and judges what the client wants.
func (d *Door) draft(q *request) (*draft, error) {
	data, err := io.ReadAll(io.LimitReader(q.Body, maxCreate+1))
	if err != nil {
		return nil, fail(http.StatusBadRequest, "reading the request: %v", err)
	}
	if len(data) > maxCreate {
		return nil, fail(http.StatusRequestEntityTooLarge, "the container's description has more than %d bytes", maxCreate)
	}
	body, err := fields.Decode(data)
	if err != nil {
		return nil, fail(http.StatusBadRequest, "the container's description: %v", err)
	}
	if err := parametersOf(q.URL.Query(), body); err != nil {
		return nil, err
	}
	verdict, err := fields.Create.Check(body)
	if err != nil {
		return nil, err
	}
	x := &draft{id: newID(), body: body, host: len(verdict.Host) > 0, platform: q.URL.Query().Get("platform")}
	if x.name, err = nameOf(q.URL.Query().Get("name")); err != nil {
		return nil, err
	}
	return x, d.fill(q, x, verdict)
}

// parametersOf refuses parameters that nobody knows. dockerode says everything twice, as parameters and in the description.
func parametersOf(query url.Values, body thing) error {
	for name := range query {
		_, again := body[name]
		switch {
		case name == "name" || name == "platform":
			if text(body, name) == query.Get(name) {
				delete(body, name)
			}
		case !again:
			return fail(http.StatusBadRequest, "the parameter %s is not known", clip(name))
		}
	}
	return nil
}

func nameOf(name string) (string, error) {
	name = strings.TrimPrefix(name, "/")
	if name == "" {
		return randomName(), nil
	}
	if !containerName.MatchString(name) {
		return "", fail(http.StatusBadRequest, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, up to 128", clip(name))
	}
	return name, nil
}

// fill works out role, task and where the container may be.
func (d *Door) fill(q *request, x *draft, verdict fields.Verdict) (err error) {
	ctx := q.Context()
	if under(x.body, "HostConfig") == nil {
		x.body["HostConfig"] = thing{}
	}
	if under(x.body, "Labels") == nil {
		x.body["Labels"] = thing{}
	}
	if x.role, err = d.roleFor(q, text(under(x.body, "Labels"), "polder.role")); err != nil {
		return err
	}
	if x.host {
		if err := d.may(ctx, "host", x.role); err != nil {
			return fail(http.StatusForbidden, "%s: %v", strings.Join(verdict.Host, ", "), err)
		}
	}
	if x.task, x.warnings, err = taskOf(x.body); err != nil {
		return err
	}
	if text(x.body, "Image") == "" {
		return fail(http.StatusBadRequest, "no image is named")
	}
	if x.task.Labels["docker.remove"] != "" {
		under(x.body, "Labels")[runtime.LabelRemove] = "1"
	}
	if _, set := x.body["Hostname"]; !set || text(x.body, "Hostname") == "" {
		if free(under(x.body, "HostConfig")) {
			x.body["Hostname"] = short(x.id) // the same on every node
		}
	}
	x.pins, err = d.pin(ctx, x)
	return err
}

// free reports whether a container has a host name of its own.
func free(host thing) bool {
	mode := text(host, "NetworkMode")
	return mode != "host" && !strings.HasPrefix(mode, "container:") && text(host, "UTSMode") == ""
}

// settle makes the container on the best node there is and returns the engine's answer, as the door's.
func (d *Door) settle(ctx context.Context, x *draft) (int, []byte, error) {
	at, err := d.choose(ctx, x)
	if err != nil {
		return 0, nil, err
	}
	p, status, answer, err := d.make(ctx, x, at)
	if err != nil || status != http.StatusCreated {
		d.recent.imagesChanged() // it may have been removed since it was seen
		return status, answer, err
	}
	d.recent.remember(x.id, x.inspected())
	var said thing
	if err := json.Unmarshal(answer, &said); err != nil {
		return 0, nil, err
	}
	notes, _ := said["Warnings"].([]any)
	for _, w := range x.warnings {
		notes = append(notes, w)
	}
	said["Id"], said["Warnings"] = x.id, append([]any{}, notes...)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note(p)
	return status, []byte(encode(said)), nil
}

// make has a node make the container.
func (d *Door) make(ctx context.Context, x *draft, at site) (p place, status int, answer []byte, err error) {
	c, err := x.container(d.version(ctx))
	if err != nil {
		return p, 0, nil, err
	}
	if err := d.volumesFor(ctx, x, at.node); err != nil {
		return p, 0, nil, err
	}
	res, err := d.api.Engines.Create(ctx, connect.NewRequest(&polderv1.EngineServiceCreateRequest{Role: x.role, Node: at.node, Container: c}))
	if err != nil {
		return p, 0, nil, err
	}
	var made struct{ ID string }
	_ = json.Unmarshal(res.Msg.Body, &made) // an error has no id
	x.made = c
	p = place{id: x.id, name: x.name, role: x.role, node: at.node, engine: made.ID, host: at.engine}
	return p, int(res.Msg.Status), res.Msg.Body, nil
}

// container is the description as it goes to the agent, with the task in a label: so the container itself says how it is to be
// started, whoever asks.
func (x *draft) container(version string) (*polderv1.Container, error) {
	c := &polderv1.Container{Id: x.id, Role: x.role, Name: x.name, Platform: x.platform, Host: x.host, Version: version}
	labels := under(x.body, "Labels")
	delete(labels, labelSpec)
	c.Create = []byte(encode(x.body))
	task := x.task
	task.Container = c
	spec, err := protojson.Marshal(task)
	if err != nil {
		return nil, err
	}
	labels[labelSpec] = string(spec)
	made := &polderv1.Container{Id: c.Id, Role: c.Role, Name: c.Name, Platform: c.Platform, Host: c.Host, Version: c.Version, Create: []byte(encode(x.body))}
	return made, nil
}

// inspected is what an engine would say about the container that was made, as far as a start wants to know it.
func (x *draft) inspected() (c inspected) {
	x.task.Container = x.made // with its label, as a start would read it
	c.State.Status, c.Config.Labels, c.task = "created", map[string]string{}, x.task
	for name, value := range under(x.body, "Labels") {
		c.Config.Labels[name], _ = value.(string)
	}
	return c
}

// site is a node and its engine.
type site struct{ node, engine string }

// choose finds the node for a container: where it may be, where its image is, where its lease fits best, in this order of weight.
// An image that is elsewhere only is copied.
func (d *Door) choose(ctx context.Context, x *draft) (site, error) {
	nodes, err := d.nodes(ctx, &polderv1.EngineServiceListRequest{Resources: x.task.Resources, Constraints: append(slices.Clone(x.task.Constraints), x.pins.constraints...)})
	if err != nil {
		return site{}, err
	}
	if nodes = d.answering(ctx, nodes); len(nodes) == 0 {
		return site{}, fail(http.StatusConflict, "no node with a container engine may run this container: %s",
			cmp.Or(strings.Join(append(slices.Clone(x.task.Constraints), x.pins.why...), ", "), "there is none"))
	}
	image := text(x.body, "Image")
	holders, err := d.recent.holders(image, func() ([]string, error) { return d.holders(ctx, image) })
	if err != nil {
		return site{}, err
	}
	if len(holders) == 0 {
		return site{}, fail(http.StatusNotFound, "No such image: %s", clip(image))
	}
	sites := make([]site, len(nodes))
	for i, n := range nodes {
		sites[i] = site{n.Name, d.info(ctx, n.Name).ID}
	}
	for _, fits := range []bool{true, false} {
		for i, n := range nodes {
			if slices.Contains(holders, sites[i].engine) && n.Fits == fits {
				return sites[i], nil
			}
		}
		if fits && nodes[0].Fits {
			break // it fits where the image is not
		}
	}
	err = d.copyImage(ctx, x, holders, sites[0])
	if statusIn(err) == http.StatusServiceUnavailable { // who had it is gone; others may have one of that name
		d.recent.imagesChanged()
		err = d.bringImage(ctx, x, sites[0])
	}
	return sites[0], err
}

// answering are the nodes whose engines answer. When none did a moment ago they are asked again: nothing else is left.
func (d *Door) answering(ctx context.Context, nodes []*polderv1.EngineNode) []*polderv1.EngineNode {
	answers := func(n *polderv1.EngineNode) bool { return n.State != "unreachable" && d.info(ctx, n.Name).ID != "" }
	if !slices.ContainsFunc(nodes, answers) {
		d.mu.Lock()
		for _, n := range nodes {
			delete(d.infos, n.Name)
		}
		d.mu.Unlock()
	}
	return slices.DeleteFunc(nodes, func(n *polderv1.EngineNode) bool { return !answers(n) })
}

func newID() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// randomName names a container that its user did not name.
func randomName() string {
	b := make([]byte, 5)
	rand.Read(b) // never fails
	return "c-" + hex.EncodeToString(b)
}
