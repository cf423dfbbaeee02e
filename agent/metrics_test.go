package agent

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/metrics"
)

// TestMetrics asks an agent with one task for what it measures: OpenMetrics, every row of the table for agents, no other, and no
// series of a task.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.server.launch(assignment("t1"))
		time.Sleep(time.Minute) // heartbeats sample what the tasks consume
		id, text, _, last := collect(t, m.server.openRelay(&polderv1.OpenRelay{Id: "r1", Metrics: &polderv1.MetricsOpen{}}))
		if id != "r1" || last.Error != "" || !strings.HasSuffix(text, "# EOF\n") || strings.Contains(text, "t1") {
			t.Errorf("relay %s ends with %v:\n%s", id, last, text)
		}
		var want, got []string
		for _, row := range metrics.Table() {
			if row.Part == "agent" {
				want = append(want, strings.TrimSuffix(row.Name, "_total")+" "+string(row.Type))
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
			t.Errorf("shown are %q, the table has %q", got, want)
		}
		for _, line := range []string{`polder_agent_tasks{role="` + assignment("t1").Role + `",state="running"} 1`, "polder_agent_notices_open 0"} {
			if !strings.Contains(text, line) {
				t.Errorf("no %s in\n%s", line, text)
			}
		}
	})
}

// TestConsumption adds up what tasks of a role used, also over a new start and an end.
func TestConsumption(t *testing.T) {
	m := newMeters()
	m.consumed("a", "r", 2)
	m.consumed("b", "r", 1)
	m.consumed("a", "r", 5)
	m.consumed("b", "r", 0.5) // started anew
	m.forget(map[string]*polderv1.TaskUsage{"a": {}})
	m.consumed("b", "r", 0.25)
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == metrics.AgentCPU.Name {
			if got := f.GetMetric()[0].GetCounter().GetValue(); got != 6.75 {
				t.Errorf("the role consumed %v, want 6.75", got)
			}
			return
		}
	}
	t.Error("nothing is counted")
}
