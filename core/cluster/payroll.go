package cluster

import (
	"slices"

	"polder.dev/polder/core/role"
)

// payroll lists, by role, the units that are charged and not leaving by who pays for them and, below that, by the leaf that uses them. Every list
// has the unit that is cheapest to lose on top, so that whoever asks back looks at whom it asks and at nobody else.
type payroll [][]payList

// payList is what one role pays for in one leaf, of units with so many tasks started: of those it does not depend on the time which
// has worked longer.
type payList struct {
	leaf    role.ID
	started int
	units   ranks
}

func (p payroll) find(at, leaf role.ID, started int) (int, bool) {
	return slices.BinarySearchFunc(p[at], 0, func(l payList, _ int) int {
		if l.leaf != leaf {
			return int(l.leaf) - int(leaf)
		}
		return l.started - started
	})
}

// add enters a unit by its charge, with the rank it has now.
func (p payroll) add(u *unit) {
	r := u.ranked()
	u.started = r.started
	of := &p[u.charge.At]
	i, ok := p.find(u.charge.At, u.charge.Leaf, u.started)
	if !ok {
		*of = slices.Insert(*of, i, payList{leaf: u.charge.Leaf, started: u.started})
	}
	(*of)[i].units.push(r, u)
}

// remove takes a unit off the list of its charge.
func (p payroll) remove(u *unit) {
	i, _ := p.find(u.charge.At, u.charge.Leaf, u.started)
	l := &p[u.charge.At][i]
	l.units.take(u)
	if len(l.units) == 0 {
		p[u.charge.At] = slices.Delete(p[u.charge.At], i, i+1)
	}
}

// lastOf is the highest id in the subtree of v.
func (c *Cluster) lastOf(v role.ID) role.ID {
	for kids := c.tree.Roles[v].Children; len(kids) > 0; kids = c.tree.Roles[v].Children {
		v = kids[len(kids)-1]
	}
	return v
}
