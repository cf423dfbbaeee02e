package metrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Files returns what is generated from the table, by path in the repository.
func Files() map[string][]byte {
	return map[string][]byte{
		"docs/metrics.md":                page(),
		"docs/monitoring/dashboard.json": dashboard(),
		"docs/monitoring/alerts.yaml":    alerts(),
	}
}

const head = `# Metrics

<!-- Generated from package metrics: change the table there and run "make generate". -->

The server shows its figures at ` + "`/metrics`" + `, as OpenMetrics or in the older text format, on the address of the API: with TLS, and to callers who
may view the root, like everything else. Make a token for Prometheus:

` + "```" + `
polder token create prometheus > polder-token
polder access get -o yaml > access.yaml    # add {subject: "user:prometheus", verbs: [view], role: "/"}
polder access set -f access.yaml
` + "```" + `

` + "```yaml" + `
scrape_configs:
  - job_name: polder
    scheme: https
    authorization: {credentials_file: /etc/prometheus/polder-token}
    tls_config: {ca_file: /etc/prometheus/polder-ca.crt}
    static_configs: [{targets: ["polder.example:7070"]}]
  - job_name: polder-agents
    metrics_path: /metrics/nodes/node-1         # one job, or one relabelled path, for each node
    scheme: https
    authorization: {credentials_file: /etc/prometheus/polder-token}
    tls_config: {ca_file: /etc/prometheus/polder-ca.crt}
    static_configs: [{targets: ["polder.example:7070"]}]
` + "```" + `

An agent listens on no port. The server fetches what it measures over the agent's own connection and shows it at ` + "`/metrics/nodes/NAME`" + `; it takes
view on the root and nodes that answer.

A [dashboard for Grafana](monitoring/dashboard.json) and [alert rules for Prometheus](monitoring/alerts.yaml) come from the same table.

Amounts are whole units of the resource: cpus, bytes of memory and disk. The resource of a pool has the pool before it
(` + "`gpu-a100/gpu`" + `). There is a series for each role and resource, never for a task, an ask or a user. Only the leader has figures of the
cluster; a new leader's counters begin at zero. The figures of the Go runtime and of the process (` + "`go_…`, `process_…`" + `) are there too.
`

// page writes docs/metrics.md.
func page() []byte {
	var b bytes.Buffer
	b.WriteString(head)
	for _, g := range groups() {
		fmt.Fprintf(&b, "\n## %s\n\n| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n", g)
		for _, m := range of(g) {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.Name, m.Type, dash(m.Unit), dash(strings.Join(m.Labels, ", ")), m.Help)
		}
	}
	b.WriteString("\n## In the console\n\nEvery figure of the [console](console.md) that is a sum or a state of the pool, by its page. " +
		"What it shows of one task, ask, notice or node is no metric.\n\n| page | figure | expression |\n|---|---|---|\n")
	for _, f := range Shown() {
		fmt.Fprintf(&b, "| %s | %s | `%s` |\n", f.Page, f.Name, f.Expr)
	}
	b.WriteString("\n## Alerts\n\n| name | meaning | what to do |\n|---|---|---|\n")
	for _, r := range Rules() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.Name, r.Summary, r.Do)
	}
	return b.Bytes()
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// groups lists the headings in the order of the table.
func groups() []string {
	var out []string
	for _, m := range table {
		if !slices.Contains(out, m.Group) {
			out = append(out, m.Group)
		}
	}
	return out
}

func of(group string) []*Metric {
	return slices.DeleteFunc(Table(), func(m *Metric) bool { return m.Group != group })
}

// object is a JSON object; encoding/json writes its names in order.
type object map[string]any

// dashboard writes a Grafana dashboard: a row for each group, a graph for each metric.
func dashboard() []byte {
	var panels []object
	y, id := 0, 0
	next := func(p object, h, w, x int) {
		id++
		p["id"], p["gridPos"] = id, object{"h": h, "w": w, "x": x, "y": y}
		panels = append(panels, p)
	}
	for _, g := range groups() {
		next(object{"type": "row", "title": g, "collapsed": false}, 1, 24, 0)
		y++
		graphs := slices.DeleteFunc(of(g), func(m *Metric) bool { return m == Build || m == AgentBuild })
		for i, m := range graphs {
			next(graph(m), 8, 8, i%3*8)
			if i%3 == 2 || i == len(graphs)-1 {
				y += 8
			}
		}
	}
	all := object{
		"title": "Polder", "uid": "polder", "schemaVersion": 39, "editable": true, "time": object{"from": "now-6h", "to": "now"}, "refresh": "30s",
		"panels": panels, "templating": object{"list": []object{
			{"name": "source", "type": "datasource", "query": "prometheus"},
			variable("resource", "label_values(polder_capacity, resource)"), variable("role", "label_values(polder_role_tasks, role)"),
		}},
	}
	out, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		panic(err) // strings and numbers only
	}
	return append(out, '\n')
}

func variable(name, query string) object {
	return object{"name": name, "type": "query", "query": query, "datasource": object{"type": "prometheus", "uid": "${source}"},
		"includeAll": true, "multi": true, "refresh": 2, "current": object{"text": "All", "value": "$__all"}}
}

func graph(m *Metric) object {
	unit := "short"
	if m.Unit == "seconds" {
		unit = "s"
	}
	expr, legend := m.query()
	return object{
		"type": "timeseries", "title": title(m), "description": m.Help, "datasource": object{"type": "prometheus", "uid": "${source}"},
		"fieldConfig": object{"defaults": object{"unit": unit}, "overrides": []object{}}, "targets": []object{{"refId": "A", "expr": expr, "legendFormat": legend}},
	}
}

func title(m *Metric) string {
	return strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(m.Name, "polder_"), "_total"), "_", " ")
}

// query is what a graph of the metric shows: rates of counters, the 99th percentile of histograms.
func (m *Metric) query() (expr, legend string) {
	var match, show []string
	for _, l := range m.Labels {
		if l == "role" || l == "resource" {
			match = append(match, fmt.Sprintf("%s=~\"$%s\"", l, l))
		}
		show = append(show, "{{"+l+"}}")
	}
	selector, legend := "", strings.Join(show, " ")
	if len(match) > 0 {
		selector = "{" + strings.Join(match, ",") + "}"
	}
	switch m.Type {
	case Counter:
		return fmt.Sprintf("rate(%s%s[5m])", m.Name, selector), legend
	case Histogram:
		return fmt.Sprintf("histogram_quantile(0.99, sum by (le) (rate(%s_bucket[5m])))", m.Name), "p99"
	}
	return m.Name + selector, legend
}

// alerts writes the rules as Prometheus reads them.
func alerts() []byte {
	var b bytes.Buffer
	b.WriteString("# Generated from package metrics: change the rules there and run \"make generate\".\ngroups:\n  - name: polder\n    rules:\n")
	for _, r := range Rules() {
		fmt.Fprintf(&b, "      - alert: %s\n        expr: %s\n        for: %s\n        labels: {severity: %s}\n        annotations:\n          summary: %s\n          description: %s\n",
			r.Name, quote(r.Expr), r.For, r.Severity, quote(r.Summary), quote(r.Do))
	}
	return b.Bytes()
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
