package role

import (
	"sort"
	"strings"

	"polder.dev/polder/core/resource"
)

// Plan is what an operator writes: who is promised what, and when that changes. It is data; [Validate] says whether it
// can be kept, [Effective] turns it into the tree at an instant. A plan is not changed after it is handed to either.
type Plan struct {
	// Roles maps a path ("corp/search/rank") to what is written about it. A parent that is not written exists all the
	// same, with the defaults and a guarantee that is the sum of its children's.
	Roles map[string]RoleSpec `json:"roles"`
	// Windows change fields while they are open. Where several open windows set one field the later in the list wins.
	Windows []Window `json:"windows,omitempty"`
	// Pools sort nodes into pools; the first whose selector matches takes the node.
	Pools []PoolSpec `json:"pools,omitempty"`
	// Cluster is what holds for every role.
	Cluster ClusterSpec `json:"cluster,omitzero"`
}

// RoleSpec is what is written about one role, in the base tree or in a window. An absent field keeps what is below it: the
// earlier windows, the base, the parent (graces and minRuntime only), the default. Fields that hold resources are
// merged resource by resource, so a window that sets guarantee.cpu leaves guarantee.memory alone.
type RoleSpec struct {
	Guarantee    resource.Resources `json:"guarantee,omitempty"`    // missing kind: 0
	Unit         resource.Resources `json:"unit,omitempty"`         // of one package of the guarantee; missing: no packages
	Limit        resource.Resources `json:"limit,omitempty"`        // missing kind: unlimited
	Weight       *Weight            `json:"weight,omitempty"`       // 1
	Priority     *int               `json:"priority,omitempty"`     // 0
	Lend         *Share             `json:"lend,omitempty"`         // missing kind: 100% of the guarantee
	Borrow       *Share             `json:"borrow,omitempty"`       // missing kind: unlimited
	ReclaimGrace *Duration          `json:"reclaimGrace,omitempty"` // 30s, inherited
	LendGrace    *Duration          `json:"lendGrace,omitempty"`    // 2m, inherited
	MinRuntime   *Duration          `json:"minRuntime,omitempty"`   // 0, inherited
}

// Window is a span of the calendar in which roles have other fields.
type Window struct {
	Name string `json:"name"` // unique in the plan
	When When   `json:"when"`
	// Lead is how long before a guarantee rises reclaiming starts for demand already declared. It counts at the
	// opening and, where the window lowers a guarantee, at the closing too. The default is auto.
	Lead Lead `json:"lead,omitzero"`
	// Warm is how long after the opening the raised part of a guarantee is kept idle and unlent, demand or not.
	Warm Duration `json:"warm,omitzero"`
	// Rebalance replaces the cluster's setting while the window is open; "" leaves it.
	Rebalance Rebalance `json:"rebalance,omitempty"`
	// Set maps a path written in the plan's roles to the fields it has instead.
	Set map[string]RoleSpec `json:"set,omitempty"`
}

// When says when a window is open: exactly one of from with to, daily, weekly or monthly, in the wall-clock time of TZ.
// A window is open from its start, inclusive, to its end, exclusive. Ends may be written 24:00.
//
// A local time that does not exist (clocks go forward) is moved forward by the gap; one that exists twice is the first of
// the two. An occurrence whose end thereby is not after its start does not take place.
type When struct {
	From string `json:"from,omitempty"` // 2026-11-10T20:00, seconds optional
	To   string `json:"to,omitempty"`
	// Daily is "22:00-07:00"; an end at or before the start is on the next day.
	Daily string `json:"daily,omitempty"`
	// Weekly is "Mon 08:00-Fri 20:00"; an end at or before the start is in the next week.
	Weekly string `json:"weekly,omitempty"`
	// Monthly is "1 00:00-3 12:00", days of the month; an end at or before the start is in the next month. A day that a
	// month does not have is its last day, so "31 00:00-31 24:00" is the last day of every month.
	Monthly string `json:"monthly,omitempty"`
	TZ      string `json:"tz,omitempty"` // IANA name; "" is UTC
}

// PoolSpec names the nodes whose attributes match the selector. Resources of a pool are written "name/kind".
type PoolSpec struct {
	Name     string              `json:"name"`
	Selector resource.Attributes `json:"selector"`
}

// ClusterSpec is what holds for the whole cluster; see [SettingsAt] for the defaults.
type ClusterSpec struct {
	ReclaimDelay *Duration `json:"reclaimDelay,omitempty"` // 5s: how long a claim must persist before anybody is asked back
	Rebalance    Rebalance `json:"rebalance,omitempty"`    // off
	Tolerance    *Percent  `json:"tolerance,omitempty"`    // 10%: unfairness that rebalancing leaves alone
}

// PoolOf returns the pool of a node with these attributes: the first whose selector matches, "" when none does.
func (p *Plan) PoolOf(node resource.Attributes) string {
	for _, s := range p.Pools {
		if node.Match(s.Selector) {
			return s.Name
		}
	}
	return ""
}

// PoolNames returns the default pool "" and every declared pool, in the plan's order.
func (p *Plan) PoolNames() []string {
	out := []string{""}
	for _, s := range p.Pools {
		out = append(out, s.Name)
	}
	return out
}

// LeastGuarantee is what the role at a path is guaranteed of a resource by the least of the plan and its windows, whichever are open: what
// it can count on at all times. Only a role without children has a guarantee to run on; others count on 0.
func (p *Plan) LeastGuarantee(path, name string) resource.Amount {
	for other := range p.Roles {
		if strings.HasPrefix(other, path+"/") {
			return 0
		}
	}
	least := p.Roles[path].Guarantee[name]
	for _, w := range p.Windows {
		if a, ok := w.Set[path].Guarantee[name]; ok {
			least = min(least, a)
		}
	}
	return least
}

// Intern adds every resource kind the plan names to k, in sorted order. Do it before [Effective], which leaves out kinds
// that k does not know. It fails on a malformed name and beyond [resource.MaxKinds], adding none.
func (p *Plan) Intern(k *resource.Kinds) error {
	return k.InternAll(p.kindNames())
}

// kindNames returns the names of all kinds written anywhere in the plan, sorted.
func (p *Plan) kindNames() []string {
	seen := map[string]bool{}
	p.eachResource(func(_, name string) {
		_, kind := resource.SplitName(name)
		seen[kind] = true
	})
	return sortedKeys(seen)
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// MaxDepth is the most segments a role's path may have.
const MaxDepth = 16

// ValidPath reports whether s may name a role: up to [MaxDepth] segments [a-z0-9][a-z0-9._-]* of at most 63 bytes joined
// by slashes. [Self] is no such segment.
func ValidPath(s string) bool {
	segments := strings.Split(s, "/")
	for _, g := range segments {
		if !validSegment(g) {
			return false
		}
	}
	return len(segments) <= MaxDepth
}

func validSegment(s string) bool {
	if s == "" || len(s) > 63 || strings.IndexByte("._-", s[0]) >= 0 {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

// parentPath returns the path above p, "" for a first segment.
func parentPath(p string) string {
	return p[:max(0, strings.LastIndexByte(p, '/'))]
}

// eachResource calls f for every resource name written in the plan with the path of the field that holds it, in order:
// roles by path, then windows.
func (p *Plan) eachResource(f func(field, name string)) {
	each := func(prefix string, specs map[string]RoleSpec) {
		for _, path := range sortedKeys(specs) {
			s := specs[path]
			at := JoinKey(prefix, path)
			for _, v := range []struct {
				field string
				r     resource.Resources
			}{{"guarantee", s.Guarantee}, {"unit", s.Unit}, {"limit", s.Limit}, {"lend", s.Lend.amounts()}, {"borrow", s.Borrow.amounts()}} {
				for _, name := range v.r.Names() {
					f(JoinKey(at, v.field), name)
				}
			}
		}
	}
	each("roles", p.Roles)
	for i, w := range p.Windows {
		each(JoinKey(JoinIndex("windows", i), "set"), w.Set)
	}
}
