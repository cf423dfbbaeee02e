package mesos

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
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
	"/roles":            fresh(document((*Door).rolesDoc)),
	"/roles.json":       fresh(document((*Door).rolesDoc)),
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
		var out any
		d.with(func() { out = get(d, v, r) })
		return writeDoc(w, r, out)
	}
}

// fresh serves what says what roles may have now.
func fresh(serve handler) handler {
	return func(d *Door, who principal, w http.ResponseWriter, r *http.Request) error {
		d.freshen(r.Context())
		return serve(d, who, w, r)
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

// tasksDoc lists tasks, with the filters and pages of Mesos.
func (d *Door) tasksDoc(v viewer, r *http.Request) any {
	q := r.URL.Query()
	var list []*task
	for _, f := range d.sorted(v) {
		if id := q.Get("framework_id"); id != "" && id != f.id {
			continue
		}
		for _, t := range slices.Concat(f.completed, sortedTasks(f)) {
			if id := q.Get("task_id"); v.task(t) && (id == "" || id == t.id()) {
				list = append(list, t)
			}
		}
	}
	if q.Get("order") != "asc" {
		slices.Reverse(list)
	}
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil {
		limit = 100
	}
	offset, _ := strconv.Atoi(q.Get("offset"))
	list = list[min(max(offset, 0), len(list)):]
	if limit >= 0 {
		list = list[:min(limit, len(list))]
	}
	out := []json.RawMessage{}
	for _, t := range list {
		out = append(out, t.document())
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
