package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/metrics"
)

// scrape reads /metrics as OpenMetrics text.
func scrape(t *testing.T, c *client) (int, string) {
	t.Helper()
	return scrapeAt(t, c, metricsPath)
}

func scrapeAt(t *testing.T, c *client, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, baseURL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	res, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// sample finds the value of a series, written as it is in the text.
func sample(t *testing.T, text, series string) float64 {
	t.Helper()
	for line := range strings.SplitSeq(text, "\n") {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			v, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Errorf("no %s", series)
	return 0
}

// TestMetrics scrapes a server over TLS while one role gives back what it borrowed: who may, what is there, that the numbers are
// those that others see, and that every row of the table for servers is shown and nothing else.
func TestMetrics(t *testing.T) {
	w := newWorld(t, nil)
	c := w.as(w.admin)
	call(t, c.plan.Apply, &polderv1.ApplyRequest{BaseRevision: 1,
		Plan: "cluster: {reclaimDelay: 0s}\nroles: {online: {guarantee: {cpu: 2, memory: 1Gi}}, offline: {limit: {cpu: 4}, reclaimGrace: 30s}}"})
	tenant := call(t, c.access.CreateToken, &polderv1.CreateTokenRequest{Kind: "user", Name: "tenant"}).Secret
	call(t, c.access.SetPermissions, &polderv1.SetPermissionsRequest{Permissions: []*polderv1.Permission{{Subject: "user:tenant", Verbs: []string{"view"}, Role: "online/**"}}})
	for who, want := range map[*client]int{w.as(""): http.StatusUnauthorized, w.as(tenant): http.StatusForbidden} {
		before := w.audit.len()
		if status, body := scrape(t, who); status != want || strings.Contains(body, "polder_") {
			t.Errorf("answered %d, want %d: %s", status, want, body)
		}
		if len(w.audit.since(before)) != 1 {
			t.Error("the refusal is not in the audit trail")
		}
	}
	one := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	link := w.connect(one)
	w.submit(c, process("offline", 4, "1"))
	one.until("four tasks", func() bool { return len(one.tasks) == 4 })
	online := w.submit(c, process("online", 1, "2"))
	one.until("two notices", func() bool { return len(one.notices) == 2 })
	w.until("two tasks that leave", func(p *picture) bool {
		offline, _ := p.roleView("offline")
		online, _ := p.roleView("online")
		return p.notices.Len() == 2 && offline.Leaving["cpu"] == 2000 && online.Pending == 1
	})
	_, text := scrape(t, c)
	for series, want := range map[string]float64{
		`polder_role_guarantee{resource="cpu",role="online"}`: 2, `polder_role_guarantee{resource="memory",role="online"}`: 1 << 30,
		`polder_role_limit{resource="cpu",role="offline"}`: 4, `polder_role_borrowed{resource="cpu",role="offline"}`: 4,
		`polder_role_leaving{resource="cpu",role="offline"}`: 2, `polder_role_tasks{role="online",state="pending"}`: 1,
		`polder_role_reclaim_bound_seconds{role="online"}`: 120, `polder_nodes{state="ready"}`: 1, `polder_capacity{resource="cpu"}`: 4,
		`polder_earmarked{resource="cpu"}`: 2, `polder_notices_open{kind="claim"}`: 2, `polder_asks_waiting{code="Reclaiming"}`: 1, `polder_tasks_waiting{code="Reclaiming"}`: 1, `polder_frameworks{state="away"}`: 0, `polder_borrowed{resource="cpu"}`: 4, `polder_offers`: 0,
		`polder_agent_sessions`: 1, `polder_plan_revision`: 2, `polder_recovering`: 0,
	} {
		if got := sample(t, text, series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	for _, id := range sortedKeys(one.notices) {
		n := one.notices[id].Notice
		for _, m := range []*polderv1.NoticeReport{{Notice: n.Id, Task: id, Accepted: true, Deadline: n.Deadline}, {Notice: n.Id, Task: id, Done: true}} {
			if err := link.send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Notice{Notice: m}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	one.until("the online task", func() bool { return one.tasks[online.Id+".0"] != nil })
	w.until("the online task to read", func(p *picture) bool { r, _ := p.roleView("online"); return r.Running == 1 })
	_, text = scrape(t, c)
	for series, least := range map[string]float64{
		`polder_notices_total{kind="claim",outcome="left"}`: 2, `polder_reclaim_seconds_count`: 1, `polder_reclaim_bound_ratio_bucket{le="1.0"}`: 1,
		`polder_turn_seconds_count`: 1, `polder_persist_seconds_count`: 1, `polder_requests_total{code="ok",procedure="polder.v1.AskService/Submit"}`: 2,
		`polder_requests_total{code="unauthenticated",procedure="metrics"}`: 1, `polder_capacity_seconds_total{resource="cpu"}`: 1e-9,
		`polder_waste_seconds_total{reason="NoDemand",resource="memory"}`: 1e-9, `go_goroutines`: 1,
		`polder_door_requests_total{door="native"}`: 3, `polder_door_refused_total{door="native"}`: 1,
	} {
		if got := sample(t, text, series); got < least {
			t.Errorf("%s is %v, want at least %v", series, got, least)
		}
	}
	checkTable(t, text)
}

// checkTable compares what is shown with the table.
func checkTable(t *testing.T, text string) {
	t.Helper()
	var want, got []string
	for _, m := range metrics.Table() {
		if m.Part == "server" {
			want = append(want, strings.TrimSuffix(m.Name, "_total")+" "+string(m.Type))
		}
	}
	for line := range strings.SplitSeq(text, "\n") {
		if rest, ok := strings.CutPrefix(line, "# TYPE polder_"); ok {
			got = append(got, "polder_"+rest)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("shown are\n%s\nthe table has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !strings.HasSuffix(text, "# EOF\n") {
		t.Error("it is not OpenMetrics")
	}
}

// TestNodeMetrics shows what an agent says about itself to those who may view the root, over the agent's own connection.
func TestNodeMetrics(t *testing.T) {
	w := newWorld(t, nil)
	one := w.newAgent("n1", map[string]string{"cpu": "2"})
	one.serve = func(open *polderv1.OpenRelay) {
		if open.Metrics == nil {
			t.Errorf("the agent is asked for %v", open)
		}
		stream, cancel := w.dialBack(one, open)
		defer cancel()
		for _, m := range []*polderv1.RelayUp{{Id: open.Id}, {Data: []byte("polder_agent_")}, {Data: []byte("notices_open 1\n# EOF\n")}, {}} {
			if err := stream.Send(m); err != nil {
				t.Error(err)
			}
		}
		_ = stream.CloseRequest()
		if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
			t.Errorf("the relay ended with %v", err)
		}
		_ = stream.CloseResponse()
	}
	w.connect(one)
	w.until("the node", func(p *picture) bool { _, ok := p.nodes.Get("n1"); return ok })
	c := w.as(w.admin)
	for path, want := range map[string]string{"n1": "200 polder_agent_notices_open 1\n# EOF\n", "n2": "404 no node is called \"n2\"\n", "": "404 404 page not found\n"} {
		if status, body := scrapeAt(t, c, metricsPath+"/nodes/"+path); fmt.Sprint(status, " ", body) != want {
			t.Errorf("%s answers %d %s, want %s", path, status, body, want)
		}
	}
	tenant := call(t, c.access.CreateToken, &polderv1.CreateTokenRequest{Kind: "user", Name: "tenant"}).Secret
	for who, want := range map[*client]int{w.as(""): http.StatusUnauthorized, w.as(tenant): http.StatusForbidden} {
		if status, _ := scrapeAt(t, who, metricsPath+"/nodes/n1"); status != want {
			t.Errorf("answered %d, want %d", status, want)
		}
	}
}
