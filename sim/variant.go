package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Lending is a way to share the machines of a scenario, to compare with.
type Lending string

// The ways.
const (
	LendingOn     Lending = "on"     // as the plan says
	LendingOff    Lending = "off"    // everybody keeps to the own guarantee; machines are shared
	LendingStatic Lending = "static" // everybody has machines of the own, in proportion to the guarantees
)

// With returns the scenario with its machines shared in another way. Expectations are left out: they are about the plan as it
// was.
func (s *Scenario) With(l Lending) (*Scenario, error) {
	if l == LendingOn {
		return s, nil
	}
	out := *s
	out.Expect, out.Work, out.arrivals = nil, slices.Clone(s.Work), slices.Clone(s.arrivals)
	out.Name, out.Title = s.Name+"-"+string(l), cmp.Or(s.Title, s.Name)+", lending "+string(l)
	if l == LendingOff {
		out.Plan = closed(s.Plan)
		return &out, out.Prepare()
	}
	if len(s.Plan.Pools) > 0 {
		return nil, fmt.Errorf("%s has pools: a static partition is only for plans without", s.Name)
	}
	out.partition()
	return &out, out.Prepare()
}

// closed is a plan whose roles neither lend nor borrow.
func closed(p role.Plan) role.Plan {
	out := p
	none := role.Percent(0)
	out.Roles = map[string]role.RoleSpec{}
	for path, spec := range p.Roles {
		spec.Lend, spec.Borrow = &role.Share{Percent: &none}, &role.Share{Percent: &none}
		out.Roles[path] = spec
	}
	return out
}

// tops are the roles right below the root, as a plan writes or implies them.
func tops(p role.Plan) []string {
	seen := map[string]bool{}
	for path := range p.Roles {
		seen[top(path)] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

func top(path string) string {
	head, _, _ := strings.Cut(path, "/")
	return head
}

// partition gives every top role machines of its own: of each shape its share by guaranteed cpu. Windows go with the guarantees.
func (s *Scenario) partition() {
	owners, share := s.shares()
	var nodes []cluster.NodeInfo
	given := map[string][]float64{}
	for _, n := range s.machines() {
		shape := n.Capacity.String() + n.Attributes["gpu-model"]
		if given[shape] == nil {
			given[shape] = make([]float64, len(owners))
		}
		owed := given[shape]
		best := 0
		for i := range owners {
			owed[i] += share[i]
			if owed[i] > owed[best] {
				best = i
			}
		}
		owed[best]--
		n.Attributes = maps.Clone(n.Attributes)
		n.Attributes["partition"] = poolName(owners[best])
		nodes = append(nodes, n)
	}
	s.given = nodes
	s.Plan = role.Plan{Roles: map[string]role.RoleSpec{}, Cluster: s.Plan.Cluster}
	for _, o := range owners {
		s.Plan.Pools = append(s.Plan.Pools, role.PoolSpec{Name: poolName(o), Selector: resource.Attributes{"partition": poolName(o)}})
	}
	for i := range s.Work {
		s.Plan.Roles[s.Work[i].Role] = role.RoleSpec{}
		s.Work[i].Pool = poolName(top(s.Work[i].Role))
	}
	for i := range s.arrivals {
		s.Plan.Roles[s.arrivals[i].Role] = role.RoleSpec{}
		s.arrivals[i].Pool = poolName(top(s.arrivals[i].Role))
	}
}

// shares are the top roles and the share each has of what is guaranteed at the start.
func (s *Scenario) shares() ([]string, []float64) {
	owners := tops(s.Plan)
	kinds := resource.NewKinds()
	_ = s.Plan.Intern(kinds) // was checked
	tree := role.Effective(&s.Plan, s.from, kinds)
	share, sum := make([]float64, len(owners)), 0.0
	for i, o := range owners {
		if id, ok := tree.Lookup(o); ok {
			share[i] = float64(tree.Quota(id, "", kinds.Len()).Guarantee[resource.CPU])
		}
		sum += share[i]
	}
	for i := range share {
		share[i] = ratio(share[i], sum)
	}
	return owners, share
}

// poolName is a role's name as that of a pool.
func poolName(path string) string { return "p-" + strings.ReplaceAll(path, "/", "-") }
