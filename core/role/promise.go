package role

import (
	"fmt"
	"strings"

	"polder.dev/polder/core/resource"
)

// MaxChecks bounds how long checking a plan takes: the number of its roles times that of the sets of windows that can be
// open together, where windows that set neither guarantee nor limit do not count.
const MaxChecks = 1 << 20

// promises checks for every set of windows that can be open together that guarantees fit into limits and into the
// parents' guarantees. A problem is reported for the smallest such sets only.
func (v *validation) promises() {
	o := newOutline(v.plan)
	sets := reachable(newCalendar(v.plan))
	if len(sets) > 1 && len(sets)*len(o) > MaxChecks {
		v.add("windows", "the windows can be open together in %d ways, and there are %d roles: that is more than can be checked (%d together); "+
			"use fewer windows that set guarantees or limits", len(sets), len(o), MaxChecks)
		return
	}
	reported := map[string][]windowSet{}
	for _, s := range sets {
		open := s.flags(min(len(v.plan.Windows), MaxWindows))
		b := balance{plan: v.plan, outline: o, open: open, specs: o.specs(v.plan, open)}
		b.guarantees = o.guarantees(b.specs)
		for _, broken := range b.broken() {
			if !coveredBy(reported[broken.key], s) {
				reported[broken.key] = append(reported[broken.key], s)
				v.add(broken.path, "%s%s", broken.message, b.during())
			}
		}
	}
}

// balance is the numbers of all roles while some windows are open.
type balance struct {
	plan       *Plan
	outline    outline
	open       []bool
	specs      []RoleSpec
	guarantees []resource.Resources
}

// breach is a promise that cannot be kept; key names it without regard to which windows are open.
type breach struct{ key, path, message string }

func (b balance) broken() []breach {
	var out []breach
	for i := 1; i < len(b.outline); i++ {
		out = append(out, b.overLimit(ID(i))...)
		out = append(out, b.overParent(ID(i))...)
		out = append(out, b.unpacked(ID(i))...)
	}
	return out
}

// overLimit returns the guarantees of a role above its own limit.
func (b balance) overLimit(id ID) []breach {
	path, spec := b.outline[id].path, b.specs[id]
	var out []breach
	for _, name := range spec.Limit.Names() {
		g, limit := b.guarantees[id][name], spec.Limit[name]
		if g <= limit {
			continue
		}
		_, at := b.writer(id, name)
		if origin := b.origin(path, name, limitOf); origin > b.origin(path, name, guaranteeOf) {
			at = fieldPath(origin, path, "limit", name)
		}
		out = append(out, breach{"limit " + path + " " + name, at, fmt.Sprintf(
			"%s is guaranteed %s, more than its limit of %s: raise the limit or lower the guarantee",
			path, quantity(name, g), quantity(name, limit))})
	}
	return out
}

// overParent returns where the children of a role are guaranteed more than the role itself.
func (b balance) overParent(id ID) []breach {
	at := b.outline[id]
	sum := b.outline.sumChildren(id, b.guarantees)
	var out []breach
	for _, name := range sum.Names() {
		own := b.guarantees[id][name]
		if sum[name] <= own {
			continue
		}
		out = append(out, breach{"parent " + at.path + " " + name, b.blame(id, name), fmt.Sprintf(
			"guarantees of the children of %s add up to %s, more than its own %s: raise the guarantee of %s or lower %s",
			at.path, quantity(name, sum[name]), quantity(name, own), at.path, b.largest(id, name))})
	}
	return out
}

// largest names the children guaranteed most of a resource, three at most, with their amounts.
func (b balance) largest(id ID, name string) string {
	var parts []string
	left := append([]ID(nil), b.outline[id].children...)
	for len(left) > 0 && len(parts) < 3 {
		best := 0
		for i := range left {
			if b.guarantees[left[i]][name] > b.guarantees[left[best]][name] {
				best = i
			}
		}
		if b.guarantees[left[best]][name] == 0 {
			break
		}
		parts = append(parts, b.outline[left[best]].path+" ("+resource.FormatValue(name, b.guarantees[left[best]][name])+")")
		left = append(left[:best], left[best+1:]...)
	}
	return strings.Join(parts, ", ")
}

// blame returns the path of the guarantee to look at when the children of a role have too much: the one the last open
// window wrote, the role's own when nothing wrote later.
func (b balance) blame(id ID, name string) string {
	last, path := b.writer(id, name)
	for _, c := range b.outline[id].children {
		if origin, at := b.writer(c, name); origin > last {
			last, path = origin, at
		}
	}
	return path
}

// writer returns who wrote a role's guarantee of a resource, a window's index or -1 for the base, and where. Of an
// implied role that is the latest of its children's writers.
func (b balance) writer(id ID, name string) (origin int, path string) {
	at := b.outline[id]
	if at.written || len(at.children) == 0 {
		origin = b.origin(at.path, name, guaranteeOf)
		return origin, fieldPath(origin, at.path, "guarantee", name)
	}
	origin = -2
	for _, c := range at.children {
		if b.guarantees[c][name] == 0 {
			continue
		}
		if o, p := b.writer(c, name); o > origin {
			origin, path = o, p
		}
	}
	return origin, path
}

func guaranteeOf(s RoleSpec) resource.Resources { return s.Guarantee }
func unitOf(s RoleSpec) resource.Resources      { return s.Unit }
func limitOf(s RoleSpec) resource.Resources     { return s.Limit }

// origin returns the last open window that writes a role's amount of a resource, -1 when none does.
func (b balance) origin(path, name string, field func(RoleSpec) resource.Resources) int {
	for i := len(b.open) - 1; i >= 0; i-- {
		if _, ok := field(b.plan.Windows[i].Set[path])[name]; ok && b.open[i] {
			return i
		}
	}
	return -1
}

// fieldPath returns the path of a role's amount of a resource in a window or, at -1, in the base.
func fieldPath(origin int, path, field, name string) string {
	at := "roles"
	if origin >= 0 {
		at = JoinKey(JoinIndex("windows", origin), "set")
	}
	return JoinKey(JoinKey(JoinKey(at, path), field), name)
}

// during says which windows are open, nothing when none is.
func (b balance) during() string {
	var names []string
	for i, open := range b.open {
		if open {
			names = append(names, b.plan.Windows[i].Name)
		}
	}
	switch len(names) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(" (while window %s is open)", names[0])
	}
	return fmt.Sprintf(" (while windows %s are open)", strings.Join(names, ", "))
}

func quantity(name string, a resource.Amount) string {
	return name + "=" + resource.FormatValue(name, a)
}
