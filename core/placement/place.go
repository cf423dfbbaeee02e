package placement

import (
	"math"
	"math/bits"

	"polder.dev/polder/core/resource"
)

// A score adds up, per kind, what would be left of a node's capacity in parts of whole; a preference of weight 100 counts
// as much as all kinds together, a task too many for a soft spread as much as a preference of softSpreadWeight.
const (
	wholeBits        = 10
	whole            = 1 << wholeBits
	softSpreadWeight = 25
	maxScored        = resource.Amount(1) << (63 - wholeBits) // capacities from here on are not scored
)

// manyNodes is from how many nodes of a block on its maxima are worth a look, and worth making exact after it disappointed.
const manyNodes = 8

// maxCrowded is how many nodes that break a spread are tried for the sake of preferences and soft spreads.
const maxCrowded = 512

// search is the state of one Place.
type search struct {
	shape *Compiled
	from  NodeID // where to start looking
	// within makes soft spreads count as hard.
	within  bool
	found   int // nodes compared in this pass
	crowded int // nodes that spreads may still refuse before the pass is given up
	last    NodeID
	best    NodeID
	score   int64
}

// Place returns the best node for one task among the first [Options.Sample] that fit, among all of them when fewer do. It
// finds one whenever one exists, changes nothing, and does not allocate. Equal nodes go by lower id.
//
// A shape with preferences or soft spreads is looked up among the nodes that meet each of them first, so a rare preferred
// node is not missed unless hundreds before it break a spread.
func (ix *Index) Place(c *Compiled) (NodeID, bool) {
	if ix.Full(c) {
		return 0, false
	}
	if c.maybe == nil {
		c.maybe, c.seen = make(bitset, len(ix.ready)), make([]uint64, len(ix.ready))
	}
	s := search{shape: c, from: ix.cursor, score: math.MinInt64}
	for i := range c.spreads {
		c.spreads[i].refresh()
		s.from = c.cursor
	}
	for i := range c.preferences {
		ix.sample(&s, c.preferences[i].met, maxCrowded)
	}
	if c.soft {
		s.within = true
		ix.sample(&s, c.class, maxCrowded)
		s.within = false
	}
	if !c.soft || s.found < ix.options.Sample {
		ix.sample(&s, c.class, math.MaxInt)
	}
	if s.score == math.MinInt64 {
		if !ix.trying {
			c.failedAt = ix.improved + 1
		}
		return 0, false
	}
	if c.cursor = s.last + 1; ix.options.Strategy == Even {
		ix.cursor = c.cursor
	}
	return s.best, true
}

// Full reports whether no node takes a shape, as far as that is known: [Index.Place] would find none, and not look.
func (ix *Index) Full(c *Compiled) bool { return c.failedAt == ix.improved+1 }

// sample compares the first nodes of a class that fit, from s.from on and round.
func (ix *Index) sample(s *search, k *class, crowded int) {
	s.found, s.crowded = 0, crowded
	blocks := len(ix.ready)
	if blocks == 0 {
		return
	}
	start := int(s.from) / blockSize % blocks
	head := uint64(everyNode) << (uint(s.from) % blockSize) // of the first block; the rest of it comes last
	if ix.visit(s, k, start, head) {
		return
	}
	for b := start + 1; b < blocks; b++ {
		if ix.visit(s, k, b, everyNode) {
			return
		}
	}
	for b := range start {
		if ix.visit(s, k, b, everyNode) {
			return
		}
	}
	if head != everyNode {
		ix.visit(s, k, start, ^head)
	}
}

// visit tries the nodes of one block and reports whether the pass is over.
func (ix *Index) visit(s *search, k *class, block int, mask uint64) bool {
	c := s.shape
	maybe := c.maybe[block] | ix.news(block, c.seen[block])
	if maybe == 0 {
		return false
	}
	w := ix.candidates(c, k, block) & maybe & mask
	if bits.OnesCount64(w) >= manyNodes && !k.roomy(ix, block, c.needs) {
		if k == c.class {
			c.maybe[block], c.seen[block] = 0, ix.version
		}
		return false
	}
	w = s.uncrowded(block, w)
	tried, held := bits.OnesCount64(w), false
	for ; w != 0 && s.found < ix.options.Sample; w &= w - 1 {
		id := lowest(block, w)
		if !ix.holds(c, id) {
			maybe &^= w & -w
			continue
		}
		held = true
		ix.compare(s, id)
	}
	c.maybe[block], c.seen[block] = maybe&c.class.bits[block]&ix.ready[block], ix.version
	if tried >= manyNodes && !held {
		k.tighten(ix, block)
	}
	return s.found == ix.options.Sample || s.crowded <= 0
}

// candidates is the nodes of a block that pass every filter that is a bitmap.
func (ix *Index) candidates(c *Compiled, k *class, block int) uint64 {
	w := k.bits[block] & ix.ready[block]
	for _, p := range c.ports {
		w &= p.free[block]
	}
	for _, g := range c.keepOff {
		w &^= g.on[block]
	}
	return w
}

// lowest is the node of the lowest bit of a block's word.
func lowest(block int, w uint64) NodeID {
	return NodeID(block*blockSize + bits.TrailingZeros64(w))
}

// holds reports whether a node's available amounts and number of free ports suffice.
func (ix *Index) holds(c *Compiled, id NodeID) bool {
	row := ix.row(id)
	for _, n := range c.needs {
		if row[n.kind] < n.amount {
			return false
		}
	}
	return c.totalPorts <= ix.free[id]
}

// uncrowded is the given nodes of a block that keep the hard spreads, and the soft ones when within.
func (s *search) uncrowded(block int, w uint64) uint64 {
	all := bits.OnesCount64(w)
	for i := range s.shape.spreads {
		if sp := &s.shape.spreads[i]; sp.hard || s.within {
			w = sp.admit(block, w)
		}
	}
	s.crowded -= all - bits.OnesCount64(w)
	return w
}

// compare counts a node as found and keeps the better of it and the best so far.
func (ix *Index) compare(s *search, id NodeID) {
	s.last = id
	s.found++
	if score := ix.scoreOf(s.shape, id); score > s.score || score == s.score && id < s.best {
		s.best, s.score = id, score
	}
}

func (ix *Index) scoreOf(c *Compiled, id NodeID) int64 {
	score := ix.fit(c, id)
	all := int64(whole * ix.stride)
	for i := range c.preferences {
		if p := &c.preferences[i]; p.met.bits.has(id) {
			score += p.weight * all / 50 // fit spans from -all to all
		}
	}
	for i := range c.spreads {
		sp := &c.spreads[i]
		if sp.hard {
			continue
		}
		if skew, ok := sp.skew(id); !ok {
			score -= 4 * softSpreadWeight * all / 50
		} else if skew > sp.maxSkew {
			score -= int64(skew-sp.maxSkew) * softSpreadWeight * all / 50
		}
	}
	return score
}

// fit scores what is left of a node. What is left of kinds the task does not need counts against the node under either
// strategy: that keeps cpu work off gpu machines.
func (ix *Index) fit(c *Compiled, id NodeID) int64 {
	i := int(id) * ix.stride
	row, recip := ix.avail[i:i+ix.stride], ix.recip[i:i+ix.stride]
	score := int64(0)
	for k, a := range row {
		score -= share(a, recip[k])
	}
	for _, n := range c.needs {
		a, r := row[n.kind], recip[n.kind]
		score += share(a, r)
		if left := share(a.Sub(n.amount), r); ix.options.Strategy == Even {
			score += left
		} else {
			score -= left
		}
	}
	return score
}

// share is an amount as a part of the capacity whose reciprocal is given, in 1/whole, 0 to whole.
func share(a resource.Amount, recip uint64) int64 {
	if a <= 0 || recip == 0 {
		return 0
	}
	hi, _ := bits.Mul64(uint64(min(a, maxScored-1))<<wholeBits, recip)
	return int64(min(hi, whole))
}
