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

	// top holds per block the largest available amount of each kind among schedulable members. It is an upper bound as of
	// version tight: only nodes raised since may have more.
	top     []resource.Amount
	tight   []uint64
	domains []*domain

	attributes []*attribute // of the constraints, kept interned for the next class that reads them
}

// class returns the class of a set of constraints, made on first use. The caller releases it.
func (ix *Index) class(constraints []Constraint) (*class, error) {
	key := constraintsKey(constraints)
	for _, c := range ix.classes {
		if c.key == key {
			if c.refs++; c.refs == 1 {
				ix.spare = slices.DeleteFunc(ix.spare, func(x *class) bool { return x == c })
			}
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
	copy(c.bits, ix.present)
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
		c.attributes = append(c.attributes, a)
	}
}

// maxSpare is how many classes that no shape has are kept: to fill one takes a look at every node, and what comes one by one
// is alike.
const maxSpare = 8

func (ix *Index) releaseClass(c *class) {
	if c.refs--; c.refs == 0 {
		ix.spare = append(ix.spare, c)
		ix.trim(maxSpare)
	}
}

// trim forgets all but the n spare classes used last.
func (ix *Index) trim(n int) {
	for len(ix.spare) > n {
		c := ix.spare[0]
		ix.spare = slices.Delete(ix.spare, 0, 1)
		ix.classes = slices.DeleteFunc(ix.classes, func(x *class) bool { return x == c })
		for _, a := range c.attributes {
			ix.releaseAttribute(a)
		}
	}
}

// firstMismatch is the index of the first constraint a node fails, or -1.
func firstMismatch(ms []matcher, n *node) int {
	for i := range ms {
		if m := &ms[i]; !m.match(n.value(m.Attribute)) {
			return i
		}
	}
	return -1
}

// lastingMismatch is firstMismatch among the constraints that do not pass by themselves.
func lastingMismatch(ms []matcher, n *node) int {
	for i := range ms {
		if m := &ms[i]; m.Passing == "" && !m.match(n.value(m.Attribute)) {
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

// roomy reports whether a member of the block may have what is needed, as far as the maxima tell.
func (c *class) roomy(ix *Index, block int, needs []need) bool {
	if !c.bounded(ix, block) {
		return true
	}
	top := c.top[block*ix.stride:]
	for _, n := range needs {
		if top[n.kind] < n.amount {
			return false
		}
	}
	return true
}

// bounded makes the maxima of a block upper bounds again when few nodes were raised since, and reports whether they are.
func (c *class) bounded(ix *Index, block int) bool {
	news := ix.news(block, c.tight[block])
	if news == 0 {
		return true
	}
	if news == everyNode {
		return false
	}
	c.include(ix, block, news)
	return true
}

// include raises the maxima of a block to what the given nodes have.
func (c *class) include(ix *Index, block int, nodes uint64) {
	top := c.top[block*ix.stride:][:ix.stride]
	for w := nodes & c.bits[block] & ix.ready[block]; w != 0; w &= w - 1 {
		for i, a := range ix.row(lowest(block, w)) {
			top[i] = max(top[i], a)
		}
	}
	c.tight[block] = ix.version
}

// tighten makes the maxima of a block exact, unless they are.
func (c *class) tighten(ix *Index, block int) {
	if ix.changed[block] <= c.tight[block] {
		return
	}
	top := c.top[block*ix.stride:][:ix.stride]
	for i := range top {
		top[i] = -resource.Unlimited
	}
	c.include(ix, block, everyNode)
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
