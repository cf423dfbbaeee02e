package role

import (
	"fmt"
	"slices"

	"polder.dev/polder/core/resource"
)

// unit checks the size of a role's packages by itself.
func (v *validation) unit(at string, unit resource.Resources) {
	v.resources(at, unit)
	for _, name := range unit.Names() {
		if a := unit[name]; a == 0 || a == resource.Unlimited {
			v.add(JoinKey(at, name), "a package of %s is none; write an amount above 0 or leave it out", quantity(name, a))
		}
	}
}

// unpacked returns what keeps a role's guarantee from being whole packages: children, and amounts that are not the unit so many
// times, in every kind as often.
func (b balance) unpacked(id ID) []breach {
	unit, path := b.specs[id].Unit, b.outline[id].path
	if len(unit) == 0 {
		return nil
	}
	if len(b.outline[id].children) > 0 {
		origin := b.origin(path, unit.Names()[0], unitOf)
		return []breach{{"unit " + path, fieldPath(origin, path, "unit", unit.Names()[0]), fmt.Sprintf(
			"%s has roles below it, and packages are promised to a role without any: write the unit on one of those", path)}}
	}
	var out []breach
	for _, pool := range unitPools(unit) {
		out = append(out, b.unpackedIn(id, pool)...)
	}
	return out
}

// unpackedIn compares a role's guarantee in one pool with the count that its first kind says.
func (b balance) unpackedIn(id ID, pool string) []breach {
	path, unit, g := b.outline[id].path, b.specs[id].Unit, b.guarantees[id]
	var names []string
	for _, name := range slices.Concat(unit.Names(), g.Names()) {
		if in, _ := resource.SplitName(name); in == pool && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	n := resource.Amount(-1)
	for _, name := range names {
		size := unit[name]
		switch {
		case size == 0 && g[name] == 0:
			continue
		case size > 0 && g[name]%size == 0 && (n < 0 || g[name]/size == n):
			n = g[name] / size
			continue
		}
		_, at := b.writer(id, name)
		if origin := b.origin(path, name, unitOf); origin > b.origin(path, name, guaranteeOf) {
			at = fieldPath(origin, path, "unit", name)
		}
		return []breach{{"unit " + path + " " + name, at, fmt.Sprintf("%s is guaranteed %s in packages of %s: make each kind the unit so many times, every kind as often",
			path, quantity(name, g[name]), packageText(unit, pool))}}
	}
	return nil
}

// unitPools lists the pools a unit names, in order.
func unitPools(unit resource.Resources) []string {
	seen := map[string]bool{}
	for name := range unit {
		pool, _ := resource.SplitName(name)
		seen[pool] = true
	}
	return sortedKeys(seen)
}

// packageText writes what a unit has in one pool.
func packageText(unit resource.Resources, pool string) string {
	out := resource.Resources{}
	for name, a := range unit {
		if in, _ := resource.SplitName(name); in == pool {
			out[name] = a
		}
	}
	return out.String()
}

// packages returns what one package of a guarantee has in a pool, and how many there are; nil and 0 when the unit names
// nothing of the pool or the guarantee has not one.
func packages(unit resource.Resources, guarantee resource.Vector, pool string, kinds *resource.Kinds) (resource.Vector, int) {
	size, n := make(resource.Vector, kinds.Len()), -1
	for k := range size {
		size[k] = unit[resource.JoinName(pool, kinds.Name(resource.Kind(k)))]
		if size[k] > 0 {
			if many := int(guarantee[k] / size[k]); n < 0 || many < n {
				n = many
			}
		}
	}
	if n <= 0 {
		return nil, 0
	}
	return size, n
}
