package bench

import (
	"strings"
	"testing"
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
)

// TestSmall runs every workload small: the referee has nothing to object to, something was done, and there is a bound to compare it with.
func TestSmall(t *testing.T) {
	suite, err := Suite("small")
	if err != nil {
		t.Fatal(err)
	}
	var results []Result
	for _, w := range suite {
		t.Run(w.Name, func(t *testing.T) {
			rs := w.Run(1)
			results = append(results, rs...)
			for _, r := range rs {
				if len(r.Faults) > 0 {
					t.Errorf("%s, %s: the referee objects: %s", r.Workload, r.Case, strings.Join(r.Faults, "\n"))
				}
				if r.Units == 0 {
					t.Errorf("%s, %s: nothing was done", r.Workload, r.Case)
				}
			}
		})
	}
	for _, r := range results {
		if !strings.HasPrefix(r.Workload, "bound ") && shareOfBound(r, results) == "" {
			t.Errorf("%s, %s is compared with no bound", r.Workload, r.Case)
		}
	}
	if _, err := Suite("huge"); err == nil {
		t.Error("there is a size that is not described")
	}
}

// TestRefereeBites: each fault put into what runs is found, and named.
func TestRefereeBites(t *testing.T) {
	m := NewMarket(100, 25, 1)
	s := m.Open()
	for _, a := range m.Asks(0.9, false, true) {
		_ = s.Step(cluster.Submit{Ask: a}) // some can never be served
	}
	s.Must(cluster.Tick{})
	if faults := Judge(m.Nodes, m.Plan, s.now, s.Tasks()); len(faults) > 0 {
		t.Fatalf("the referee objects to what is right: %v", faults)
	}
	find := func(ts []cluster.TaskView, want func(*cluster.TaskView) bool) *cluster.TaskView {
		for i := range ts {
			if want(&ts[i]) {
				return &ts[i]
			}
		}
		t.Fatal("no task to put the fault into")
		return nil
	}
	for _, fault := range []struct {
		name, want string
		make       func([]cluster.TaskView)
	}{
		{"too much on a machine", "of cpu used, it has", func(ts []cluster.TaskView) { ts[0].Resources = resource.Resources{"cpu": 97_000} }},
		{"a limit", "uses", func(ts []cluster.TaskView) {
			find(ts, func(t *cluster.TaskView) bool { return m.Plan.Roles[t.Role].Limit != nil }).Resources = m.part(1)
		}},
		{"a guarantee", "pays for", func(ts []cluster.TaskView) {
			for i := range ts {
				ts[i].Funding = ts[i].Role
			}
		}},
		{"the hold rule", "is borrowed for 10h", func(ts []cluster.TaskView) {
			for i := range ts {
				ts[i].MinRuntime = 10*time.Hour - ts[i].ReclaimGrace
			}
		}},
		{"an attribute", "wants", func(ts []cluster.TaskView) {
			x := find(ts, func(t *cluster.TaskView) bool {
				return len(t.Shape.Constraints) > 0 && t.Shape.Constraints[0].Attribute == "zone"
			})
			x.Node = find(ts, func(t *cluster.TaskView) bool { return attribute(m, t.Node) != attribute(m, x.Node) }).Node
		}},
		{"one a machine", "two run on", func(ts []cluster.TaskView) {
			x := find(ts, func(t *cluster.TaskView) bool { return t.Shape.Exclusive })
			find(ts, func(t *cluster.TaskView) bool { return t.Ask == x.Ask && t.Task != x.Task }).Node = x.Node
		}},
		{"a port", "is taken twice", func(ts []cluster.TaskView) {
			x := find(ts, func(t *cluster.TaskView) bool { return len(t.Ports) > 0 })
			find(ts, func(t *cluster.TaskView) bool { return t.Ask == x.Ask && t.Task != x.Task }).Node = x.Node
		}},
		{"a spread", "more than", func(ts []cluster.TaskView) {
			x := find(ts, func(t *cluster.TaskView) bool { return len(t.Shape.Spread) > 0 })
			for i := range ts {
				if ts[i].Ask == x.Ask {
					ts[i].Node = x.Node
				}
			}
		}},
	} {
		ts := s.Tasks()
		fault.make(ts)
		if faults := strings.Join(Judge(m.Nodes, m.Plan, s.now, ts), "\n"); !strings.Contains(faults, fault.want) {
			t.Errorf("%s: the referee says %.300q, want %q in it", fault.name, faults, fault.want)
		}
	}
}

// TestRefusedCountsNothing: a run that the referee objects to has no rate and no share of a bound, and the table says why.
func TestRefusedCountsNothing(t *testing.T) {
	good := Result{Workload: "W1 fill", Cost: Cost{CPU: time.Second}, Units: 1000, Unit: "placement"}
	bad := good
	bad.Faults = []string{"machine n1: 9 of cpu used, it has 8"}
	bound := Result{Workload: "bound placement", Cost: Cost{CPU: time.Millisecond}, Units: 1000}
	if good.Rate() != 1000 || shareOfBound(good, []Result{bound}) != "0.1 %" {
		t.Errorf("a good run has the rate %v and is at %s of its bound", good.Rate(), shareOfBound(good, []Result{bound}))
	}
	var table strings.Builder
	WriteMarkdown(&table, []Result{bad, bound})
	if bad.Rate() != 0 || shareOfBound(bad, []Result{bound}) != "" || !strings.Contains(table.String(), "**REFUSED by the referee:** machine n1") {
		t.Errorf("a refused run has the rate %v, is at %q of its bound, and the table says\n%s", bad.Rate(), shareOfBound(bad, []Result{bound}), table.String())
	}
}

func attribute(m *Market, node string) string {
	for _, n := range m.Nodes {
		if n.Name == node {
			return n.Attributes["zone"]
		}
	}
	return ""
}
