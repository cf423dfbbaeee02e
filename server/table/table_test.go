package table

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestAgainstMap writes at random and compares the map and every snapshot with a plain Go map.
func TestAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m Map[int, int]
		want := map[int]int{}
		type frozen struct {
			Map[int, int]
			want map[int]int
		}
		var snaps []frozen
		for range rapid.IntRange(1, 800).Draw(t, "steps") {
			key := rapid.IntRange(0, 500).Draw(t, "key")
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				if len(snaps) < 8 {
					snaps = append(snaps, frozen{m.Snapshot(), maps.Clone(want)})
				}
			case 1, 2, 3:
				_, had := want[key]
				if m.Delete(key) != had {
					t.Fatalf("Delete(%d) is not %v", key, had)
				}
				delete(want, key)
			default:
				m.Set(key, len(want))
				want[key] = len(want)
			}
		}
		check(t, m, want)
		for _, s := range snaps {
			check(t, s.Map, s.want)
		}
	})
}

func check(t *rapid.T, m Map[int, int], want map[int]int) {
	t.Helper()
	if m.Len() != len(want) {
		t.Fatalf("Len is %d, want %d", m.Len(), len(want))
	}
	keys := slices.Sorted(maps.Keys(want))
	var got []int
	for k, v := range m.All() {
		if w, ok := want[k]; !ok || w != v {
			t.Fatalf("%d is %d, want %d", k, v, w)
		}
		got = append(got, k)
	}
	if !slices.Equal(got, keys) {
		t.Fatalf("keys are %v, want %v", got, keys)
	}
	from := rapid.IntRange(-1, 501).Draw(t, "from")
	var after []int
	for k := range m.After(from) {
		after = append(after, k)
	}
	i, found := slices.BinarySearch(keys, from)
	if found {
		i++
	}
	if !slices.Equal(after, keys[i:]) {
		t.Fatalf("after %d come %v, want %v", from, after, keys[i:])
	}
	for k := range 501 {
		if v, ok := m.Get(k); ok != (slices.Contains(keys, k)) || v != want[k] {
			t.Fatalf("Get(%d) is %d, %v", k, v, ok)
		}
	}
}

func TestAscendingKeysStayReadable(t *testing.T) {
	var m Map[int, int]
	for i := range 10_000 {
		m.Set(i, i)
		if i >= 100 {
			m.Delete(i - 100)
		}
	}
	if m.Len() != 100 {
		t.Fatalf("Len is %d, want 100", m.Len())
	}
	for k := range m.After(9_998) {
		if k != 9_999 {
			t.Fatalf("after 9998 comes %d", k)
		}
	}
}
