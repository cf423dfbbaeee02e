package role

import (
	"fmt"
	"slices"
	"strings"

	"polder.dev/polder/core/resource"
)

// Problem is one reason why a plan cannot be accepted.
type Problem struct {
	Path    string `json:"path"`    // of the value at fault, as [JoinKey] writes it; it may be one that is absent and should be there
	Message string `json:"message"` // names the role, the resource and the numbers, and what to do
}

// String writes the problem on one line.
func (p Problem) String() string { return p.Path + ": " + p.Message }

// MaxWindows is the most windows a plan may have.
const MaxWindows = 128

// Validate returns everything that is wrong with a plan, in the order roles by path, windows, pools, cluster, then what
// does not add up. Nothing means the plan can be kept.
//
// That the children's guarantees fit into their parent's and every guarantee into its limit is checked for the base tree
// and for every set of windows that is open together at some instant: through each stretch between the dates of from
// and to, up to [Horizon] each, and through one Horizon of recurring windows without any of those. The same plan gives the
// same answer whenever it is asked.
func Validate(p *Plan) []Problem {
	v := validation{plan: p}
	v.roles()
	v.windows()
	v.pools()
	v.cluster()
	v.promises()
	return v.problems
}

// validation collects problems.
type validation struct {
	plan     *Plan
	problems []Problem
}

func (v *validation) add(path, format string, args ...any) {
	v.problems = append(v.problems, Problem{path, fmt.Sprintf(format, args...)})
}

func (v *validation) roles() {
	for _, path := range sortedKeys(v.plan.Roles) {
		at := JoinKey("roles", path)
		if !ValidPath(path) {
			v.badPath(at, path)
		}
		v.spec(at, v.plan.Roles[path])
	}
	v.kinds()
}

func (v *validation) badPath(at, path string) {
	switch {
	case slices.Contains(strings.Split(path, "/"), Self):
		v.add(at, "role path %q: %s is reserved for work placed on the role itself; place work on %q instead", path, Self, Display(path))
	case strings.Count(path, "/") >= MaxDepth:
		v.add(at, "role path %q is deeper than %d levels", path, MaxDepth)
	default:
		v.add(at, "role path %q: join segments of lower-case letters, digits, '.', '_' and '-' that start with a letter or digit by '/'", path)
	}
}

// kinds checks that one cluster can count every kind the plan names.
func (v *validation) kinds() {
	table := resource.NewKinds()
	v.plan.eachResource(func(field, name string) {
		_, kind := resource.SplitName(name)
		if _, err := table.Intern(kind); err != nil && resource.ValidName(kind) {
			v.add(JoinKey(field, name), "%v", err)
		}
	})
}

// spec checks the fields of one role that can be judged by themselves.
func (v *validation) spec(at string, s RoleSpec) {
	v.resources(JoinKey(at, "guarantee"), s.Guarantee)
	for _, name := range s.Guarantee.Names() {
		if s.Guarantee[name] == resource.Unlimited {
			v.add(JoinKey(JoinKey(at, "guarantee"), name), "a guarantee cannot be unlimited; write an amount")
		}
	}
	v.unit(JoinKey(at, "unit"), s.Unit)
	v.resources(JoinKey(at, "limit"), s.Limit)
	v.share(JoinKey(at, "lend"), s.Lend)
	if s.Lend != nil && orElse(s.Lend.Percent, 0) > Whole {
		v.add(JoinKey(at, "lend"), "%s is more than 100%%: a role cannot lend more than its guarantee", *s.Lend.Percent)
	}
	v.share(JoinKey(at, "borrow"), s.Borrow)
	if s.Weight != nil && *s.Weight <= 0 {
		v.add(JoinKey(at, "weight"), "weight %s is not above 0", *s.Weight)
	}
	v.duration(JoinKey(at, "reclaimGrace"), s.ReclaimGrace)
	v.duration(JoinKey(at, "lendGrace"), s.LendGrace)
	v.duration(JoinKey(at, "minRuntime"), s.MinRuntime)
}

func (v *validation) resources(at string, r resource.Resources) {
	for _, name := range r.Names() {
		pool, kind := resource.SplitName(name)
		field := JoinKey(at, name)
		switch {
		case !resource.ValidResource(name):
			v.add(field, "resource name %q: use kind or pool/kind in lower-case letters, digits, '-', '_' and '.'", name)
		case !slices.Contains(v.plan.PoolNames(), pool):
			v.add(field, "resource %s: no pool is called %q; declare it under pools or write %s", name, pool, kind)
		case r[name] < 0:
			v.add(field, "resource %s: %s is negative", name, resource.FormatValue(name, r[name]))
		}
	}
}

func (v *validation) share(at string, s *Share) {
	v.resources(at, s.amounts())
	switch {
	case s == nil || s.Percent == nil:
	case *s.Percent < 0:
		v.add(at, "%s is negative", *s.Percent)
	case len(s.Amounts) > 0:
		v.add(at, "write a percentage or resources, not both")
	}
}

func (v *validation) duration(at string, d *Duration) {
	if d != nil && (*d < 0 || *d > MaxDuration) {
		v.add(at, "%s is not between 0s and %s", *d, MaxDuration)
	}
}

func (v *validation) rebalance(at string, r Rebalance) {
	switch r {
	case "", RebalanceOff:
	case RebalanceFair:
		v.add(at, "rebalance fair is not there yet: nobody is moved for fairness; write %s or leave it out", RebalanceOff)
	default:
		v.add(at, "rebalance %q: write %s", string(r), RebalanceOff)
	}
}

func (v *validation) windows() {
	if n := len(v.plan.Windows); n > MaxWindows {
		v.add("windows", "%d windows are more than the %d a plan may have", n, MaxWindows)
	}
	first := map[string]int{}
	for i, w := range v.plan.Windows {
		at := JoinIndex("windows", i)
		if j, dup := first[w.Name]; dup {
			v.add(JoinKey(at, "name"), "window %q has the name of %s; names are unique", w.Name, JoinIndex("windows", j))
		} else if first[w.Name] = i; !validSegment(w.Name) {
			v.add(JoinKey(at, "name"), "window name %q: use lower-case letters, digits, '.', '_' and '-', starting with a letter or digit", w.Name)
		}
		v.window(at, w)
	}
}

func (v *validation) window(at string, w Window) {
	if _, err := parseWhen(w.When); err != nil {
		v.add(JoinKey(at, "when"), "window %q: %v", w.Name, err)
	}
	v.duration(JoinKey(at, "lead"), &w.Lead.For)
	v.duration(JoinKey(at, "warm"), &w.Warm)
	v.rebalance(JoinKey(at, "rebalance"), w.Rebalance)
	for _, path := range sortedKeys(w.Set) {
		field := JoinKey(JoinKey(at, "set"), path)
		if _, ok := v.plan.Roles[path]; !ok {
			v.add(field, "window %q sets role %q, which is not written under roles; add it there or correct the path", w.Name, path)
		}
		v.spec(field, w.Set[path])
	}
}

func (v *validation) pools() {
	first := map[string]int{}
	for i, p := range v.plan.Pools {
		at := JoinIndex("pools", i)
		if j, dup := first[p.Name]; dup {
			v.add(JoinKey(at, "name"), "pool %q has the name of %s; names are unique", p.Name, JoinIndex("pools", j))
		} else if first[p.Name] = i; !resource.ValidName(p.Name) {
			v.add(JoinKey(at, "name"), "pool name %q: use lower-case letters, digits, '-', '_' and '.', starting with a letter", p.Name)
		}
		if len(p.Selector) == 0 {
			v.add(JoinKey(at, "selector"), "pool %q selects every node; name at least one attribute, nodes that match no pool are in the default one", p.Name)
		}
		for _, name := range sortedKeys(p.Selector) {
			if !resource.ValidName(name) {
				v.add(JoinKey(JoinKey(at, "selector"), name), "attribute name %q: use lower-case letters, digits, '-', '_' and '.', starting with a letter", name)
			}
		}
	}
}

func (v *validation) cluster() {
	c := v.plan.Cluster
	v.duration("cluster.reclaimDelay", c.ReclaimDelay)
	v.rebalance("cluster.rebalance", c.Rebalance)
	if t := c.Tolerance; t != nil && (*t < 0 || *t > Whole) {
		v.add("cluster.tolerance", "%s is not between 0%% and 100%%", *t)
	}
}
