package placement

import (
	"cmp"
	"math/bits"
	"slices"
)

// PlaceGang finds nodes for all members at once, several on one node where they fit, and returns them in the order of
// members; or nothing and false. It leaves the index as it was: the caller commits. Members with fewer nodes to go to and
// larger needs are placed first. For equal members without spread it fails only when there is no way; for mixed ones it
// may miss a way that only a search of all orders would find.
func (ix *Index) PlaceGang(members []*Compiled) ([]NodeID, bool) {
	order := ix.hardestFirst(members)
	out := make([]NodeID, len(members))
	trial := trial{ix: ix, improved: ix.improved}
	ix.trying = true
	defer trial.undo()
	for _, i := range order {
		id, ok := ix.Place(members[i])
		if !ok {
			return nil, false
		}
		out[i] = id
		trial.put(members[i], id)
	}
	return out, true
}

// hardestFirst orders members by how many nodes their constraints admit, then by the largest need beside what is free.
func (ix *Index) hardestFirst(members []*Compiled) []int {
	type rank struct {
		nodes int
		size  int64
	}
	ranks := map[*Compiled]rank{}
	for _, m := range members {
		if _, ok := ranks[m]; !ok {
			ranks[m] = rank{ix.admitted(m), ix.size(m)}
		}
	}
	order := make([]int, len(members))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := ranks[members[a]], ranks[members[b]]
		return cmp.Or(cmp.Compare(x.nodes, y.nodes), cmp.Compare(y.size, x.size))
	})
	return order
}

func (ix *Index) admitted(c *Compiled) int {
	n := 0
	for b := range ix.ready {
		n += bits.OnesCount64(ix.candidates(c, c.class, b))
	}
	return n
}

// size is the largest share that the needs of c take of the first node they may go to.
func (ix *Index) size(c *Compiled) int64 {
	largest := int64(0)
	for b := range ix.ready {
		if w := ix.candidates(c, c.class, b); w != 0 {
			recip := ix.recip[int(lowest(b, w))*ix.stride:]
			for _, n := range c.needs {
				largest = max(largest, share(n.amount, recip[n.kind]))
			}
			break
		}
	}
	return largest
}

// trial remembers what a gang took while it is tried.
type trial struct {
	ix       *Index
	improved uint64
	taken    []taken
}

type taken struct {
	shape *Compiled
	id    NodeID
	ports []uint16
}

func (t *trial) put(c *Compiled, id NodeID) {
	row := t.ix.row(id)
	for _, n := range c.needs {
		row[n.kind] = row[n.kind].Sub(n.amount)
	}
	t.ix.touch(id, false)
	var ports []uint16
	if c.totalPorts > 0 {
		ports, _ = t.ix.TakePorts(id, c.shape.HostPorts, c.shape.DynamicPorts)
	}
	t.ix.AddTask(id, c.shape.Group)
	t.taken = append(t.taken, taken{c, id, ports})
}

// undo gives everything back. What is free is then what was free before, so earlier failures stand.
func (t *trial) undo() {
	ix := t.ix
	for _, x := range slices.Backward(t.taken) {
		ix.RemoveTask(x.id, x.shape.shape.Group)
		if len(x.ports) > 0 {
			ix.ReleasePorts(x.id, x.ports)
		}
		row := ix.row(x.id)
		for _, n := range x.shape.needs {
			row[n.kind] = row[n.kind].Add(n.amount)
		}
		ix.touch(x.id, true)
	}
	ix.improved, ix.trying = t.improved, false
}
