package placement

import "polder.dev/polder/core/resource"

// Compiled is a [Shape] made ready for one index. It follows the index: nodes, tasks and ports that come and go need no
// compiling anew. Equal shapes share one.
type Compiled struct {
	shape Shape
	key   string
	refs  int
	idle  bool // in the index's ring of idle shapes, used again meanwhile or not

	class       *class
	matchers    []matcher // of the shape's constraints, in its order
	needs       []need
	ports       []*portWatch
	totalPorts  int32 // fixed and dynamic
	keepOff     []*group
	spreads     []spread
	soft        bool // some spread is not hard
	preferences []preference

	failedAt uint64 // version at which no node fitted, plus one
	cursor   NodeID // where to start looking, for spreads: the next value is likely ahead

	// maybe, nil before the first Place, holds, by block, the nodes that may hold the task as far as amounts and the number of free ports go; the others
	// did not at version seen, nor since unless raised.
	maybe bitset
	seen  []uint64
}

// need is a positive amount of one kind.
type need struct {
	kind   int
	amount resource.Amount
}

type preference struct {
	met    *class // satisfies the constraints and this preference
	weight int64
}

// Compile makes a shape ready. Every Compile is paid back by one [Index.Release]. It fails as [Shape.Validate] does.
func (ix *Index) Compile(s Shape) (*Compiled, error) {
	ix.key = s.appendKey(ix.key[:0])
	if c := ix.compiled[string(ix.key)]; c != nil {
		c.refs++
		return c, nil
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	ix.grow(0, len(s.Need))
	c := &Compiled{shape: s.clone(), key: string(ix.key), refs: 1, totalPorts: int32(len(s.HostPorts) + s.DynamicPorts)}
	c.needs = make([]need, 0, len(s.Need))
	for i, a := range s.Need {
		if a > 0 {
			c.needs = append(c.needs, need{i, a})
		}
	}
	if err := ix.link(c); err != nil {
		return nil, err
	}
	ix.compiled[c.key] = c
	return c, nil
}

// link takes what c shares with other shapes.
func (ix *Index) link(c *Compiled) (err error) {
	s := &c.shape
	if c.class, err = ix.class(s.Constraints); err != nil {
		return err
	}
	for _, k := range s.Constraints {
		m, err := k.matcher()
		if err != nil {
			return err
		}
		c.matchers = append(c.matchers, m)
	}
	for _, p := range s.Preferences {
		met, err := ix.class(append(s.Constraints[:len(s.Constraints):len(s.Constraints)], p.Constraint))
		if err != nil {
			return err
		}
		c.preferences = append(c.preferences, preference{met, int64(p.Weight)})
	}
	for _, p := range s.HostPorts {
		c.ports = append(c.ports, ix.watchPort(p))
	}
	for _, key := range s.AntiAffinity {
		c.keepOff = append(c.keepOff, ix.watchGroup(key))
	}
	for _, sp := range s.Spread {
		t := ix.tracker(c.class, s.Group, sp.Attribute)
		c.spreads = append(c.spreads, spread{tracker: t, maxSkew: int32(min(sp.MaxSkew, 1<<30)), hard: sp.Hard})
		c.soft = c.soft || !sp.Hard
	}
	return nil
}

// Release lets go of a compiled shape, which must not be used afterwards. Once everyone who compiled it has released it, it is forgotten, or kept for a while
// when it is nothing but amounts.
func (ix *Index) Release(c *Compiled) {
	c.refs--
	switch {
	case c.refs > 0 || c.idle:
	case c.plain():
		ix.idle.keep(ix, c)
	default:
		ix.forget(c)
	}
}

// plain reports whether a shape is nothing but amounts: kept, it costs memory only.
func (c *Compiled) plain() bool {
	return len(c.matchers)+len(c.preferences)+len(c.ports)+len(c.keepOff)+len(c.spreads) == 0 && c.totalPorts == 0 && c.shape.Group == ""
}

// forget gives back what c shares with other shapes.
func (ix *Index) forget(c *Compiled) {
	delete(ix.compiled, c.key)
	for _, sp := range c.spreads {
		ix.releaseTracker(c.class, sp.tracker)
	}
	for _, g := range c.keepOff {
		ix.unwatchGroup(g)
	}
	for _, w := range c.ports {
		ix.unwatchPort(w)
	}
	for _, p := range c.preferences {
		ix.releaseClass(p.met)
	}
	ix.releaseClass(c.class)
}

// maxIdle is how many plain shapes that nobody uses are kept: what schedulers claim one by one is alike, and to compile is a tenth of a claim.
const maxIdle = 256

// idleShapes are the plain shapes that were released last. One that is compiled again stays in its place until its turn to leave comes.
type idleShapes struct {
	ring [maxIdle]*Compiled
	next int
}

func (s *idleShapes) keep(ix *Index, c *Compiled) {
	c.idle = true
	s.ring[s.next], c = c, s.ring[s.next]
	s.next = (s.next + 1) % maxIdle
	if c == nil {
		return
	}
	if c.idle = false; c.refs == 0 {
		ix.forget(c)
	}
}

// Shape returns what c was compiled from; the caller does not change it.
func (c *Compiled) Shape() Shape { return c.shape }
