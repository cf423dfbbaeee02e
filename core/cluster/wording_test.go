package cluster

import (
	"maps"
	"testing"

	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
)

// TestWordings: however many amounts were put in words before, each is what its vector says.
func TestWordings(t *testing.T) {
	c := New()
	p := newPool(c, "east")
	rapid.Check(t, func(rt *rapid.T) {
		most := rapid.SampledFrom([]int64{2, mostWorded}).Draw(rt, "most")
		for range rapid.IntRange(1, 100).Draw(rt, "times") {
			v := make(resource.Vector, rapid.IntRange(1, c.kinds.Len()).Draw(rt, "kinds"))
			for i := range v {
				v[i] = resource.Amount(rapid.Int64Range(-most, most).Draw(rt, "amount"))
			}
			want := v.Resources(c.kinds, "east")
			got := p.put(v)
			if !maps.Equal(got.resources, want) || got.text() != want.String() {
				rt.Fatalf("%v is put as %v, %q; want %v", v, got.resources, got.text(), want)
			}
			clear(v) // who asks may go on using it
		}
		if n := len(p.worded.known); n > mostWorded {
			rt.Fatalf("%d wordings are kept", n)
		}
	})
}
