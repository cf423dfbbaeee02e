package sim

import (
	"context"
	"fmt"
	"strings"
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Size of the simulation that shows a counter-example.
const (
	witnessNodes = 40
	witnessTasks = 40 // that the amount is asked for in
	witnessLead  = 10 * time.Minute
)

// Witness simulates what a statement that was not proven fails at: everybody else borrows what there is, in tasks that use all
// of their notice, and the role asks at that instant. What the role had when goes into the verdict, which becomes "refuted" when
// it had less in time than it should have. Where so small a world cannot show it the verdict stays as it is.
func Witness(ctx context.Context, p *role.Plan, s *Statement, v *Verdict, capacity resource.Resources) error {
	sc, ok := witness(p, s, v, capacity)
	if !ok || sc.Prepare() != nil {
		return nil
	}
	r, err := Run(ctx, sc, Options{})
	if err != nil {
		return err
	}
	for _, f := range r.Findings {
		v.Timeline = append(v.Timeline, fmt.Sprintf("%s: %s", f.Name, f.Found))
		if !f.Held {
			v.Outcome = "refuted"
		}
	}
	return nil
}

func witness(p *role.Plan, s *Statement, v *Verdict, capacity resource.Resources) (*Scenario, bool) {
	kinds := resource.NewKinds()
	if err := p.Intern(kinds); err != nil || v.Outcome == "proven" || strings.Contains(s.Amount.String(), "/") {
		return nil, false
	}
	tree := role.Effective(p, v.At, kinds)
	has := capacity
	if has == nil {
		has = resource.Resources{}
		for _, id := range tree.Roles[role.Root].Children {
			for i, a := range tree.Quota(id, "", kinds.Len()).Guarantee {
				has[kinds.Name(resource.Kind(i))] += a
			}
		}
	}
	need := resource.Resources{}
	node := resource.Resources{}
	for kind, a := range s.Amount {
		need[kind] = max(1, a/witnessTasks)
		node[kind] = max(has[kind], a) / witnessNodes
		if node[kind] < need[kind] {
			return nil, false
		}
	}
	from := v.At.Add(-witnessLead)
	sc := &Scenario{
		Name: "witness", Start: from.Format(time.RFC3339), End: v.At.Add(2*s.Within + time.Minute).Format(time.RFC3339), Plan: *p,
		Agents: Agents{Start: Fixed(100 * time.Millisecond)},
	}
	for i := range witnessNodes {
		sc.given = append(sc.given, cluster.NodeInfo{Name: fmt.Sprintf("n%d", i), Attributes: resource.Attributes{}, Capacity: node})
	}
	for i := range tree.Roles {
		r := &tree.Roles[i]
		if len(r.Children) == 0 && i > 0 && !within(role.Display(r.Path), s.Role) {
			sc.Work = append(sc.Work, Work{Name: fmt.Sprintf("others%d", i), Role: role.Display(r.Path), Kind: "service", Resources: need,
				Replicas: []Replicas{{At: "+0s", Count: 4 * witnessTasks}}})
		}
	}
	sc.Work = append(sc.Work, Work{Name: "asker", Role: s.Role, Kind: "service", Resources: need,
		Replicas: []Replicas{{At: v.At.Format(time.RFC3339), Count: witnessTasks}}})
	name := s.Amount.Names()[0]
	for _, after := range []time.Duration{0, s.Within / 2, s.Within, s.Within * 3 / 2, 2 * s.Within} {
		at, least := v.At.Add(after), "0"
		if after == s.Within {
			least = resource.FormatValue(name, need[name]*witnessTasks)
		}
		sc.Expect = append(sc.Expect, Expectation{
			Name:    fmt.Sprintf("%s later %s has of %s", after, s.Role, text(name, s.Amount[name])),
			Measure: "usage." + name, Role: s.Role, At: at.Format(time.RFC3339), Least: least,
		})
	}
	return sc, true
}
