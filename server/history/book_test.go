package history

import (
	"fmt"
	"iter"
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// TestAgainstList: a line is what the samples since it was last absent said, as many as are kept.
func TestAgainstList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Book
		type entry struct {
			at time.Time
			f  Figures
		}
		want := map[Key][]entry{}
		for i := range rapid.IntRange(0, 3*keep).Draw(t, "samples") {
			now := start.Add(time.Duration(i) * Every)
			sample := map[Key]Figures{}
			for r := range 3 {
				key := Key{fmt.Sprint("role-", r), "cpu"}
				if rapid.IntRange(0, 100).Draw(t, "absent") == 0 {
					delete(want, key)
					continue
				}
				sample[key] = Figures{Own: float32(i), Lent: float32(r)}
				want[key] = append(want[key], entry{now, sample[key]})
			}
			b.Add(now, maps.All(sample))
		}
		for r := range 3 {
			key := Key{fmt.Sprint("role-", r), "cpu"}
			times, figures := b.Line(key)
			w := want[key][max(0, len(want[key])-keep):]
			if len(times) != len(w) || len(figures) != len(w) {
				t.Fatalf("%v: %d times, %d figures, want %d", key, len(times), len(figures), len(w))
			}
			for i := range w {
				if times[i] != w[i].at || figures[i] != w[i].f {
					t.Fatalf("%v at %d: %v %v, want %v", key, i, times[i], figures[i], w[i])
				}
			}
		}
	})
}

// TestBounded: beyond the bound no line is begun.
func TestBounded(t *testing.T) {
	var b Book
	many := func(n int) iter.Seq2[Key, Figures] {
		return func(yield func(Key, Figures) bool) {
			for i := range n {
				if !yield(Key{fmt.Sprint("role-", i), "cpu"}, Figures{}) {
					return
				}
			}
		}
	}
	b.Add(start, many(most+5))
	if len(b.lines) != most {
		t.Errorf("%d lines, want %d", len(b.lines), most)
	}
	b.Add(start.Add(Every), many(1))
	if len(b.lines) != 1 {
		t.Errorf("%d lines of roles that are gone are kept", len(b.lines)-1)
	}
}
