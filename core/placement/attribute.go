package placement

import "slices"

// absent is the value id of a node that lacks an attribute.
const absent int32 = -1

// attribute is one node attribute with its values interned, kept while a class or a tally reads it.
type attribute struct {
	name   string
	refs   int
	of     []int32 // value id by node id
	ids    map[string]int32
	values []string // by value id
	users  []int32  // nodes having the value; a value without users is free
	free   []int32
}

// attribute returns the named attribute, reading it from every node when it is new. The caller releases it.
func (ix *Index) attribute(name string) *attribute {
	for _, a := range ix.attributes {
		if a.name == name {
			a.refs++
			return a
		}
	}
	a := &attribute{name: name, refs: 1, ids: map[string]int32{}}
	a.resize(len(ix.nodes))
	ix.present.each(func(id NodeID) bool {
		a.enter(id, &ix.nodes[id])
		return true
	})
	ix.attributes = append(ix.attributes, a)
	return a
}

func (ix *Index) releaseAttribute(a *attribute) {
	if a.refs--; a.refs == 0 {
		ix.attributes = slices.DeleteFunc(ix.attributes, func(x *attribute) bool { return x == a })
	}
}

// value returns what a node says about an attribute.
func (n *node) value(attribute string) (string, bool) {
	if attribute == NodeAttribute {
		return n.Name, true
	}
	v, ok := n.Attributes[attribute]
	return v, ok
}

func (a *attribute) resize(n int) {
	have := len(a.of)
	a.of = resize(a.of, n)
	for i := have; i < n; i++ {
		a.of[i] = absent
	}
}

func (a *attribute) enter(id NodeID, n *node) {
	value, ok := n.value(a.name)
	if !ok {
		return
	}
	v, known := a.ids[value]
	if !known {
		v = a.intern(value)
	}
	a.users[v]++
	a.of[id] = v
}

func (a *attribute) intern(value string) int32 {
	v := int32(len(a.values))
	if n := len(a.free); n > 0 {
		v, a.free = a.free[n-1], a.free[:n-1]
	} else {
		a.values, a.users = append(a.values, ""), append(a.users, 0)
	}
	a.values[v], a.ids[value] = value, v
	return v
}

func (a *attribute) leave(id NodeID) {
	v := a.of[id]
	if v == absent {
		return
	}
	a.of[id] = absent
	if a.users[v]--; a.users[v] == 0 {
		delete(a.ids, a.values[v])
		a.values[v] = ""
		a.free = append(a.free, v)
	}
}
