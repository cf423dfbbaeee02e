package placement

import (
	"maps"
	"math"
	"math/bits"
	"slices"

	"polder.dev/polder/core/resource"
)

// NodeID is the dense index the caller gives a node: small, not negative, reused or with holes as it likes. Memory grows
// with the largest id.
type NodeID int32

// Node is what the index knows about a node beside what changes with every task.
type Node struct {
	Name       string
	Attributes resource.Attributes
	// Capacity is what the node has when nothing runs on it.
	Capacity resource.Vector
	// Ports are the host ports tasks may have.
	Ports resource.PortSet
	// Schedulable is false on a cordoned node: nothing new goes there.
	Schedulable bool
}

// Strategy says which of the nodes that fit is best.
type Strategy string

const (
	// Pack prefers the node that is fullest afterwards and, among equals, low ids, so that whole machines stay empty.
	Pack Strategy = "pack"
	// Even prefers the node that is emptiest afterwards in what the task needs, and looks at other nodes each time.
	Even Strategy = "even"
)

// Options tune an [Index]. The zero value packs.
type Options struct {
	Strategy Strategy
	// Sample is how many nodes that fit are compared before the best is taken; 0 means 16. When fewer fit, all are compared.
	Sample int
}

const defaultSample = 16

// Index finds nodes of one pool. See the package comment for the promise it makes.
type Index struct {
	kinds   *resource.Kinds
	options Options

	nodes   []node // by id
	count   int    // nodes present
	present bitset
	ready   bitset // present and schedulable
	stride  int    // amounts per node in avail and recip, at least the length of every vector seen
	avail   []resource.Amount
	recip   []uint64 // 2^64/capacity per amount; 0 where capacity is zero or beyond counting
	free    []int32  // host ports free

	// version counts changes. A raise is a change to a node that could let a task in. changed and raised hold, per block, the
	// version of the last change and of the last raise; recent the nodes raised after version since. improved is the version
	// of the last raise, or change of groups, anywhere.
	version                uint64
	changed, raised, since []uint64
	recent                 bitset
	improved               uint64
	cursor                 NodeID // where Even starts looking; a hint
	trying                 bool   // a gang is being tried: failures are not worth remembering

	attributes []*attribute
	classes    []*class
	spare      []*class // those of classes that no shape has, the longest unused first
	groups     map[string]*group
	groupIDs   []*group // by group id; nil where free
	freeGroups []int32
	watches    []*portWatch
	compiled   map[string]*Compiled
	idle       idleShapes
	key        []byte // room for the key of a shape that is compiled
}

// node is the part of a node that placing seldom reads.
type node struct {
	Node
	free      resource.PortSet // Ports without taken
	taken     resource.PortSet
	residents []resident // sorted by group id
}

// NewIndex returns an index without nodes. It reads kind names from kinds, which its caller may go on extending.
func NewIndex(kinds *resource.Kinds, o Options) *Index {
	if o.Sample <= 0 {
		o.Sample = defaultSample
	}
	return &Index{
		kinds: kinds, options: o, stride: kinds.Len(),
		groups: map[string]*group{}, compiled: map[string]*Compiled{},
	}
}

// Len is the number of nodes present, cordoned ones included.
func (ix *Index) Len() int { return ix.count }

// Set adds a node or changes one. A new node has all its capacity available, its ports free and no tasks; a known node
// keeps what is available, its taken ports and its tasks. A negative id panics.
func (ix *Index) Set(id NodeID, n Node) {
	ix.grow(int(id)/blockSize+1, len(n.Capacity))
	at := &ix.nodes[id]
	known := ix.present.has(id)
	if known {
		ix.detach(id)
	}
	n.Attributes, n.Capacity, n.Ports = maps.Clone(n.Attributes), slices.Clone(n.Capacity), n.Ports.Clone()
	at.Node = n
	ix.present.add(id)
	at.free = n.Ports.Clone()
	removePorts(&at.free, at.taken)
	ix.setReciprocals(id)
	if !known {
		copy(ix.row(id), n.Capacity)
	}
	ix.attach(id)
}

// Remove takes a node away with all that was counted on it. An absent node is no change.
func (ix *Index) Remove(id NodeID) {
	if !ix.has(id) {
		return
	}
	ix.detach(id)
	residents := ix.nodes[id].residents
	ix.nodes[id] = node{}
	ix.present.drop(id)
	clear(ix.row(id))
	for _, r := range residents {
		g := ix.groupIDs[r.group]
		g.total -= int(r.count)
		ix.dropGroup(g)
	}
}

// SetSchedulable cordons a node or lifts the cordon. An absent node is no change.
func (ix *Index) SetSchedulable(id NodeID, schedulable bool) {
	if !ix.has(id) || ix.nodes[id].Schedulable == schedulable {
		return
	}
	ix.nodes[id].Schedulable = schedulable
	ix.ready.put(id, schedulable)
	ix.touch(id, true)
	for _, c := range ix.classes {
		if c.bits.has(id) {
			c.count(id, schedulable)
		}
	}
}

// SetAvailable says what ordinary placements may take of a node from now on. Negative amounts let in nothing that needs
// the kind. An absent node is no change.
func (ix *Index) SetAvailable(id NodeID, v resource.Vector) {
	if !ix.has(id) {
		return
	}
	if len(v) > ix.stride {
		ix.grow(0, len(v))
	}
	row := ix.row(id)
	raised, changed := false, false
	for i := range row {
		a := v.At(i)
		raised = raised || a > row[i]
		changed = changed || a != row[i]
		row[i] = a
	}
	if changed {
		ix.touch(id, raised)
	}
}

// Available is what SetAvailable was last told. The vector is the index's own: read it, do not keep it.
func (ix *Index) Available(id NodeID) resource.Vector { return ix.row(id) }

func (ix *Index) has(id NodeID) bool {
	return id >= 0 && int(id) < len(ix.nodes) && ix.present.has(id)
}

// row is what is available on a node, by kind.
func (ix *Index) row(id NodeID) []resource.Amount {
	i := int(id) * ix.stride
	return ix.avail[i : i+ix.stride : i+ix.stride]
}

// touch records a change of what a node can take; raised when it may now take something it could not before.
func (ix *Index) touch(id NodeID, raised bool) {
	ix.version++
	ix.changed[id/blockSize] = ix.version
	if !raised {
		return
	}
	b := int(id) / blockSize
	if bits.OnesCount64(ix.recent[b]) >= maxRecent {
		ix.recent[b], ix.since[b] = 0, ix.version-1
	}
	ix.recent.add(id)
	ix.raised[b], ix.improved = ix.version, ix.version
}

// maxRecent is how many raised nodes of a block are remembered before the memory starts over.
const maxRecent = 8

// everyNode is all nodes of a block.
const everyNode = ^uint64(0)

// news is the nodes of a block that may have been raised after version seen: none, some, or everyNode when that is
// forgotten.
func (ix *Index) news(block int, seen uint64) uint64 {
	switch {
	case ix.raised[block] <= seen:
		return 0
	case ix.since[block] <= seen:
		return ix.recent[block]
	}
	return everyNode
}

// improve records a change of groups, which may let a task in somewhere.
func (ix *Index) improve() {
	ix.version++
	ix.improved = ix.version
}

// attach enters a node into attributes, classes, groups and port watches; detach is its inverse.
func (ix *Index) attach(id NodeID) {
	n := &ix.nodes[id]
	ix.count++
	ix.free[id] = int32(n.free.Len())
	ix.ready.put(id, n.Schedulable)
	for _, a := range ix.attributes {
		a.enter(id, n)
	}
	for _, c := range ix.classes {
		if firstMismatch(c.matchers, n) < 0 {
			c.bits.add(id)
			c.countIf(id, n.Schedulable, true)
		}
	}
	for _, r := range n.residents {
		ix.groupIDs[r.group].move(id, 0, r.count)
	}
	for _, w := range ix.watches {
		w.free.put(id, n.free.Contains(w.port))
	}
	ix.touch(id, true)
}

func (ix *Index) detach(id NodeID) {
	n := &ix.nodes[id]
	for _, w := range ix.watches {
		w.free.drop(id)
	}
	for _, r := range n.residents {
		ix.groupIDs[r.group].move(id, r.count, 0)
	}
	for _, c := range ix.classes {
		if c.bits.has(id) {
			c.countIf(id, n.Schedulable, false)
			c.bits.drop(id)
		}
	}
	for _, a := range ix.attributes {
		a.leave(id)
	}
	ix.ready.drop(id)
	ix.count--
	ix.touch(id, true) // fewer domains may let a spread task in elsewhere
}

// setReciprocals prepares the division by a node's capacity that scoring does.
func (ix *Index) setReciprocals(id NodeID) {
	for i := range ix.stride {
		c, r := ix.nodes[id].Capacity.At(i), uint64(0)
		if c > 0 && c < maxScored {
			r = math.MaxUint64 / uint64(c)
		}
		ix.recip[int(id)*ix.stride+i] = r
	}
}

// grow makes room for so many blocks of nodes and kinds. Blocks double; a wider stride lays every row out anew.
func (ix *Index) grow(blocks, kinds int) {
	have := len(ix.ready)
	if blocks > have {
		blocks = max(blocks, 2*have)
	} else {
		blocks = have
	}
	if stride := max(kinds, ix.stride); stride > ix.stride {
		ix.avail = widen(ix.avail, ix.stride, stride)
		ix.recip = widen(ix.recip, ix.stride, stride)
		ix.stride = stride
		for _, c := range ix.classes {
			c.forget(stride)
		}
	}
	if blocks == have {
		return
	}
	n := blocks * blockSize
	ix.nodes, ix.free = resize(ix.nodes, n), resize(ix.free, n)
	ix.avail, ix.recip = resize(ix.avail, n*ix.stride), resize(ix.recip, n*ix.stride)
	ix.present, ix.ready, ix.recent = resize(ix.present, blocks), resize(ix.ready, blocks), resize(ix.recent, blocks)
	ix.changed, ix.raised, ix.since = resize(ix.changed, blocks), resize(ix.raised, blocks), resize(ix.since, blocks)
	for _, a := range ix.attributes {
		a.resize(n)
	}
	for _, c := range ix.classes {
		c.resize(blocks, ix.stride)
	}
	for _, g := range ix.groupIDs {
		if g != nil && g.on != nil {
			g.on = resize(g.on, blocks)
		}
	}
	for _, w := range ix.watches {
		w.free = resize(w.free, blocks)
	}
	for _, c := range ix.compiled {
		if c.maybe == nil {
			continue
		}
		c.maybe, c.seen = resize(c.maybe, blocks), resize(c.seen, blocks)
	}
}

// widen lays rows of length from out as rows of length to.
func widen[T any](s []T, from, to int) []T {
	out := make([]T, len(s)/from*to)
	for i := 0; i*from < len(s); i++ {
		copy(out[i*to:], s[i*from:(i+1)*from])
	}
	return out
}

// FreePorts are the host ports of a node that nobody has taken.
func (ix *Index) FreePorts(id NodeID) resource.PortSet { return ix.nodes[id].free.Clone() }
