package cluster

import (
	"slices"

	"polder.dev/polder/core/role"
)

// payroll lists the units that are charged and not leaving by who pays for them and, below that, by the leaf that uses them:
// deepening looks for units that shallow roles pay for in one subtree, and must not look at everybody's.
type payroll map[role.ID][]payList

// payList is what one role pays for in one leaf; the order of the units has no meaning but is the same every time.
type payList struct {
	leaf  role.ID
	units []*unit
}

func (p payroll) find(at, leaf role.ID) (int, bool) {
	return slices.BinarySearchFunc(p[at], leaf, func(l payList, id role.ID) int { return int(l.leaf) - int(id) })
}

// add enters a unit by its charge.
func (p payroll) add(u *unit) {
	i, ok := p.find(u.charge.At, u.charge.Leaf)
	if !ok {
		p[u.charge.At] = slices.Insert(p[u.charge.At], i, payList{leaf: u.charge.Leaf})
	}
	l := &p[u.charge.At][i]
	u.slot = len(l.units)
	l.units = append(l.units, u)
}

// remove takes a unit off the list of its charge.
func (p payroll) remove(u *unit) {
	i, _ := p.find(u.charge.At, u.charge.Leaf)
	l := &p[u.charge.At][i]
	last := len(l.units) - 1
	l.units[u.slot], l.units[last].slot = l.units[last], u.slot
	l.units[last] = nil
	l.units = l.units[:last]
	if last == 0 {
		p[u.charge.At] = slices.Delete(p[u.charge.At], i, i+1)
	}
}

// each visits the units that at pays for in the leaves from first to last.
func (p payroll) each(at, first, last role.ID, visit func(*unit)) {
	i, _ := p.find(at, first)
	for _, l := range p[at][i:] {
		if l.leaf > last {
			return
		}
		for _, u := range l.units {
			visit(u)
		}
	}
}

// all visits everything that at pays for.
func (p payroll) all(at role.ID, visit func(*unit)) { p.each(at, 0, 1<<30, visit) }

// lastOf is the highest id in the subtree of v.
func (c *Cluster) lastOf(v role.ID) role.ID {
	for kids := c.tree.Roles[v].Children; len(kids) > 0; kids = c.tree.Roles[v].Children {
		v = kids[len(kids)-1]
	}
	return v
}
