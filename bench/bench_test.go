package bench

import (
	"strings"
	"testing"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
)

// TestSmall runs every workload small: the referee has nothing to object to, and something was done.
func TestSmall(t *testing.T) {
	suite, err := Suite("small")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range suite {
		t.Run(w.Name, func(t *testing.T) {
			for _, r := range w.Run(1) {
				if len(r.Faults) > 0 {
					t.Errorf("%s, %s: the referee objects: %s", r.Workload, r.Case, strings.Join(r.Faults, "\n"))
				}
				if r.Units == 0 {
					t.Errorf("%s, %s: nothing was done", r.Workload, r.Case)
				}
			}
		})
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

func attribute(m *Market, node string) string {
	for _, n := range m.Nodes {
		if n.Name == node {
			return n.Attributes["zone"]
		}
	}
	return ""
}
