package placement

import (
	"cmp"
	"slices"
)

// group is one label under which tasks count. It lives while a task counts under it or a shape reads it.
type group struct {
	key     string
	id      int32
	total   int // tasks on all nodes
	refs    int
	on      bitset // nodes that run a task of the group; nil until a shape keeps away from it
	onRefs  int
	tallies []*tally
}

// resident is how many tasks of a group one node runs.
type resident struct {
	group, count int32
}

// AddTask counts a task of the group on a node. An absent node or an empty group is no change.
func (ix *Index) AddTask(id NodeID, group string) {
	if group == "" || !ix.has(id) {
		return
	}
	g := ix.group(group)
	g.total++
	n := &ix.nodes[id]
	i, known := n.resident(g.id)
	if !known {
		n.residents = slices.Insert(n.residents, i, resident{group: g.id})
	}
	n.residents[i].count++
	g.move(id, n.residents[i].count-1, n.residents[i].count)
	if len(g.tallies) > 0 {
		ix.improve() // the least value may have risen
	}
}

// RemoveTask undoes one AddTask. A task that is not counted there is no change.
func (ix *Index) RemoveTask(id NodeID, group string) {
	g := ix.groups[group]
	if g == nil || !ix.has(id) {
		return
	}
	n := &ix.nodes[id]
	i, known := n.resident(g.id)
	if !known {
		return
	}
	g.total--
	n.residents[i].count--
	left := n.residents[i].count
	if left == 0 {
		n.residents = slices.Delete(n.residents, i, i+1)
	}
	g.move(id, left+1, left)
	if g.refs > 0 {
		ix.improve()
	}
	ix.dropGroup(g)
}

func (n *node) resident(group int32) (int, bool) {
	return slices.BinarySearchFunc(n.residents, group, func(r resident, g int32) int { return cmp.Compare(r.group, g) })
}

// runs reports whether the node runs a task of the group.
func (n *node) runs(g *group) bool {
	_, ok := n.resident(g.id)
	return ok
}

// group returns the named group, made on first use.
func (ix *Index) group(key string) *group {
	if g := ix.groups[key]; g != nil {
		return g
	}
	g := &group{key: key, id: int32(len(ix.groupIDs))}
	if n := len(ix.freeGroups); n > 0 {
		g.id, ix.freeGroups = ix.freeGroups[n-1], ix.freeGroups[:n-1]
	} else {
		ix.groupIDs = append(ix.groupIDs, nil)
	}
	ix.groupIDs[g.id], ix.groups[key] = g, g
	return g
}

// dropGroup forgets a group that nobody needs.
func (ix *Index) dropGroup(g *group) {
	if g.total == 0 && g.refs == 0 {
		ix.groupIDs[g.id] = nil
		ix.freeGroups = append(ix.freeGroups, g.id)
		delete(ix.groups, g.key)
	}
}

// watchGroup keeps the bitmap of a group's nodes for a shape that stays away from it; unwatchGroup is its inverse.
func (ix *Index) watchGroup(key string) *group {
	g := ix.group(key)
	g.refs++
	if g.onRefs++; g.onRefs == 1 {
		g.on = make(bitset, len(ix.ready))
		ix.eachResident(g, func(id NodeID, _ int32) { g.on.add(id) })
	}
	return g
}

func (ix *Index) unwatchGroup(g *group) {
	g.refs--
	if g.onRefs--; g.onRefs == 0 {
		g.on = nil
	}
	ix.dropGroup(g)
}

// eachResident visits the nodes that run tasks of g.
func (ix *Index) eachResident(g *group, f func(NodeID, int32)) {
	if g.total == 0 {
		return
	}
	for id := range ix.nodes {
		if i, ok := ix.nodes[id].resident(g.id); ok {
			f(NodeID(id), ix.nodes[id].residents[i].count)
		}
	}
}

// move follows the number of tasks of g on a node.
func (g *group) move(id NodeID, before, after int32) {
	if g.on != nil {
		g.on.put(id, after > 0)
	}
	for _, t := range g.tallies {
		t.add(t.attribute.of[id], after-before)
	}
}

// tally counts the tasks of a group per value of an attribute.
type tally struct {
	group     *group
	attribute *attribute
	counts    []int32 // by value id
	refs      int
	trackers  []*tracker
}

// tally returns the tally of a group over an attribute, made on first use. The caller releases it.
func (ix *Index) tally(key, attribute string) *tally {
	g := ix.group(key)
	g.refs++
	for _, t := range g.tallies {
		if t.attribute.name == attribute {
			t.refs++
			return t
		}
	}
	t := &tally{group: g, attribute: ix.attribute(attribute), refs: 1}
	ix.eachResident(g, func(id NodeID, n int32) { t.add(t.attribute.of[id], n) })
	g.tallies = append(g.tallies, t)
	return t
}

func (ix *Index) releaseTally(t *tally) {
	g := t.group
	g.refs--
	if t.refs--; t.refs == 0 {
		g.tallies = slices.DeleteFunc(g.tallies, func(x *tally) bool { return x == t })
		ix.releaseAttribute(t.attribute)
	}
	ix.dropGroup(g)
}

func (t *tally) add(v, delta int32) {
	if v == absent {
		return
	}
	t.counts = resize(t.counts, int(v)+1)
	before := t.counts[v]
	t.counts[v] += delta
	for _, k := range t.trackers {
		k.moved(v, before, before+delta)
	}
}

func (t *tally) at(v int32) int32 {
	if int(v) < len(t.counts) {
		return t.counts[v]
	}
	return 0
}
