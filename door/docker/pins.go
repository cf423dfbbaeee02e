package docker

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	runtime "polder.dev/polder/agent/runtime/docker"
)

// pins say on which nodes a container must be because of what it shares.
type pins struct {
	constraints []string
	why         []string
	volumes     []string // named ones, which must be on its node
}

// at adds that it must be on one of some nodes.
func (p *pins) at(nodes []string, why string) {
	p.constraints = append(p.constraints, "node in ("+strings.Join(nodes, ",")+")")
	p.why = append(p.why, why)
}

// because says of a container that gets no lease why it cannot be on any other node.
func (p pins) because(err error) error {
	if statusIn(err) != http.StatusConflict || len(p.why) == 0 {
		return err
	}
	return fail(http.StatusConflict, "%s; it can be nowhere else, because %s", failureOf(err).message, strings.Join(slices.Compact(p.why), ", and "))
}

// pin finds out where a container must be, and puts the engine's ids in place of the door's.
func (d *Door) pin(ctx context.Context, x *draft) (pins, error) {
	var p pins
	host := under(x.body, "HostConfig")
	for _, key := range []string{"NetworkMode", "PidMode", "IpcMode"} {
		ref, ok := strings.CutPrefix(text(host, key), "container:")
		if !ok {
			continue
		}
		other, err := d.shared(ctx, ref)
		if err != nil {
			return p, err
		}
		host[key] = "container:" + other.engine
		p.at([]string{other.node}, "it shares namespaces with container "+other.name)
	}
	for _, key := range []string{"VolumesFrom", "Links"} {
		if err := d.pinList(ctx, &p, host, key); err != nil {
			return p, err
		}
	}
	if err := d.pinNetworks(ctx, &p, x); err != nil {
		return p, err
	}
	return p, d.pinVolumes(ctx, &p, x)
}

// shared is another container that this one wants to be with: that takes as much permission as looking into it.
func (d *Door) shared(ctx context.Context, ref string) (place, error) {
	other, err := d.lookup(ctx, ref)
	if err != nil {
		return place{}, err
	}
	return other, d.may(ctx, "exec", other.role)
}

func (d *Door) pinList(ctx context.Context, p *pins, host thing, key string) error {
	list, _ := host[key].([]any)
	for i, v := range list {
		s, _ := v.(string)
		ref, rest, more := strings.Cut(s, ":")
		other, err := d.shared(ctx, ref)
		if err != nil {
			return err
		}
		list[i] = other.engine
		if more {
			list[i] = other.engine + ":" + rest
		} else if key == "Links" {
			list[i] = other.engine + ":" + other.name
		}
		p.at([]string{other.node}, "it goes with container "+other.name)
	}
	return nil
}

// builtin networks are on every engine.
var builtin = []string{"", "default", "bridge", "host", "none"}

// pinNetworks keeps a container on an engine that has its networks.
func (d *Door) pinNetworks(ctx context.Context, p *pins, x *draft) error {
	host, endpoints := under(x.body, "HostConfig"), under(under(x.body, "NetworkingConfig"), "EndpointsConfig")
	mode := text(host, "NetworkMode")
	if !strings.HasPrefix(mode, "container:") && !slices.Contains(builtin, mode) {
		n, err := d.pinNetwork(ctx, p, mode)
		if err != nil {
			return err
		}
		if !n.is(mode) {
			host["NetworkMode"] = n.thing["Id"]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(endpoints)) {
		switch {
		case name == "host" && mode != "host":
			return fail(http.StatusBadRequest, "the network host is one's own or not at all: say --network host")
		case name != "" && slices.Contains(builtin, name): // of these, engines go by the name
			continue
		}
		n, err := d.pinNetwork(ctx, p, name)
		if err != nil {
			return err
		}
		if err := n.joins(under(endpoints, name)); err != nil {
			return err
		}
		if !n.is(name) {
			endpoints[text(n.thing, "Id")] = endpoints[name]
			delete(endpoints, name)
		}
	}
	return nil
}

// pinNetwork keeps a container on the engine that has one network, which takes the permission to run something on its role.
func (d *Door) pinNetwork(ctx context.Context, p *pins, name string) (network, error) {
	n, err := d.network(ctx, name)
	if err != nil {
		return network{}, err
	}
	p.at(n.engine.names(), "network "+name+" is there")
	return n, d.may(ctx, "run", n.role())
}

// names are the nodes of an engine.
func (e engine) names() (out []string) {
	for _, n := range e.nodes {
		out = append(out, n.Name)
	}
	return out
}

// named lists the volumes a container names.
func named(body thing) (out []string) {
	host := under(body, "HostConfig")
	binds, _ := host["Binds"].([]any)
	for _, b := range binds {
		s, _ := b.(string)
		if source, _, ok := strings.Cut(s, ":"); ok && !path.IsAbs(source) {
			out = append(out, source)
		}
	}
	mounts, _ := host["Mounts"].([]any)
	for _, v := range mounts {
		if m, _ := v.(thing); text(m, "Type") == "volume" && text(m, "Source") != "" {
			out = append(out, text(m, "Source"))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// pinVolumes keeps a container where its volumes are.
func (d *Door) pinVolumes(ctx context.Context, p *pins, x *draft) error {
	p.volumes = named(x.body)
	if len(p.volumes) == 0 {
		return nil
	}
	have, err := d.volumes(ctx)
	if err != nil {
		return err
	}
	for _, name := range p.volumes {
		if err := d.unseen(ctx, name); err != nil {
			return err
		}
		for _, v := range have {
			if v.name != name {
				continue
			}
			if err := d.may(ctx, "run", v.role); err != nil {
				return err
			}
			there := v.engine.names()
			if v.sized != nil {
				if err := x.mount(v.sized); err != nil {
					return err
				}
				there = []string{v.sized.Node}
			}
			p.at(there, "volume "+name+" is there")
		}
	}
	return nil
}

// volumesFor makes the volumes that a container names and that are not there, so that they have their role from the beginning.
func (d *Door) volumesFor(ctx context.Context, x *draft, node string) error {
	for _, name := range x.pins.volumes {
		if v := x.sized[name]; v != nil {
			if err := d.standIn(ctx, v); err != nil {
				return err
			}
			continue
		}
		e := errand{x.role, "run", "create volume " + name}
		var have thing
		err := d.ask(ctx, node, e, http.MethodGet, "/volumes/"+url.PathEscape(name), nil, nil, &have)
		if err == nil && text(under(have, "Labels"), runtime.LabelVolume) != "" { // it stands for one that is no more
			have, err = nil, d.dropStandIn(ctx, node, name, x.role)
		}
		if err == nil && have == nil || statusIn(err) == http.StatusNotFound {
			err = d.ask(ctx, node, e, http.MethodPost, "/volumes/create", nil,
				thing{"Name": name, "Labels": thing{runtime.LabelRole: x.role}}, &have)
		}
		if err != nil {
			return err
		}
		role := text(under(have, "Labels"), runtime.LabelRole)
		if role == "" {
			return fail(http.StatusForbidden, "volume %s of node %s was not made through Polder: it has no role", name, node)
		}
		if err := d.may(ctx, "run", role); err != nil {
			return err
		}
	}
	return nil
}

// statusIn is the status of an error, zero without one.
func statusIn(err error) int {
	if err == nil {
		return 0
	}
	return failureOf(err).status
}
