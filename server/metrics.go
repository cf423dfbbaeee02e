package server

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/waste"
	"polder.dev/polder/metrics"
	"polder.dev/polder/server/traffic"
)

// metricsPath is where figures are shown: the server's own, and below it those of each node's agent. These are the only paths beside
// the procedures that show something of the cluster.
const metricsPath = "/metrics"

// metricsRoute says who may see them.
var metricsRoute = route{verb: auth.View}

func isMetrics(path string) bool {
	return path == metricsPath || strings.HasPrefix(path, metricsPath+"/")
}

// meters are what is counted as it happens. Everything else is read from the picture when somebody looks.
type meters struct {
	registry *prometheus.Registry
	turns    prometheus.Observer
	persist  prometheus.Observer
	reclaim  prometheus.Observer
	ofBound  prometheus.Observer
	notices  *prometheus.CounterVec
	requests *prometheus.CounterVec
	native   *traffic.Counter
}

func newMeters() *meters {
	m := &meters{registry: prometheus.NewRegistry(), native: traffic.New("native", "", nil), notices: metrics.Notices.Counter(), requests: metrics.Requests.Counter()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m.notices, m.requests)
	for into, row := range map[*prometheus.Observer]*metrics.Metric{
		&m.turns: metrics.Turns, &m.persist: metrics.Persist, &m.reclaim: metrics.Reclaim, &m.ofBound: metrics.ReclaimOfBound,
	} {
		h := row.Histogram()
		m.registry.MustRegister(h)
		*into = h.WithLabelValues()
	}
	return m
}

// closed counts a notice that is over.
func (m *meters) closed(n cluster.Notice) {
	m.notices.WithLabelValues(string(n.Kind), string(n.State)).Inc()
}

// served measures a claim that capacity was reclaimed for.
func (m *meters) served(e cluster.ClaimServed) {
	m.reclaim.Observe(e.Waited.Seconds())
	if e.Bound > 0 {
		m.ofBound.Observe(e.Waited.Seconds() / e.Bound.Seconds())
	}
}

// answered counts a call of the API.
func (m *meters) answered(procedure string, err error) {
	code, call := "ok", strings.TrimPrefix(procedure, "/")
	if err != nil {
		code = connect.CodeOf(err).String()
	}
	m.requests.WithLabelValues(call, code).Inc()
	if err == nil || connect.CodeOf(err) == connect.CodeCanceled { // a stream ends when its reader has enough
		m.native.Answered()
	} else {
		m.native.Refused(call, code, err.Error())
	}
}

// viewersOfAll lets only those through who may view the root, and bounds their time.
func (l *leader) viewersOfAll(show func(context.Context, http.ResponseWriter, *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := callerOf(r.Context())
		if _, err := metricsRoute.permits(l, c, nil); err != nil {
			l.deny(r.Context(), c, metricsRoute, "metrics", "", err)
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), unaryTimeout)
		defer cancel()
		show(ctx, w, r)
	})
}

// showMetrics shows what this server knows of the cluster and of itself.
func (l *leader) showMetrics(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	now, err := l.figures(ctx)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	once := prometheus.NewRegistry()
	once.MustRegister(now)
	promhttp.HandlerFor(prometheus.Gatherers{l.meters.registry, once}, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(w, r)
}

// maxNodeMetrics bounds what an agent may say about itself.
const maxNodeMetrics = 4 << 20

// showNodeMetrics shows what a node's agent measures. It is asked over its own connection: agents listen on no port.
func (l *leader) showNodeMetrics(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	node := r.PathValue("node")
	if _, ok := l.board.look().nodes.Get(node); !ok {
		http.Error(w, fmt.Sprintf("no node is called %q", clip(node, 200)), http.StatusNotFound)
		return
	}
	var text bytes.Buffer
	err := l.join(ctx, node, &polderv1.OpenRelay{Metrics: &polderv1.MetricsOpen{}}, func(x *relay) error {
		return x.output(ctx, l, func(m *polderv1.RelayUp) error {
			if text.Len()+len(m.Data) > maxNodeMetrics {
				return refused("Relay", "", "node %s sends more than %d bytes of metrics", node, maxNodeMetrics)
			}
			text.Write(m.Data)
			return nil
		})
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
	_, _ = text.WriteTo(w) // the caller is gone if this fails
}

// figures is what the server looks like at one moment.
type figures struct {
	*picture
	roles      []effectiveRole
	doors      []*polderv1.Door
	frameworks []*polderv1.Framework
	offers     int
	waste      waste.Report
	sessions   int
	recovering bool
	queue      int
	version    string
}

// figures reads everything in one turn, so that the figures belong together.
func (l *leader) figures(ctx context.Context) (*figures, error) {
	f := &figures{queue: len(l.queue), version: l.cfg.Version}
	err := l.consult(ctx, func(t *turn) error {
		f.waste = t.cluster.Waste(time.Time{}, t.now)
		f.sessions, f.recovering = len(t.sessions), !t.recoverBy.IsZero()
		return nil
	})
	f.picture = l.board.look()
	f.roles = l.trees.get(f.plan, l.cfg.Now())
	f.doors = l.allDoors()
	var offers []*polderv1.Offer
	f.frameworks, offers = l.cfg.Doors.Frameworks(func(string) bool { return true })
	f.offers = len(offers)
	return f, err
}

// Describe implements [prometheus.Collector]: what there is depends on roles and resources.
func (f *figures) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (f *figures) Collect(to chan<- prometheus.Metric) {
	f.collectRoles(to)
	f.collectNodes(to)
	f.collectWork(to)
	f.collectWaste(to)
	f.collectDoors(to)
	metrics.Sessions.Show(to, float64(f.sessions))
	metrics.Queue.Show(to, float64(f.queue))
	metrics.QueueMax.Show(to, maxQueue)
	metrics.PlanRevision.Show(to, float64(f.plan.Revision))
	metrics.Recovering.Show(to, oneIf(f.recovering))
	metrics.Build.Show(to, 1, f.version)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// units is an amount in whole units, bytes for memory and disk.
func units(name string, a resource.Amount) float64 {
	_, kind := resource.SplitName(name)
	return float64(a) / float64(resource.Scale(kind))
}

// showAmounts shows a figure for each resource.
func showAmounts(to chan<- prometheus.Metric, m *metrics.Metric, r resource.Resources, labels ...string) {
	for name, a := range r {
		if a != resource.Unlimited {
			m.Show(to, units(name, a), append(labels[:len(labels):len(labels)], name)...)
		}
	}
}

// showTogether shows several figures for each resource that one of them has: a series does not end because it is zero.
func showTogether(to chan<- prometheus.Metric, all map[*metrics.Metric]resource.Resources, labels ...string) {
	names := resource.Resources{}
	for _, r := range all {
		maps.Copy(names, r)
	}
	for m, r := range all {
		for name := range names {
			m.Show(to, units(name, r[name]), append(labels[:len(labels):len(labels)], name)...)
		}
	}
}

func (f *figures) collectRoles(to chan<- prometheus.Metric) {
	for _, r := range f.roles {
		showAmounts(to, metrics.RoleGuarantee, r.guarantee, r.Path)
		showAmounts(to, metrics.RoleLimit, r.limit, r.Path)
		metrics.RoleBound.Show(to, r.bound.Seconds(), r.Path)
	}
	for _, v := range f.picture.roles {
		path := v.Path
		if path == "" {
			path = "/"
		}
		showTogether(to, map[*metrics.Metric]resource.Resources{
			metrics.RoleUsed: v.Usage, metrics.RoleFunded: v.Funded, metrics.RoleBorrowed: v.Borrowed, metrics.RoleLent: v.Lent,
			metrics.RoleLeaving: v.Leaving, metrics.RoleEntitlement: v.Entitlement, metrics.RoleDemand: v.Demand,
		}, path)
		metrics.RoleTasks.Show(to, float64(v.Running), path, "running")
		metrics.RoleTasks.Show(to, float64(v.Pending), path, "pending")
	}
	showAmounts(to, metrics.PoolBorrowed, borrowedBelow(f.picture.roles))
}

// borrowedBelow is what all roles that nothing is below borrow; tasks run in those. A resource that is used is in it, also with nothing.
func borrowedBelow(roles []cluster.RoleView) resource.Resources {
	above := map[string]bool{}
	for _, v := range roles {
		if i := strings.LastIndexByte(v.Path, '/'); i >= 0 {
			above[v.Path[:i]] = true
		}
	}
	out := resource.Resources{}
	for _, v := range roles {
		for name := range v.Usage {
			out[name] = out[name].Add(0)
		}
		if v.Path == "" || above[v.Path] {
			continue
		}
		for name, a := range v.Borrowed {
			out[name] = out[name].Add(a)
		}
	}
	return out
}

func (f *figures) collectNodes(to chan<- prometheus.Metric) {
	states := map[string]int{"ready": 0, "cordoned": 0, "draining": 0, "unreachable": 0}
	sums := map[*metrics.Metric]resource.Resources{
		metrics.PoolCapacity: {}, metrics.PoolUsed: {}, metrics.PoolAvailable: {}, metrics.PoolEarmarked: {},
	}
	add := func(m *metrics.Metric, r resource.Resources) {
		for name, a := range r {
			sums[m][name] = sums[m][name].Add(a)
		}
	}
	for _, n := range f.nodes.All() {
		states[n.State]++
		add(metrics.PoolCapacity, n.Total)
		add(metrics.PoolUsed, n.Used)
		add(metrics.PoolEarmarked, n.Earmarked)
		if n.State == "ready" {
			add(metrics.PoolAvailable, n.Available)
		}
	}
	showTogether(to, sums)
	for state, n := range states {
		metrics.Nodes.Show(to, float64(n), state)
	}
}

func (f *figures) collectWork(to chan<- prometheus.Metric) {
	tasks := map[string]int{}
	for _, s := range []cluster.State{cluster.Starting, cluster.Running, cluster.Leaving, cluster.Stopping, cluster.Unreachable} {
		tasks[s.String()] = 0
	}
	for _, t := range f.tasks.All() {
		if _, live := tasks[t.State.String()]; live {
			tasks[t.State.String()]++
		}
	}
	for state, n := range tasks {
		metrics.Tasks.Show(to, float64(n), state)
	}
	asks, waiting, notices := map[string]int{}, map[string]int{}, map[string]int{}
	for _, a := range f.asks.All() {
		if a.Pending > 0 && a.State == "open" {
			asks[a.AskView.Reason.Code]++
			waiting[a.AskView.Reason.Code] += a.Pending
		}
	}
	for code, n := range asks {
		metrics.Asks.Show(to, float64(n), code)
		metrics.Waiting.Show(to, float64(waiting[code]), code)
	}
	for _, k := range []cluster.NoticeKind{cluster.ForClaim, cluster.ForPlan, cluster.ForWindow, cluster.ForDrain} {
		notices[string(k)] = 0
	}
	for _, n := range f.notices.All() {
		if n.State == cluster.NoticeOpen {
			notices[string(n.Kind)]++
		}
	}
	for kind, n := range notices {
		metrics.NoticesOpen.Show(to, float64(n), kind)
	}
}

func (f *figures) collectDoors(to chan<- prometheus.Metric) {
	for _, d := range f.doors {
		if d.State == traffic.On {
			metrics.DoorRequests.Show(to, float64(d.Requests), d.Name)
			metrics.DoorRefused.Show(to, float64(d.Refused), d.Name)
		}
	}
	states := map[string]int{"connected": 0, "away": 0}
	for _, fw := range f.frameworks {
		if fw.Connected {
			states["connected"]++
		} else {
			states["away"]++
		}
	}
	for state, n := range states {
		metrics.Frameworks.Show(to, float64(n), state)
	}
	metrics.Offers.Show(to, float64(f.offers))
}

// collectWaste shows the pool's rows: their sums only ever grow.
func (f *figures) collectWaste(to chan<- prometheus.Metric) {
	for i := range f.waste.Rows {
		r := &f.waste.Rows[i]
		if r.Role != "" {
			continue
		}
		_, kind := resource.SplitName(r.Resource)
		scale := resource.Scale(kind)
		for _, reason := range waste.Reasons() {
			metrics.Waste.Show(to, r.Idle[reason].Seconds(scale), r.Resource, reason.String())
		}
		metrics.CapacitySeconds.Show(to, r.Guarantee.Minus(r.Idle[waste.Missing]).Seconds(scale), r.Resource)
	}
}
