package placement

import (
	"slices"

	"polder.dev/polder/core/resource"
)

// class is the nodes that satisfy one set of constraints, shared by all shapes that have it.
type class struct {
	key      string
	refs     int
	matchers []matcher
	bits     bitset // nodes satisfying, cordoned ones included

	// top holds per block the largest available amount of each kind among schedulable members. It is an upper bound while
	// the block was not raised after version tight.
	top     []resource.Amount
	tight   []uint64
	domains []*domain
}

// class returns the class of a set of constraints, made on first use. The caller releases it.
func (ix *Index) class(constraints []Constraint) (*class, error) {
	key := constraintsKey(constraints)
	for _, c := range ix.classes {
		if c.key == key {
			c.refs++
			return c, nil
		}
	}
	c := &class{key: key, refs: 1}
	for _, k := range constraints {
		m, err := k.matcher()
		if err != nil {
			return nil, err
		}
		c.matchers = append(c.matchers, m)
	}
	c.resize(len(ix.ready), ix.stride)
	ix.fill(c)
	ix.classes = append(ix.classes, c)
	return c, nil
}

// fill computes the members of a new class, trying each constraint once per distinct value.
func (ix *Index) fill(c *class) {
	for id := range ix.nodes {
		if ix.nodes[id].present {
			c.bits.add(NodeID(id))
		}
	}
	for i := range c.matchers {
		m := &c.matchers[i]
		a := ix.attribute(m.Attribute)
		verdict := make([]bool, len(a.values))
		for v, text := range a.values {
			verdict[v] = a.users[v] > 0 && m.match(text, true)
		}
		without := m.match("", false)
		c.bits.each(func(id NodeID) bool {
			if v := a.of[id]; v == absent && !without || v != absent && !verdict[v] {
				c.bits.drop(id)
			}
			return true
		})
		ix.releaseAttribute(a)
	}
}

func (ix *Index) releaseClass(c *class) {
	if c.refs--; c.refs == 0 {
		ix.classes = slices.DeleteFunc(ix.classes, func(x *class) bool { return x == c })
	}
}

func (c *class) admits(n *node) bool { return c.refusal(n) < 0 }

// refusal is the index of the first constraint a node fails, or -1.
func (c *class) refusal(n *node) int {
	for i := range c.matchers {
		if m := &c.matchers[i]; !m.match(n.value(m.Attribute)) {
			return i
		}
	}
	return -1
}

func (c *class) resize(blocks, stride int) {
	c.bits, c.tight = resize(c.bits, blocks), resize(c.tight, blocks)
	c.top = resize(c.top, blocks*stride)
}

// forget drops all maxima, for rows of a new length.
func (c *class) forget(stride int) {
	clear(c.tight)
	c.top = make([]resource.Amount, len(c.tight)*stride)
}

// bounded reports whether the maxima of a block are upper bounds still. Every block is raised when its first node comes,
// so a class that never looked at it (tight 0) is not bounded there.
func (c *class) bounded(ix *Index, block int) bool { return c.tight[block] >= ix.raised[block] }

// roomy reports whether some need may fit in the block, as far as the maxima tell.
func (c *class) roomy(ix *Index, block int, needs []need) bool {
	top := c.top[block*ix.stride:]
	for _, n := range needs {
		if top[n.kind] < n.amount {
			return false
		}
	}
	return true
}

// tighten makes the maxima of a block exact.
func (c *class) tighten(ix *Index, block int) {
	top := c.top[block*ix.stride:][:ix.stride]
	for i := range top {
		top[i] = -resource.Unlimited
	}
	for w := c.bits[block] & ix.ready[block]; w != 0; w &= w - 1 {
		for i, a := range ix.row(lowest(block, w)) {
			top[i] = max(top[i], a)
		}
	}
	c.tight[block] = ix.version
}

// domain counts, for spreading, the schedulable members of a class per value of an attribute.
type domain struct {
	attribute *attribute
	members   []int32 // by value id
	refs      int
	trackers  []*tracker
}

// domain returns the domain of an attribute in c, made on first use. The caller releases it.
func (ix *Index) domain(c *class, attribute string) *domain {
	for _, d := range c.domains {
		if d.attribute.name == attribute {
			d.refs++
			return d
		}
	}
	d := &domain{attribute: ix.attribute(attribute), refs: 1}
	for b := range c.bits {
		for w := c.bits[b] & ix.ready[b]; w != 0; w &= w - 1 {
			d.count(lowest(b, w), true)
		}
	}
	c.domains = append(c.domains, d)
	return d
}

func (ix *Index) releaseDomain(c *class, d *domain) {
	if d.refs--; d.refs == 0 {
		c.domains = slices.DeleteFunc(c.domains, func(x *domain) bool { return x == d })
		ix.releaseAttribute(d.attribute)
	}
}

// count adds a member to every domain of c or takes it out; countIf does so when it is schedulable.
func (c *class) count(id NodeID, in bool) {
	for _, d := range c.domains {
		d.count(id, in)
	}
}

func (c *class) countIf(id NodeID, schedulable, in bool) {
	if schedulable {
		c.count(id, in)
	}
}

func (d *domain) count(id NodeID, in bool) {
	v := d.attribute.of[id]
	if v == absent {
		return
	}
	d.members = resize(d.members, int(v)+1)
	before := d.members[v]
	if in {
		d.members[v]++
	} else {
		d.members[v]--
	}
	if before == 0 || d.members[v] == 0 {
		for _, t := range d.trackers {
			t.stale = true
		}
	}
}
