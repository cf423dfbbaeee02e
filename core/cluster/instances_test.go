package cluster

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestInstances: whatever is entered and taken out, instances show what a plain map would.
func TestInstances(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var s instances
		plain := map[int]*task{}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			x := &task{index: rapid.IntRange(0, 3).Draw(rt, "index")}
			if rapid.Bool().Draw(rt, "in") {
				s.put(x)
				plain[x.index] = x
			} else {
				if old := plain[x.index]; old != nil && rapid.Bool().Draw(rt, "the one that is there") {
					x = old
					delete(plain, x.index)
				}
				s.drop(x)
			}
			var want []*task
			for i := range 4 {
				if s.at(i) != plain[i] {
					rt.Fatalf("at %d is not what was entered last", i)
				}
				if plain[i] != nil {
					want = append(want, plain[i])
				}
			}
			if got := s.inOrder(); s.len() != len(plain) || !slices.Equal(got, want) {
				rt.Fatalf("%d tasks, in order %v; want %v", s.len(), got, slices.Sorted(maps.Keys(plain)))
			}
		}
	})
}
