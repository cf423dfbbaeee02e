package placement

import "math/bits"

// blockSize is how many nodes share one word of a bitmap and one set of maxima.
const blockSize = 64

// bitset is a set of node ids, one word a block. The index keeps all its bitsets long enough for every node.
type bitset []uint64

func (s bitset) has(id NodeID) bool { return s[id/blockSize]>>(uint(id)%blockSize)&1 != 0 }
func (s bitset) add(id NodeID)      { s[id/blockSize] |= 1 << (uint(id) % blockSize) }
func (s bitset) drop(id NodeID)     { s[id/blockSize] &^= 1 << (uint(id) % blockSize) }

func (s bitset) put(id NodeID, in bool) {
	if in {
		s.add(id)
	} else {
		s.drop(id)
	}
}

// each calls f with the members of s in ascending order until f returns false.
func (s bitset) each(f func(NodeID) bool) {
	for b, w := range s {
		for ; w != 0; w &= w - 1 {
			if !f(NodeID(b*blockSize + bits.TrailingZeros64(w))) {
				return
			}
		}
	}
}

// resize returns s with room for n elements at least, new ones zero.
func resize[T any](s []T, n int) []T {
	if n <= len(s) {
		return s
	}
	return append(s, make([]T, n-len(s))...)
}
