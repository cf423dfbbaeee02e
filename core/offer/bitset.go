package offer

// bitset is a set of node ids.
type bitset []uint64

// word is 64 members, none beyond the end.
func (s bitset) word(block int) uint64 {
	if block < len(s) {
		return s[block]
	}
	return 0
}

func (s bitset) has(i int) bool { return s.word(i/64)>>(uint(i)%64)&1 != 0 }
func (s bitset) add(i int)      { s[i/64] |= 1 << (uint(i) % 64) }

func (s bitset) drop(i int) {
	if i/64 < len(s) {
		s[i/64] &^= 1 << (uint(i) % 64)
	}
}

// reach returns s with room for n members at least.
func (s bitset) reach(n int) bitset {
	if words := (n + 63) / 64; words > len(s) {
		return append(s, make(bitset, words-len(s))...)
	}
	return s
}
