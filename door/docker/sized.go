package docker

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	runtime "polder.dev/polder/agent/runtime/docker"
	polderv1 "polder.dev/polder/api/polder/v1"
)

// A volume with a size is the pool's: a lease of disk on one node, paid by its role, however it was made. The engine there has a volume of the same
// name that stands for it, whose directory is the pool's, so that containers use it like any other. A volume without a size is its engine's own and
// charged to nobody.

// sizeOption is the driver's option that makes a volume the pool's.
const sizeOption = "size"

// labelSize is the label that says the same, where there are no options.
const labelSize = labelNote + "size"

// sized lists the pool's volumes that the caller may view, but for those that are being deleted.
func (d *Door) sized(ctx context.Context) (out []*polderv1.Volume, err error) {
	req := &polderv1.VolumeServiceListRequest{PageSize: 1000}
	for more := true; more; more = req.PageToken != "" {
		res, err := d.api.Volumes.List(ctx, connect.NewRequest(req))
		if err != nil {
			return nil, err
		}
		for _, v := range res.Msg.Volumes {
			if v.State != "deleting" {
				out = append(out, v)
			}
		}
		req.PageToken = res.Msg.NextPageToken
	}
	return out, nil
}

// shownSized is a volume of the pool in the Engine API's words.
func shownSized(v *polderv1.Volume, engines []engine) volume {
	labels := thing{}
	for name, value := range v.Labels {
		labels[name] = value
	}
	labels[runtime.LabelRole], labels[labelSize] = v.Role, v.Size
	if v.Node != "" {
		labels[labelNote+"node"] = v.Node
	}
	status := thing{"state": v.State, "node": v.Node, "role": v.Role, "size": v.Size, "usedBy": append([]string{}, v.UsedBy...)}
	if why := v.Reason.GetMessage(); why != "" {
		status["reason"] = why
	}
	out := volume{name: v.Name, role: v.Role, project: text(labels, projectLabel), sized: v, thing: thing{
		"Name": v.Name, "Driver": "local", "Mountpoint": v.Path, "Scope": "local", "Labels": labels, "Options": thing{sizeOption: v.Size},
		"CreatedAt": v.Created.AsTime().Format(time.RFC3339), "Status": status,
	}}
	for _, e := range engines {
		if slices.Contains(e.names(), v.Node) {
			out.engine = e
		}
	}
	return out
}

// matches applies the filters of docker volume ls, which engines apply to their own; held is whether a container has it.
func (v volume) matches(filters map[string][]string, held bool) bool {
	labels := under(v.thing, "Labels")
	for key, values := range filters {
		ok := len(values) == 0
		for _, want := range values {
			switch key {
			case "name":
				ok = ok || strings.Contains(v.name, want)
			case "driver":
				ok = ok || want == "local"
			case "dangling":
				dangling, _ := strconv.ParseBool(want)
				ok = ok || dangling == (!held && len(v.sized.UsedBy) == 0)
			case "label":
				name, value, valued := strings.Cut(want, "=")
				has, there := labels[name]
				if ok = there && (!valued || has == value); !ok { // all of them
					return false
				}
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

// sizeOf takes out of its description how large a volume is to be, in bytes; empty for one of the engine's own.
func sizeOf(body thing) (string, error) {
	labels := under(body, "Labels")
	options := under(body, "DriverOpts")
	option, given := options[sizeOption]
	label, labelled := labels[labelSize]
	delete(body, "DriverOpts")
	delete(labels, labelSize)
	switch {
	case !given && !labelled:
		return "", nil
	case given && labelled && option != label:
		return "", fail(http.StatusBadRequest, "the size is said twice: with the option size and with the label %s", labelSize)
	case !given:
		option = label
	}
	said, _ := option.(string)
	bytes, err := parseBytes(said)
	return strconv.FormatInt(bytes, 10), err
}

// usage is what docker system df shows of a volume of the pool: what it is charged with, and how many have it, of whom its engine knows some.
func (v volume) usage(known int64) thing {
	out := maps.Clone(v.thing)
	size, err := parseBytes(v.sized.Size)
	if err != nil {
		size = -1 // what engines say when they do not know
	}
	out["UsageData"] = thing{"Size": size, "RefCount": max(known, int64(len(v.sized.UsedBy)))}
	return out
}

// createSized makes a volume of the pool where its project has something already, else on the first node that has room, and answers when
// its directory is there.
func (d *Door) createSized(ctx context.Context, role, size string, body thing) (volume, error) {
	m := &polderv1.VolumeServiceCreateRequest{Name: text(body, "Name"), Role: role, Size: size, Labels: map[string]string{}}
	for name, value := range under(body, "Labels") {
		if name != runtime.LabelRole {
			m.Labels[name], _ = value.(string)
		}
	}
	nodes, err := d.roomFor(ctx, m)
	if err != nil {
		return volume{}, err
	}
	var made *connect.Response[polderv1.Volume]
	for _, node := range nodes {
		m.Node = node
		if made, err = d.api.Volumes.Create(ctx, connect.NewRequest(m)); err == nil || statusIn(err) != http.StatusConflict {
			break
		}
	}
	if connect.CodeOf(err) == connect.CodeAlreadyExists { // somebody else was first: it is where they have it, or is another one
		m.Node = ""
		made, err = d.api.Volumes.Create(ctx, connect.NewRequest(m))
	}
	if err == nil {
		made, err = d.api.Volumes.Get(ctx, connect.NewRequest(&polderv1.VolumeServiceGetRequest{Name: m.Name, UntilReady: true}))
	}
	if err != nil {
		return volume{}, err
	}
	return shownSized(made.Msg, nil), nil
}

// roomFor lists the nodes on which a volume may be made, the best one first. One by that name stays where it is.
func (d *Door) roomFor(ctx context.Context, m *polderv1.VolumeServiceCreateRequest) (out []string, err error) {
	if old, err := d.api.Volumes.Get(ctx, connect.NewRequest(&polderv1.VolumeServiceGetRequest{Name: m.Name})); err == nil {
		return []string{old.Msg.Node}, nil
	}
	if project := m.Labels[projectLabel]; project != "" {
		at, err := d.projectEngine(ctx, project)
		if err != nil || at.id != "" {
			return at.names(), err
		}
	}
	nodes, err := d.nodes(ctx, &polderv1.EngineServiceListRequest{Resources: map[string]string{"disk": m.Size}})
	for _, n := range nodes {
		if n.State != "unreachable" && (n.Fits || len(out) == 0) { // where it fits nowhere one says why
			out = append(out, n.Name)
		}
	}
	if err == nil && len(out) == 0 {
		err = fail(http.StatusServiceUnavailable, "no node with a container engine answers; see polder node list")
	}
	return out, err
}

// removeSized deletes a volume of the pool and what is in it, unless a container has it.
func (d *Door) removeSized(ctx context.Context, v volume) error {
	if v.sized.Node != "" {
		if err := d.dropStandIn(ctx, v.sized.Node, v.name, v.role); err != nil {
			return err
		}
	}
	if _, err := d.api.Volumes.Delete(ctx, connect.NewRequest(&polderv1.VolumeServiceDeleteRequest{Name: v.name})); err != nil {
		return err
	}
	tick := time.NewTicker(goneEvery)
	defer tick.Stop()
	for late := time.After(goneWithin); ; { // whoever makes it anew next finds its name free
		_, err := d.api.Volumes.Get(ctx, connect.NewRequest(&polderv1.VolumeServiceGetRequest{Name: v.name}))
		if statusIn(err) == http.StatusNotFound {
			return nil
		}
		select {
		case <-tick.C:
		case <-late:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// How often is looked whether a volume is gone, and for how long: a large one takes its time, and is going all the same.
const (
	goneEvery  = 50 * time.Millisecond
	goneWithin = 5 * time.Second
)

// mount has the pool know that a container mounts one of its volumes, and the engine that it is that one.
func (x *draft) mount(v *polderv1.Volume) error {
	if v.Node == "" {
		return fail(http.StatusConflict, "volume %s is %s; see polder volume get %s", v.Name, v.State, v.Name)
	}
	for _, target := range targetsOf(x.body)[v.Name] {
		there := func(m *polderv1.Mount) bool { return m.Volume == v.Name && m.Target == target }
		if !slices.ContainsFunc(x.task.Mounts, there) {
			x.task.Mounts = append(x.task.Mounts, &polderv1.Mount{Volume: v.Name, Target: target})
		}
	}
	if x.sized == nil {
		x.sized = map[string]*polderv1.Volume{}
	}
	x.sized[v.Name] = v
	return nil
}

// mountSized does that for all the pool's volumes among those that a task of a service names. They are its role's.
func (d *Door) mountSized(ctx context.Context, x *draft) error {
	if len(x.pins.volumes) == 0 {
		return nil
	}
	all, err := d.sized(ctx)
	if err != nil {
		return err
	}
	for _, v := range all {
		switch {
		case !slices.Contains(x.pins.volumes, v.Name):
		case v.Role != x.role:
			return fail(http.StatusForbidden, "volume %s belongs to another role", v.Name)
		default:
			if err := x.mount(v); err != nil {
				return err
			}
		}
	}
	for _, name := range x.pins.volumes {
		if x.sized[name] == nil {
			if err := d.unseen(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// targetsOf are the places where a container has the volumes it names.
func targetsOf(body thing) map[string][]string {
	out := map[string][]string{}
	host := under(body, "HostConfig")
	binds, _ := host["Binds"].([]any)
	for _, b := range binds {
		s, _ := b.(string)
		if parts := strings.Split(s, ":"); len(parts) > 1 {
			out[parts[0]] = append(out[parts[0]], path.Clean(parts[1]))
		}
	}
	mounts, _ := host["Mounts"].([]any)
	for _, x := range mounts {
		if m, _ := x.(thing); text(m, "Type") == "volume" {
			out[text(m, "Source")] = append(out[text(m, "Source")], path.Clean(cmp.Or(text(m, "Target"), "/")))
		}
	}
	return out
}

// standIn makes the volume of a node's engine that stands for one of the pool, anew if it stands for another one that had the name.
func (d *Door) standIn(ctx context.Context, v *polderv1.Volume) error {
	if v.State != "ready" || v.Path == "" {
		return fail(http.StatusConflict, "volume %s is %s; see polder volume get %s", v.Name, v.State, v.Name)
	}
	have, err := d.standsFor(ctx, v.Node, v.Name)
	if err != nil || have == v.Task {
		return err
	}
	if err := d.dropStandIn(ctx, v.Node, v.Name, v.Role); err != nil {
		return err
	}
	e := errand{v.Role, "run", "create volume " + v.Name}
	var made thing
	err = d.ask(ctx, v.Node, e, http.MethodPost, "/volumes/create", nil, thing{"Name": v.Name, "Driver": "local",
		"DriverOpts": thing{"type": "none", "o": "bind", "device": v.Path}, "Labels": thing{runtime.LabelRole: v.Role, runtime.LabelVolume: v.Task}}, &made)
	if err == nil && text(under(made, "Labels"), runtime.LabelVolume) != v.Task { // engines answer what is there by the name
		err = fail(http.StatusConflict, "the engine of node %s has a volume %s of its own; remove it there, or give the pool's another name", v.Node, v.Name)
	}
	return err
}

// standsFor is the lease that the volume of a node's engine stands for; empty for one of its own and for none.
func (d *Door) standsFor(ctx context.Context, node, name string) (string, error) {
	var have thing
	err := d.ask(ctx, node, looking, http.MethodGet, "/volumes/"+url.PathEscape(name), nil, nil, &have)
	if statusIn(err) == http.StatusNotFound {
		return "", nil
	}
	return text(under(have, "Labels"), runtime.LabelVolume), err
}

// dropStandIn removes the volume of a node's engine if it stands for one of the pool, which keeps its directory; one of the engine's own stays.
func (d *Door) dropStandIn(ctx context.Context, node, name, role string) error {
	have, err := d.standsFor(ctx, node, name)
	if err != nil || have == "" {
		return err
	}
	err = d.ask(ctx, node, errand{role, "run", "remove volume " + name}, http.MethodDelete, "/volumes/"+url.PathEscape(name), nil, nil, nil)
	if statusIn(err) == http.StatusNotFound {
		return nil
	}
	return err
}

// unseen refuses the name of a volume of the pool that the caller may not view: it is no name for one of an engine's own.
func (d *Door) unseen(ctx context.Context, name string) error {
	_, err := d.api.Volumes.Get(ctx, connect.NewRequest(&polderv1.VolumeServiceGetRequest{Name: name}))
	if s := statusIn(err); s == http.StatusNotFound || s == http.StatusBadRequest {
		return nil
	}
	return err
}
