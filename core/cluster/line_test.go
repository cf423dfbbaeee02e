package cluster

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestLine compares a line with a plain list.
func TestLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l line
		var want []*class
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			if i := rapid.IntRange(-5, len(want)-1).Draw(t, "who leaves"); i >= 0 {
				l.leave(want[i])
				want = slices.Delete(want, i, i+1)
			} else {
				want = append(want, &class{})
				l.join(want[len(want)-1])
			}
			if got := slices.Collect(l.all()); !slices.Equal(got, want) {
				t.Fatalf("%d stand in line, not %d, or in another order", len(got), len(want))
			}
		}
		for cl := range l.all() { // whoever is visited may leave
			l.leave(cl)
		}
		if l != (line{}) {
			t.Fatal("somebody is left")
		}
	})
}
