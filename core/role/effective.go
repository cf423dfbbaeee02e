package role

import (
	"maps"
	"sort"
	"time"

	"polder.dev/polder/core/resource"
)

// Defaults of fields that neither a role nor anything above it sets.
const (
	DefaultReclaimGrace = 30 * time.Second
	DefaultLendGrace    = 2 * time.Minute
	DefaultReclaimDelay = 5 * time.Second
	DefaultTolerance    = 10 * Whole / 100
	DefaultWeight       = Weight(1000)
)

// Settings are the cluster-wide fields of a plan at an instant, defaults filled in.
type Settings struct {
	ReclaimDelay time.Duration
	Rebalance    Rebalance
	Tolerance    Percent
}

// SettingsAt returns the settings in force at an instant: the last open window that sets rebalance wins.
func SettingsAt(p *Plan, at time.Time) Settings {
	return newCalendar(p).settings(at)
}

func (c calendar) settings(at time.Time) Settings {
	spec := c.plan.Cluster
	s := Settings{DefaultReclaimDelay, RebalanceOff, DefaultTolerance}
	if spec.ReclaimDelay != nil {
		s.ReclaimDelay = time.Duration(*spec.ReclaimDelay)
	}
	if spec.Tolerance != nil {
		s.Tolerance = *spec.Tolerance
	}
	if spec.Rebalance != "" {
		s.Rebalance = spec.Rebalance
	}
	for i, open := range c.open(at) {
		if w := c.plan.Windows[i]; open && w.Rebalance != "" {
			s.Rebalance = w.Rebalance
		}
	}
	return s
}

// Effective returns the tree at an instant: windows applied, fields inherited, percentages resolved, an implicit ".self"
// child under every named role that has children. The plan is a valid one; of an invalid plan, windows that cannot be read
// never open and paths that cannot be read are left out. Every role but the root has a quota in every pool the plan
// declares or names, with vectors of length kinds.Len(); kinds not in the table are left out (see [Plan.Intern]).
func Effective(p *Plan, at time.Time, kinds *resource.Kinds) *Tree {
	return newCalendar(p).tree(at, kinds)
}

func (c calendar) tree(at time.Time, kinds *resource.Kinds) *Tree {
	open, warming := c.open(at), c.warming(at)
	o := newOutline(c.plan)
	specs := o.specs(c.plan, open)
	guarantees := o.guarantees(specs)
	cold := guarantees
	if anyTrue(warming) {
		cold = o.guarantees(o.specs(c.plan, without(open, warming)))
	}
	pools := c.plan.allPools()
	t := &Tree{Roles: make([]Role, len(o)), byPath: make(map[string]ID, len(o))}
	for i := range o {
		r := &t.Roles[i]
		*r = o.role(t, i, specs[i])
		t.byPath[r.Path] = ID(i)
		if i != int(Root) {
			r.Quotas = quotas(o[i], specs[i], guarantees[i], cold[i], pools, kinds)
		}
	}
	return t
}

// outline is the shape of the tree: every role that exists, written or implied, parents first, a subtree together.
// Windows do not change it.
type outline []place

type place struct {
	path     string
	parent   ID
	depth    int
	children []ID
	written  bool // has an entry in the plan; the root and implied parents have none
	self     bool
}

func newOutline(p *Plan) outline {
	under := map[string][]string{} // parent path to child paths
	seen := map[string]bool{"": true}
	for path := range p.Roles {
		if !ValidPath(path) {
			continue
		}
		for ; !seen[path]; path = parentPath(path) {
			seen[path] = true
			under[parentPath(path)] = append(under[parentPath(path)], path)
		}
	}
	var o outline
	o.grow(p, under, "", None)
	return o
}

// grow adds the role at path and everything below it.
func (o *outline) grow(p *Plan, under map[string][]string, path string, parent ID) ID {
	id := ID(len(*o))
	_, written := p.Roles[path]
	depth := 0
	if parent != None {
		depth = (*o)[parent].depth + 1
	}
	*o = append(*o, place{path: path, parent: parent, depth: depth, written: written && path != ""})
	children := under[path]
	sort.Strings(children)
	if path != "" && len(children) > 0 {
		self := ID(len(*o))
		*o = append(*o, place{path: path + "/" + Self, parent: id, depth: depth + 1, self: true})
		(*o)[id].children = append((*o)[id].children, self)
	}
	for _, child := range children {
		at := o.grow(p, under, child, id)
		(*o)[id].children = append((*o)[id].children, at)
	}
	return id
}

// specs returns what is written about every role while these windows are open, in the outline's order.
func (o outline) specs(p *Plan, open []bool) []RoleSpec {
	out := make([]RoleSpec, len(o))
	for i, at := range o {
		if !at.written {
			continue
		}
		out[i] = p.Roles[at.path]
		for w, isOpen := range open {
			if set, ok := p.Windows[w].Set[at.path]; ok && isOpen {
				out[i] = set.over(out[i])
			}
		}
	}
	return out
}

// over lays s on top of what is below it, field by field.
func (s RoleSpec) over(below RoleSpec) RoleSpec {
	return RoleSpec{
		Guarantee:    mergeResources(below.Guarantee, s.Guarantee),
		Unit:         mergeResources(below.Unit, s.Unit),
		Limit:        mergeResources(below.Limit, s.Limit),
		Weight:       firstSet(s.Weight, below.Weight),
		Priority:     firstSet(s.Priority, below.Priority),
		Lend:         s.Lend.over(below.Lend),
		Borrow:       s.Borrow.over(below.Borrow),
		ReclaimGrace: firstSet(s.ReclaimGrace, below.ReclaimGrace),
		LendGrace:    firstSet(s.LendGrace, below.LendGrace),
		MinRuntime:   firstSet(s.MinRuntime, below.MinRuntime),
	}
}

func firstSet[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

// orElse returns what p points to, or the default.
func orElse[T any](p *T, def T) T {
	if p != nil {
		return *p
	}
	return def
}

func mergeResources(below, above resource.Resources) resource.Resources {
	if len(above) == 0 {
		return below
	}
	out := make(resource.Resources, len(below)+len(above))
	maps.Copy(out, below)
	maps.Copy(out, above)
	return out
}

// guarantees returns every role's guarantee: as written, or for an implied parent the sum of its children's. The root's is
// the machines' to say, so it is nil.
func (o outline) guarantees(specs []RoleSpec) []resource.Resources {
	out := make([]resource.Resources, len(o))
	for i := len(o) - 1; i > 0; i-- {
		out[i] = specs[i].Guarantee
		if !o[i].written && !o[i].self {
			out[i] = o.sumChildren(ID(i), out)
		}
	}
	return out
}

// sumChildren adds up what the children of a role have in amounts, which is in the outline's order.
func (o outline) sumChildren(id ID, amounts []resource.Resources) resource.Resources {
	sum := resource.Resources{}
	for _, c := range o[id].children {
		for name, a := range amounts[c] {
			sum[name] = sum[name].Add(a)
		}
	}
	return sum
}

// role returns role i with everything but its quotas; t holds the roles before it, its parent among them.
func (o outline) role(t *Tree, i int, spec RoleSpec) Role {
	at := o[i]
	r := Role{
		Path: at.path, Parent: at.parent, Depth: at.depth, Children: at.children,
		Weight:       int64(orElse(spec.Weight, DefaultWeight)),
		Priority:     orElse(spec.Priority, 0),
		ReclaimGrace: DefaultReclaimGrace,
		LendGrace:    DefaultLendGrace,
	}
	if at.parent != None {
		up := t.Roles[at.parent]
		r.ReclaimGrace = time.Duration(orElse(spec.ReclaimGrace, Duration(up.ReclaimGrace)))
		r.LendGrace = time.Duration(orElse(spec.LendGrace, Duration(up.LendGrace)))
		r.MinRuntime = time.Duration(orElse(spec.MinRuntime, Duration(up.MinRuntime)))
		if at.self {
			r.Priority = up.Priority
		}
	}
	return r
}

// quotas resolves a role's resources in every pool. What it has in guarantee beyond cold is being warmed.
func quotas(at place, spec RoleSpec, guarantee, cold resource.Resources, pools []string, kinds *resource.Kinds) map[string]Quota {
	out := make(map[string]Quota, len(pools))
	n := kinds.Len()
	for _, pool := range pools {
		all := make(resource.Vector, 5*n)
		q := Quota{Guarantee: all[:n:n], Limit: all[n : 2*n : 2*n], Lend: all[2*n : 3*n : 3*n], Borrow: all[3*n : 4*n : 4*n], Warm: all[4*n:]}
		for k := range n {
			name := resource.JoinName(pool, kinds.Name(resource.Kind(k)))
			g := guarantee[name]
			q.Guarantee[k] = g
			q.Limit[k] = resource.Unlimited
			if a, ok := spec.Limit[name]; ok {
				q.Limit[k] = a
			}
			q.Borrow[k] = resource.Unlimited
			if a, ok := spec.Borrow.of(name, g); ok {
				q.Borrow[k] = a
			}
			q.Lend[k] = g
			if a, ok := spec.Lend.of(name, g); ok {
				q.Lend[k] = a
			}
			q.Warm[k] = max(0, g.Sub(cold[name]))
		}
		q.Unit, q.Packages = packages(spec.Unit, q.Guarantee, pool, kinds)
		out[pool] = q
	}
	return out
}

// allPools returns the pools a quota is kept for: the default, the declared and, in a plan not validated, those only named.
func (p *Plan) allPools() []string {
	seen := map[string]bool{}
	for _, name := range p.PoolNames() {
		seen[name] = true
	}
	p.eachResource(func(_, name string) {
		pool, _ := resource.SplitName(name)
		seen[pool] = true
	})
	return sortedKeys(seen)
}

func anyTrue(s []bool) bool {
	for _, b := range s {
		if b {
			return true
		}
	}
	return false
}

// without returns open with the windows in minus closed.
func without(open, minus []bool) []bool {
	out := make([]bool, len(open))
	for i := range open {
		out[i] = open[i] && !minus[i]
	}
	return out
}
