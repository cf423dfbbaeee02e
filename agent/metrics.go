package agent

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"polder.dev/polder/agent/checkpoint"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/metrics"
)

// meters are what an agent counts as it happens. Everything else is read from the tasks when somebody looks.
type meters struct {
	registry *prometheus.Registry
	journal  prometheus.Observer
	cpu      *prometheus.CounterVec

	mu   sync.Mutex         // guards seen
	seen map[string]float64 // cpu seconds of each live task, as of its last sample
}

func newMeters() *meters {
	journal := metrics.AgentJournal.Histogram()
	m := &meters{registry: prometheus.NewRegistry(), journal: journal.WithLabelValues(), cpu: metrics.AgentCPU.Counter(), seen: map[string]float64{}}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), journal, m.cpu)
	return m
}

// consumed adds what a task has used since its last sample. One whose figure fell was started anew.
func (m *meters) consumed(task, role string, seconds float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	more := seconds - m.seen[task]
	if more < 0 {
		more = seconds
	}
	m.seen[task] = seconds
	m.cpu.WithLabelValues(role).Add(more)
}

// forget drops the tasks that are not in a sample.
func (m *meters) forget(sample map[string]*polderv1.TaskUsage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.seen {
		if sample[id] == nil {
			delete(m.seen, id)
		}
	}
}

// commit writes to the journal and measures how long that took.
func (a *Agent) commit(b checkpoint.Batch) error {
	began := time.Now() // not the configured clock: this is for people who tune
	defer func() { a.meters.journal.Observe(time.Since(began).Seconds()) }()
	return a.journal.Commit(b)
}

// role is the role of a task that has been on disk; empty before.
func (t *task) role() string { return t.view.Load().report.GetAssignment().GetRole() }

// relayMetrics writes what the agent measures to the server.
func (a *Agent) relayMetrics(stream relayStream) error {
	once := prometheus.NewRegistry()
	once.MustRegister(figures{a})
	up := &relayWriters{stream: stream, turn: make(chan struct{}, 1)}
	page := &page{Writer: up.writer(false), header: http.Header{}}
	ask := &http.Request{Header: http.Header{"Accept": {"application/openmetrics-text; version=1.0.0"}}}
	promhttp.HandlerFor(prometheus.Gatherers{a.meters.registry, once}, promhttp.HandlerOpts{EnableOpenMetrics: true, DisableCompression: true}).ServeHTTP(page, ask)
	return page.err
}

// page is an answer without a connection: a stream that carries what the handler of the metrics library writes.
type page struct {
	io.Writer
	header http.Header
	err    error
}

// Header implements [http.ResponseWriter].
func (p *page) Header() http.Header { return p.header }

// WriteHeader implements [http.ResponseWriter]. The text says what went wrong.
func (p *page) WriteHeader(int) {}

// Write implements [http.ResponseWriter].
func (p *page) Write(b []byte) (int, error) {
	n, err := p.Writer.Write(b)
	if err != nil {
		p.err = err
	}
	return n, err
}

// figures shows the tasks as they are.
type figures struct{ *Agent }

// Describe implements [prometheus.Collector]: what there is depends on roles.
func (f figures) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (f figures) Collect(to chan<- prometheus.Metric) {
	type of struct{ role, state string }
	tasks, memory, notices := map[of]int{}, map[string]uint64{}, 0
	sample := f.usage.last()
	for _, t := range f.all() {
		v := t.view.Load()
		if v.report == nil {
			continue
		}
		tasks[of{t.role(), strings.ToLower(strings.TrimPrefix(v.report.State.String(), "TASK_STATE_"))}]++
		if v.notice != nil {
			notices++
		}
		if u := sample[t.id]; u != nil && v.live {
			memory[t.role()] += uint64(u.MemoryBytes)
		}
	}
	for k, n := range tasks {
		metrics.AgentTasks.Show(to, float64(n), k.role, k.state)
	}
	for role, n := range memory {
		metrics.AgentMemory.Show(to, float64(n), role)
	}
	metrics.AgentNotices.Show(to, float64(notices))
	metrics.AgentBuild.Show(to, 1, f.c.Version)
}
