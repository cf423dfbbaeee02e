package table

import (
	"cmp"
	"iter"
	"slices"
)

// width is the most entries of a page. What is written between two snapshots copies a page on each level: narrow ones are less to copy,
// and more levels to go down.
const width = 32

// Map is a sorted map. The zero value is empty.
type Map[K cmp.Ordered, V any] struct {
	root *page[K, V]
	size int
	own  *owner
}

// owner marks the pages that only one Map refers to. It is not empty, so that each has an address of its own.
type owner struct{ _ byte }

// page is a leaf with values, or an inner page with children; the key of a child is a lower bound of its keys. A value is never written
// to, so that a copy of a page needs no copies of what may be large.
type page[K cmp.Ordered, V any] struct {
	own      *owner
	keys     []K
	values   []*V
	children []*page[K, V]
}

func (p *page[K, V]) leaf() bool { return p.children == nil }

// Len is the number of entries.
func (m *Map[K, V]) Len() int { return m.size }

// Snapshot returns a copy that later writes to m do not touch.
func (m *Map[K, V]) Snapshot() Map[K, V] {
	m.own = nil
	return Map[K, V]{root: m.root, size: m.size}
}

// Get returns the value under a key.
func (m *Map[K, V]) Get(key K) (V, bool) {
	var none V
	p := m.root
	if p == nil {
		return none, false
	}
	for !p.leaf() {
		p = p.children[p.child(key)]
	}
	i, ok := slices.BinarySearch(p.keys, key)
	if !ok {
		return none, false
	}
	return *p.values[i], true
}

// Set puts a value under a key.
func (m *Map[K, V]) Set(key K, value V) {
	if m.root == nil {
		m.root = &page[K, V]{own: m.owner()}
	}
	m.root = m.writable(m.root)
	if m.set(m.root, key, &value) {
		m.size++
	}
	if len(m.root.keys) > width {
		left := m.root
		right := m.split(left)
		m.root = &page[K, V]{own: m.own, keys: []K{left.keys[0], right.keys[0]}, children: []*page[K, V]{left, right}}
	}
}

// Delete removes a key and reports whether it was there.
func (m *Map[K, V]) Delete(key K) bool {
	if _, ok := m.Get(key); !ok {
		return false
	}
	m.root = m.writable(m.root)
	m.remove(m.root, key)
	m.size--
	for !m.root.leaf() && len(m.root.children) == 1 {
		m.root = m.root.children[0]
	}
	if len(m.root.keys) == 0 {
		m.root = nil
	}
	return true
}

// All goes through the entries in order of key.
func (m *Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if m.root != nil {
			m.root.walk(nil, yield)
		}
	}
}

// After goes through the entries with a key greater than the given one, in order.
func (m *Map[K, V]) After(key K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if m.root != nil {
			m.root.walk(&key, yield)
		}
	}
}

// walk yields the entries above after, all when it is nil. It returns false when the reader has enough.
func (p *page[K, V]) walk(after *K, yield func(K, V) bool) bool {
	from := 0
	if after != nil && p.leaf() {
		i, found := slices.BinarySearch(p.keys, *after)
		if from = i; found {
			from++
		}
	} else if after != nil {
		from = p.child(*after)
	}
	for i := from; i < len(p.keys); i++ {
		if p.leaf() {
			if !yield(p.keys[i], *p.values[i]) {
				return false
			}
			continue
		}
		if !p.children[i].walk(after, yield) {
			return false
		}
		after = nil
	}
	return true
}

// child is the index of the child that holds the key, if any does.
func (p *page[K, V]) child(key K) int {
	i, found := slices.BinarySearch(p.keys, key)
	if found {
		return i
	}
	return max(0, i-1)
}

func (m *Map[K, V]) owner() *owner {
	if m.own == nil {
		m.own = new(owner)
	}
	return m.own
}

// writable returns p, or a copy of it when a snapshot may refer to it.
func (m *Map[K, V]) writable(p *page[K, V]) *page[K, V] {
	own := m.owner()
	if p.own == own {
		return p
	}
	return &page[K, V]{own: own, keys: roomy(p.keys), values: roomy(p.values), children: roomy(p.children)}
}

// roomy is a copy that takes one more without another; nil stays nil.
func roomy[T any](list []T) []T {
	if list == nil {
		return nil
	}
	return append(make([]T, 0, len(list)+1), list...)
}

// set writes below a writable page and reports whether the key is new.
func (m *Map[K, V]) set(p *page[K, V], key K, value *V) bool {
	if p.leaf() {
		i, found := slices.BinarySearch(p.keys, key)
		if found {
			p.values[i] = value
			return false
		}
		p.keys = slices.Insert(p.keys, i, key)
		p.values = slices.Insert(p.values, i, value)
		return true
	}
	i := p.child(key)
	p.keys[i] = min(p.keys[i], key)
	p.children[i] = m.writable(p.children[i])
	added := m.set(p.children[i], key, value)
	if len(p.children[i].keys) > width {
		right := m.split(p.children[i])
		p.keys = slices.Insert(p.keys, i+1, right.keys[0])
		p.children = slices.Insert(p.children, i+1, right)
	}
	return added
}

// split cuts a writable page in two and returns the right part.
func (m *Map[K, V]) split(p *page[K, V]) *page[K, V] {
	half := len(p.keys) / 2
	right := &page[K, V]{own: m.own, keys: slices.Clone(p.keys[half:])}
	p.keys = slices.Delete(p.keys, half, len(p.keys))
	if p.leaf() {
		right.values = slices.Clone(p.values[half:])
		p.values = slices.Delete(p.values, half, len(p.values))
		return right
	}
	right.children = slices.Clone(p.children[half:])
	p.children = slices.Delete(p.children, half, len(p.children))
	return right
}

// remove deletes a key that is there from below a writable page; pages that become empty go.
func (m *Map[K, V]) remove(p *page[K, V], key K) {
	if p.leaf() {
		i, _ := slices.BinarySearch(p.keys, key)
		p.keys = slices.Delete(p.keys, i, i+1)
		p.values = slices.Delete(p.values, i, i+1)
		return
	}
	i := p.child(key)
	p.children[i] = m.writable(p.children[i])
	m.remove(p.children[i], key)
	if len(p.children[i].keys) == 0 {
		p.keys = slices.Delete(p.keys, i, i+1)
		p.children = slices.Delete(p.children, i, i+1)
	}
}
