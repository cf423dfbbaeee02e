package mesos

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"polder.dev/polder/door/mesos/piece"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

func (d *Door) stateDoc(v viewer, _ *http.Request) any {
	host, port := d.address()
	active, inactive, away := d.countNodes()
	doc := versionDoc()
	maps.Copy(doc, object{
		"id": d.uuid, "pid": d.pid(), "hostname": host, "cluster": d.c.Cluster, "start_time": seconds(d.started), "elected_time": seconds(d.started),
		"leader": d.pid(), "leader_info": object{"id": d.uuid, "pid": d.pid(), "port": port, "hostname": host},
		"capabilities": []string{"AGENT_UPDATE", "AGENT_DRAINING"}, "activated_slaves": active, "deactivated_slaves": inactive,
		"unreachable_slaves": away, "flags": d.flags(), "log_dir": "", "orphan_tasks": []any{}, "unregistered_frameworks": []any{},
		"recovered_slaves": []any{}, "slaves": d.slaveList(), "frameworks": d.frameworkList(v, true), "completed_frameworks": d.goneList(v),
	})
	return doc
}

func (d *Door) countNodes() (active, inactive, away int) {
	for _, n := range d.nodes {
		switch n.state {
		case "ready":
			active++
		case "unreachable":
			away++
		default:
			inactive++
		}
	}
	return active, inactive, away
}

func (d *Door) summaryDoc(v viewer, _ *http.Request) any {
	host, _ := d.address()
	return object{"hostname": host, "cluster": d.c.Cluster, "slaves": d.slaveList(), "frameworks": d.frameworkList(v, false)}
}

// slavesDoc lists the agents, or the one that is asked for: in the query, or as clients do, in the path.
func (d *Door) slavesDoc(_ viewer, r *http.Request) any {
	id := r.URL.Query().Get("slave_id")
	if _, rest, ok := strings.Cut(cleanPath(r.URL.Path), "/slaves/"); ok && id == "" {
		id = rest
	}
	list := d.slaveList()
	if id != "" {
		var only [][]byte
		if n := d.nodes[id]; n != nil {
			only = append(only, n.shelf.Text(n))
		}
		list = listOf(only)
	}
	return object{"slaves": list, "recovered_slaves": []any{}}
}

func (d *Door) slaveList() parts { return listOf(d.roster.AppendPieces(nil)) }

// listOf is a list in pieces.
func listOf(pieces [][]byte) parts {
	x := &piece.Text{}
	x.Pieces(pieces)
	return x.Parts()
}

// changed says that documents are to show the node otherwise.
func (n *node) changed() {
	if n.shelf != nil {
		n.shelf.Changed(n)
	}
}

// inOffers is what of the node is in offers.
func (n *node) inOffers() amounts {
	out := amounts{}
	for _, o := range n.offers {
		out = plus(out, plus(o.regular, o.revocable))
	}
	return out
}

// AppendText implements [piece.Item]: the node as documents show it.
func (n *node) AppendText(dst []byte) []byte {
	total := summed(n.total, rangeText(form{}.resources(nil, n.ports)))
	_, port := hostPort(n.agentAddr)
	x := piece.On(dst)
	x.Open('{')
	x.String("id", n.name)
	x.String("hostname", n.host())
	x.Number("port", float64(port))
	x.String("pid", pidOfAgents(n.agentAddr))
	x.Key("attributes")
	x.Open('{')
	for _, name := range slices.Sorted(maps.Keys(n.attributes)) {
		x.String(name, n.attributes[name])
	}
	x.Close('}')
	x.Number("registered_time", seconds(n.registered))
	x.Raw("resources", total)
	x.Raw("used_resources", summed(minus(n.total, n.free), ""))
	x.Raw("offered_resources", summed(n.inOffers(), ""))
	x.Raw("reserved_resources", []byte("{}"))
	x.Raw("unreserved_resources", total)
	x.Bool("active", n.state == "ready" || n.state == "cordoned")
	x.Bool("deactivated", n.state == "cordoned")
	x.String("version", Version)
	x.Raw("capabilities", []byte(`["MULTI_ROLE","HIERARCHICAL_ROLE","RESERVATION_REFINEMENT","AGENT_DRAINING"]`))
	x.Close('}')
	return x.Bytes()
}

func (d *Door) frameworksDoc(v viewer, _ *http.Request) any {
	return object{"frameworks": d.frameworkList(v, true), "completed_frameworks": d.goneList(v), "unregistered_frameworks": []any{}}
}

func (d *Door) frameworkList(v viewer, full bool) parts { return frameworksIn(d.sorted(v), v, full) }

func (d *Door) goneList(v viewer) parts {
	var list []*framework
	for _, f := range d.gone {
		if v.framework(f) {
			list = append(list, f)
		}
	}
	return frameworksIn(list, v, true)
}

func frameworksIn(list []*framework, v viewer, full bool) parts {
	x := &piece.Text{}
	x.Open('[')
	for _, f := range list {
		f.write(x, v, full)
	}
	x.Close(']')
	return x.Parts()
}

// write writes what somebody may see of a framework, in full or without its tasks.
func (f *framework) write(x *piece.Text, v viewer, full bool) {
	x.Open('{')
	x.String("id", f.id)
	x.String("name", f.info.GetName())
	x.String("user", f.info.GetUser())
	x.String("hostname", f.info.GetHostname())
	x.String("webui_url", f.info.GetWebuiUrl())
	x.String("principal", f.principal)
	x.Number("failover_timeout", f.info.GetFailoverTimeout())
	x.Bool("checkpoint", f.info.GetCheckpoint())
	x.Bool("active", f.stream != nil)
	x.Bool("connected", f.stream != nil)
	x.Bool("recovered", f.reregistered.IsZero())
	x.Number("registered_time", seconds(f.registered))
	x.Number("reregistered_time", seconds(f.reregistered))
	x.Number("unregistered_time", seconds(f.awaySince))
	f.writeWords(x)
	f.writeSums(x, v)
	f.writeTasks(x, f.seen(v), full)
	f.writeExecutors(x, v)
	x.Raw("offers", []byte("[]"))
	x.Close('}')
}

// writeWords writes its capabilities, roles and labels.
func (f *framework) writeWords(x *piece.Text) {
	x.Key("capabilities")
	x.Open('[')
	for _, c := range f.info.GetCapabilities() {
		x.Item(c.GetType().String())
	}
	x.Close(']')
	if f.capable(mesosv1.FrameworkInfo_Capability_MULTI_ROLE) {
		x.Key("roles")
		x.Open('[')
		for _, r := range f.info.GetRoles() {
			x.Item(r)
		}
		x.Close(']')
	} else {
		x.String("role", f.info.GetRole())
	}
	writeLabels(x, f.info.GetLabels())
}

// writeSums writes what it uses and is offered, in roles that somebody may see.
func (f *framework) writeSums(x *piece.Text, v viewer) {
	used, offered := amounts{}, amounts{}
	for _, p := range f.seen(v) {
		used = plus(used, p.used)
	}
	for _, o := range f.offers {
		if v.all || v.paths[o.to.path] {
			offered = plus(offered, plus(o.regular, o.revocable))
		}
	}
	x.Raw("used_resources", summed(used, ""))
	x.Raw("resources", summed(plus(used, offered), ""))
	x.Raw("offered_resources", summed(offered, ""))
}

func (f *framework) writeTasks(x *piece.Text, seen []*papers, full bool) {
	for _, list := range []struct {
		name string
		of   func(*papers) *piece.List[*task]
	}{
		{"tasks", func(p *papers) *piece.List[*task] { return &p.tasks }},
		{"unreachable_tasks", func(p *papers) *piece.List[*task] { return &p.unreachable }},
		{"completed_tasks", func(p *papers) *piece.List[*task] { return &p.completed }},
	} {
		var pieces [][]byte
		for _, p := range seen {
			if full {
				pieces = list.of(p).AppendPieces(pieces)
			}
		}
		x.Key(list.name)
		x.Pieces(pieces)
	}
}

func (f *framework) writeExecutors(x *piece.Text, v viewer) {
	x.Key("executors")
	x.Open('[')
	for _, key := range slices.SortedFunc(maps.Keys(f.executors), compareKeys) {
		e := f.executors[key]
		if !v.all && !v.paths[e.path] {
			continue
		}
		x.Open('{')
		x.String("executor_id", e.id)
		x.String("slave_id", e.node)
		x.String("framework_id", f.id)
		x.String("type", "CUSTOM")
		x.Raw("resources", appendList(nil, e.info.GetResources()))
		x.Close('}')
	}
	x.Close(']')
}
