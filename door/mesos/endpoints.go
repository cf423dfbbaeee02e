package mesos

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/quotav1"
)

// endpoints are the JSON documents tools read. Any method will do, as in Mesos; what would change something has its own.
var endpoints = map[string]handler{
	"/state":            document((*Door).stateDoc),
	"/state.json":       document((*Door).stateDoc),
	"/state-summary":    document((*Door).summaryDoc),
	"/slaves":           document((*Door).slavesDoc),
	"/tasks":            document((*Door).tasksDoc),
	"/tasks.json":       document((*Door).tasksDoc),
	"/frameworks":       document((*Door).frameworksDoc),
	"/roles":            document((*Door).rolesDoc),
	"/roles.json":       document((*Door).rolesDoc),
	"/quota":            (*Door).serveQuota,
	"/weights":          (*Door).serveWeights,
	"/metrics/snapshot": document(func(d *Door, v viewer, _ *http.Request) any { return d.metrics(v) }),
	"/version":          document(func(*Door, viewer, *http.Request) any { return versionDoc() }),
	"/flags":            document(func(d *Door, _ viewer, _ *http.Request) any { return object{"flags": d.flags()} }),
	"/redirect":         (*Door).redirect,

	"/maintenance/schedule": (*Door).serveSchedule,
	"/maintenance/status":   document(func(d *Door, _ viewer, _ *http.Request) any { return wireDoc(d.maintenanceStatus()) }),
	"/machine/down":         serveMachines(true),
	"/machine/up":           serveMachines(false),

	"/teardown": (*Door).serveTeardown,

	"/files/browse":        (*Door).serveBrowse,
	"/files/browse.json":   (*Door).serveBrowse,
	"/files/read":          (*Door).serveRead,
	"/files/read.json":     (*Door).serveRead,
	"/files/download":      (*Door).serveDownload,
	"/files/download.json": (*Door).serveDownload,
	"/files/debug":         document(func(d *Door, v viewer, _ *http.Request) any { return d.sandboxes(v) }),
	"/files/debug.json":    document(func(d *Door, v viewer, _ *http.Request) any { return d.sandboxes(v) }),
}

// object is a JSON object without a type of its own.
type object = map[string]any

// document serves what a function says of the books.
func document(get func(*Door, viewer, *http.Request) any) handler {
	return func(d *Door, who principal, w http.ResponseWriter, r *http.Request) error {
		v, err := d.viewerOf(who)
		if err != nil {
			return answer(http.StatusForbidden, "%v", err)
		}
		d.freshen(r.Context())
		d.mu.Lock()
		out := get(d, v, r)
		d.mu.Unlock()
		return writeDoc(w, r, out)
	}
}

// freshen reads what roles may have now; when that cannot be read, what was read last is good enough.
func (d *Door) freshen(ctx context.Context) {
	ctx, cancel := context.WithTimeout(withSelf(ctx), remaining)
	defer cancel()
	if quotas, err := d.readQuotas(ctx); err == nil {
		d.with(func() { d.setQuotas(quotas) })
	}
}

// callback is the name of a function of a page's script.
var callback = regexp.MustCompile(`^[A-Za-z_$][\w$.]{0,127}$`)

// redirect says who leads: this one does, or it would not serve.
func (d *Door) redirect(_ principal, w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Location", "//"+d.c.Addr)
	w.WriteHeader(http.StatusTemporaryRedirect)
	return nil
}

func (d *Door) serveTeardown(who principal, w http.ResponseWriter, r *http.Request) error {
	if err := onlyPost(w, r); err != nil {
		return err
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4096)
	return d.operatorTeardown(who, r.FormValue("frameworkId"))
}

func versionDoc() object {
	return object{"version": Version, "build_user": "", "build_date": "", "build_time": 0.0}
}

func (d *Door) flags() object { return object{"cluster": d.c.Cluster} }

// seconds is an instant as tools read it.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}

// summed are amounts as v0 documents have them: the four scalars always, ports as text.
func summed(r amounts, ports string) object {
	out := object{"cpus": 0.0, "gpus": 0.0, "mem": 0.0, "disk": 0.0}
	for kind, a := range r {
		out[mesosName(kind)] = toScalar(kind, a)
	}
	if ports != "" {
		out["ports"] = "[" + strings.ReplaceAll(ports, ",", ", ") + "]"
	}
	return out
}

// summedList is summed for what a task has.
func summedList(list []*mesosv1.Resource) object {
	w, err := wantedOf(list)
	if err != nil {
		return summed(nil, "")
	}
	out := summed(w.regular, rangeText(list))
	for kind, a := range w.revocable {
		out[mesosName(kind)+"_revocable"] = toScalar(kind, a)
	}
	return out
}

// rangeText writes the ports among resources the way the pool does, each range with both ends.
func rangeText(list []*mesosv1.Resource) string {
	var parts []string
	for _, r := range list {
		for _, x := range r.GetRanges().GetRange() {
			parts = append(parts, strconv.FormatUint(x.GetBegin(), 10)+"-"+strconv.FormatUint(x.GetEnd(), 10))
		}
	}
	return strings.Join(parts, ",")
}

func (d *Door) stateDoc(v viewer, _ *http.Request) any {
	host, port := d.address()
	active, inactive, away := d.countNodes()
	doc := versionDoc()
	maps.Copy(doc, object{
		"id": d.uuid, "pid": d.pid(), "hostname": host, "cluster": d.c.Cluster, "start_time": seconds(d.started), "elected_time": seconds(d.started),
		"leader": d.pid(), "leader_info": object{"id": d.uuid, "pid": d.pid(), "port": port, "hostname": host},
		"capabilities": []string{"AGENT_UPDATE", "AGENT_DRAINING"}, "activated_slaves": active, "deactivated_slaves": inactive,
		"unreachable_slaves": away, "flags": d.flags(), "log_dir": "", "orphan_tasks": []any{}, "unregistered_frameworks": []any{},
		"recovered_slaves": []any{}, "slaves": d.slaveList(""), "frameworks": d.frameworkList(v, true), "completed_frameworks": d.goneList(v),
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
	return object{"hostname": host, "cluster": d.c.Cluster, "slaves": d.slaveList(""), "frameworks": d.frameworkList(v, false)}
}

// slavesDoc lists the agents, or the one that is asked for: in the query, or as clients do, in the path.
func (d *Door) slavesDoc(_ viewer, r *http.Request) any {
	id := r.URL.Query().Get("slave_id")
	if _, rest, ok := strings.Cut(cleanPath(r.URL.Path), "/slaves/"); ok && id == "" {
		id = rest
	}
	return object{"slaves": d.slaveList(id), "recovered_slaves": []any{}}
}

func (d *Door) slaveList(only string) []object {
	out := []object{}
	for _, name := range slices.Sorted(maps.Keys(d.nodes)) {
		if n := d.nodes[name]; only == "" || only == name {
			out = append(out, d.slave(n))
		}
	}
	return out
}

func (d *Door) slave(n *node) object {
	offered := amounts{}
	for _, o := range n.offers {
		offered = plus(offered, plus(o.regular, o.revocable))
	}
	attributes := object{}
	for name, value := range n.attributes {
		attributes[name] = value
	}
	_, port := d.agentAddress()
	return object{
		"id": n.name, "hostname": n.host(), "port": port, "pid": d.agentPid(), "attributes": attributes,
		"registered_time": seconds(n.registered), "resources": summed(n.total, rangeText(form{}.resources(nil, n.ports))),
		"used_resources": summed(minus(n.total, n.free), ""), "offered_resources": summed(offered, ""), "reserved_resources": object{},
		"unreserved_resources": summed(n.total, rangeText(form{}.resources(nil, n.ports))), "active": n.state == "ready" || n.state == "cordoned",
		"deactivated": n.state == "cordoned", "version": Version,
		"capabilities": []string{"MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT", "AGENT_DRAINING"},
	}
}

// tasksDoc lists tasks, with the filters and pages of Mesos.
func (d *Door) tasksDoc(v viewer, r *http.Request) any {
	q := r.URL.Query()
	out := []json.RawMessage{}
	for _, f := range d.sorted(v) {
		if id := q.Get("framework_id"); id != "" && id != f.id {
			continue
		}
		for _, t := range slices.Concat(f.completed, sortedTasks(f)) {
			if id := q.Get("task_id"); v.task(t) && (id == "" || id == t.id()) {
				out = append(out, t.document())
			}
		}
	}
	if q.Get("order") != "asc" {
		slices.Reverse(out)
	}
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil {
		limit = 100
	}
	offset, _ := strconv.Atoi(q.Get("offset"))
	out = out[min(max(offset, 0), len(out)):]
	if limit >= 0 {
		out = out[:min(limit, len(out))]
	}
	return object{"tasks": out}
}

func sortedTasks(f *framework) []*task {
	var out []*task
	for _, id := range slices.Sorted(maps.Keys(f.tasks)) {
		out = append(out, f.tasks[id])
	}
	return out
}

func (d *Door) frameworksDoc(v viewer, _ *http.Request) any {
	return object{"frameworks": d.frameworkList(v, true), "completed_frameworks": d.goneList(v), "unregistered_frameworks": []any{}}
}

func (d *Door) frameworkList(v viewer, full bool) []object {
	out := []object{}
	for _, f := range d.sorted(v) {
		out = append(out, d.frameworkDoc(f, v, full))
	}
	return out
}

func (d *Door) goneList(v viewer) []object {
	out := []object{}
	for _, f := range d.gone {
		if v.framework(f) {
			out = append(out, d.frameworkDoc(f, v, true))
		}
	}
	return out
}

func (d *Door) frameworkDoc(f *framework, v viewer, full bool) object {
	used, offered := amounts{}, amounts{}
	tasks, unreachable, completed, executors := taskDocs{}, taskDocs{}, []json.RawMessage{}, []object{}
	for id, t := range f.tasks {
		if !t.over() {
			for kind, a := range t.held() {
				used[kind] = used[kind].Add(a)
			}
		}
		switch {
		case !full || !v.task(t):
		case t.state == mesosv1.TaskState_TASK_UNREACHABLE:
			unreachable = append(unreachable, taskDocument{id, t.document()})
		default:
			tasks = append(tasks, taskDocument{id, t.document()})
		}
	}
	for _, o := range f.offers {
		offered = plus(offered, plus(o.regular, o.revocable))
	}
	for _, t := range f.completed {
		if full && v.task(t) {
			completed = append(completed, t.document())
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(f.executors), compareKeys) {
		e := f.executors[key]
		executors = append(executors, object{"executor_id": e.id, "slave_id": e.node, "framework_id": f.id, "type": "CUSTOM", "resources": summedList(e.info.GetResources())})
	}
	capabilities := []string{}
	for _, c := range f.info.GetCapabilities() {
		capabilities = append(capabilities, c.GetType().String())
	}
	doc := object{
		"id": f.id, "name": f.info.GetName(), "user": f.info.GetUser(), "hostname": f.info.GetHostname(), "webui_url": f.info.GetWebuiUrl(),
		"principal": f.principal, "failover_timeout": f.info.GetFailoverTimeout(), "checkpoint": f.info.GetCheckpoint(),
		"capabilities": capabilities, "active": f.stream != nil, "connected": f.stream != nil, "recovered": f.reregistered.IsZero(),
		"registered_time": seconds(f.registered), "reregistered_time": seconds(f.reregistered), "unregistered_time": seconds(f.awaySince),
		"used_resources": summed(used, ""), "resources": summed(plus(used, offered), ""), "offered_resources": summed(offered, ""),
		"tasks": tasks, "unreachable_tasks": unreachable, "completed_tasks": completed, "executors": executors, "offers": []any{},
		"labels": labelDocs(f.info.GetLabels()),
	}
	if f.capable(mesosv1.FrameworkInfo_Capability_MULTI_ROLE) {
		doc["roles"] = f.info.GetRoles()
	} else {
		doc["role"] = f.info.GetRole()
	}
	return doc
}

func labelDocs(l *mesosv1.Labels) []object {
	out := []object{}
	for _, x := range l.GetLabels() {
		out = append(out, object{"key": x.GetKey(), "value": x.GetValue()})
	}
	return out
}

func taskDoc(t *task) object {
	statuses := []object{}
	for _, s := range t.statuses {
		statuses = append(statuses, statusDoc(s))
	}
	executor := ""
	if t.executor != nil {
		executor = t.executor.id
	}
	doc := object{
		"id": t.id(), "name": t.info.GetName(), "framework_id": t.fw.id, "executor_id": executor, "slave_id": t.node, "state": t.state.String(),
		"resources": summedList(t.info.Resources), "role": t.role, "statuses": statuses,
	}
	if l := labelDocs(t.info.Labels); len(l) > 0 {
		doc["labels"] = l
	}
	if t.info.Discovery != nil {
		doc["discovery"] = wireDoc(t.info.Discovery)
	}
	if t.info.Container != nil {
		doc["container"] = wireDoc(t.info.Container)
	}
	return doc
}

func statusDoc(s *mesosv1.TaskStatus) object {
	doc := object{"state": s.GetState().String(), "timestamp": s.GetTimestamp()}
	if s.ContainerStatus != nil {
		doc["container_status"] = wireDoc(s.ContainerStatus)
	}
	if s.Healthy != nil {
		doc["healthy"] = s.GetHealthy()
	}
	return doc
}

func (d *Door) rolesDoc(v viewer, _ *http.Request) any {
	out := []object{}
	for _, r := range d.roleNames(v) {
		q := d.quotas[d.pathOf(r)]
		var ids []string
		offered := amounts{}
		for _, f := range d.sorted(v) {
			if s := f.subs[r]; s != nil {
				ids = append(ids, f.id)
			}
			for _, o := range f.offers {
				if o.to.role == r {
					offered = plus(offered, plus(o.regular, o.revocable))
				}
			}
		}
		out = append(out, object{
			"name": r, "weight": q.weight, "frameworks": slices.Concat([]string{}, ids), "resources": summed(plus(q.usage, offered), ""),
			"allocated": summed(q.usage, ""), "offered": summed(offered, ""), "reserved": object{},
			"quota": object{"role": r, "guarantee": summed(q.guarantee, ""), "limit": scalars(q.limit), "consumed": summed(q.usage, "")},
		})
	}
	return object{"roles": out}
}

// scalars are amounts by Mesos' name, only those there are.
func scalars(r amounts) object {
	out := object{}
	for kind, a := range r {
		out[mesosName(kind)] = toScalar(kind, a)
	}
	return out
}

// roleNames are Mesos' names of the roles somebody may see; the default role is "*".
func (d *Door) roleNames(v viewer) []string {
	var out []string
	for path, q := range d.quotas {
		switch {
		case path == "" || !q.known || !v.all && !v.paths[path]:
		case path == d.c.DefaultRole:
			out = append(out, "*")
		default:
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return out
}

func (d *Door) roleProtos(v viewer) []*mesosv1.Role {
	var out []*mesosv1.Role
	for _, name := range d.roleNames(v) {
		q := d.quotas[d.pathOf(name)]
		r := &mesosv1.Role{Name: new(name), Weight: new(q.weight)}
		for _, f := range d.sorted(v) {
			if f.subs[name] != nil {
				r.Frameworks = append(r.Frameworks, &mesosv1.FrameworkID{Value: new(f.id)})
			}
		}
		for kind := range q.usage {
			r.Resources = append(r.Resources, form{}.resources(amounts{kind: q.usage[kind]}, setOfNone)...)
		}
		out = append(out, r)
	}
	return out
}

func (d *Door) quotaStatus(v viewer) *quotav1.QuotaStatus {
	out := &quotav1.QuotaStatus{}
	for _, name := range d.roleNames(v) {
		q := d.quotas[d.pathOf(name)]
		if len(q.guarantee)+len(q.limit) == 0 {
			continue
		}
		c := &quotav1.QuotaConfig{Role: new(name), Guarantees: map[string]*mesosv1.Value_Scalar{}, Limits: map[string]*mesosv1.Value_Scalar{}}
		for kind, a := range q.guarantee {
			c.Guarantees[mesosName(kind)] = &mesosv1.Value_Scalar{Value: new(toScalar(kind, a))}
		}
		for kind, a := range q.limit {
			c.Limits[mesosName(kind)] = &mesosv1.Value_Scalar{Value: new(toScalar(kind, a))}
		}
		out.Configs = append(out.Configs, c)
		out.Infos = append(out.Infos, &quotav1.QuotaInfo{Role: new(name), Guarantee: form{}.resources(q.guarantee, setOfNone)})
	}
	return out
}

func (d *Door) quotaDoc(v viewer, _ *http.Request) any { return wireDoc(d.quotaStatus(v)) }

func (d *Door) weightsDoc(v viewer, _ *http.Request) any {
	out := []object{}
	for _, name := range d.roleNames(v) {
		out = append(out, object{"role": name, "weight": d.quotas[d.pathOf(name)].weight})
	}
	return out
}
