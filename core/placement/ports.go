package placement

import (
	"slices"

	"polder.dev/polder/core/resource"
)

// firstPlainPort is the first port that needs no privilege to listen on.
const firstPlainPort = 1024

// portWatch is the nodes on which one port that some shape asks for by number is free.
type portWatch struct {
	port uint16
	free bitset
	refs int
}

// TakePorts takes the fixed ports and so many more of a node's free ports, and returns all of them, fixed ones first. It
// takes none and returns false when one is not free, there are too few, or the node is absent. Ports for dynamic asks are
// the lowest free ones, those below 1024 and those some shape asks for by number last.
func (ix *Index) TakePorts(id NodeID, fixed []uint16, dynamic int) ([]uint16, bool) {
	if !ix.has(id) || len(fixed)+dynamic > int(ix.free[id]) {
		return nil, false
	}
	n := &ix.nodes[id]
	for i, p := range fixed {
		if !n.free.Contains(p) || slices.Contains(fixed[:i], p) {
			return nil, false
		}
	}
	out := slices.Clone(fixed)
	for _, p := range fixed {
		n.free.Remove(p)
	}
	out = ix.takeDynamic(&n.free, dynamic, out)
	for _, p := range out {
		n.taken.Add(p)
	}
	ix.portsChanged(id, out, false)
	return out, true
}

// takeDynamic moves n ports out of free and onto out.
func (ix *Index) takeDynamic(free *resource.PortSet, n int, out []uint16) []uint16 {
	var wanted []uint16 // kept for later while others last
	for ; n > 0; n-- {
		port, ok := free.Take(1)
		for ok && (port[0] < firstPlainPort || ix.watch(port[0]) != nil) {
			wanted = append(wanted, port[0])
			port, ok = free.Take(1)
		}
		if !ok {
			break
		}
		out = append(out, port[0])
	}
	out = append(out, wanted[:n]...)
	for _, p := range wanted[n:] {
		free.Add(p)
	}
	return out
}

// HoldPorts marks ports as taken whatever the node declares, for tasks that run already. An absent node is no change.
func (ix *Index) HoldPorts(id NodeID, ports []uint16) {
	if !ix.has(id) {
		return
	}
	n := &ix.nodes[id]
	for _, p := range ports {
		n.free.Remove(p)
		n.taken.Add(p)
	}
	ix.portsChanged(id, ports, false)
}

// ReleasePorts gives taken ports back; those that are not taken are skipped, as is an absent node.
func (ix *Index) ReleasePorts(id NodeID, ports []uint16) {
	if !ix.has(id) {
		return
	}
	n := &ix.nodes[id]
	for _, p := range ports {
		if n.taken.Remove(p) && n.Ports.Contains(p) {
			n.free.Add(p)
		}
	}
	ix.portsChanged(id, ports, true)
}

// portsChanged brings counts and watches up to date after a change of a node's free ports.
func (ix *Index) portsChanged(id NodeID, ports []uint16, released bool) {
	n := &ix.nodes[id]
	ix.free[id] = int32(n.free.Len())
	for _, p := range ports {
		if w := ix.watch(p); w != nil {
			w.free.put(id, n.free.Contains(p))
		}
	}
	if released {
		ix.touch(id, true)
	}
}

// watch finds the watch of a port, nil when no shape asks for it.
func (ix *Index) watch(port uint16) *portWatch {
	if i, ok := ix.searchWatch(port); ok {
		return ix.watches[i]
	}
	return nil
}

func (ix *Index) searchWatch(port uint16) (int, bool) {
	return slices.BinarySearchFunc(ix.watches, port, func(w *portWatch, p uint16) int { return int(w.port) - int(p) })
}

// watchPort keeps the bitmap of a port for one more shape; unwatchPort is its inverse.
func (ix *Index) watchPort(port uint16) *portWatch {
	i, ok := ix.searchWatch(port)
	if !ok {
		w := &portWatch{port: port, free: make(bitset, len(ix.ready))}
		ix.present.each(func(id NodeID) bool {
			if ix.nodes[id].free.Contains(port) {
				w.free.add(id)
			}
			return true
		})
		ix.watches = slices.Insert(ix.watches, i, w)
	}
	ix.watches[i].refs++
	return ix.watches[i]
}

func (ix *Index) unwatchPort(w *portWatch) {
	if w.refs--; w.refs == 0 {
		i, _ := ix.searchWatch(w.port)
		ix.watches = slices.Delete(ix.watches, i, i+1)
	}
}

// removePorts takes all of gone out of p.
func removePorts(p *resource.PortSet, gone resource.PortSet) {
	for gone = gone.Clone(); gone.Len() > 0; {
		port, _ := gone.Take(1)
		p.Remove(port[0])
	}
}
