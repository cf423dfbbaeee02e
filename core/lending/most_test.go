package lending

import (
	"testing"

	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
)

// TestMost: what Most and Spare allow is exactly what Try and Room take, kind by kind: not a unit less, not a unit more.
func TestMost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBookkeeper(rt)
		for range rapid.IntRange(0, 30).Draw(rt, "acts") {
			b.act()
		}
		for range 10 {
			b.most(b.drawCharge())
		}
	})
}

func (b *bookkeeper) most(c Charge) {
	for i := range c.Amount {
		c.Amount[i] += resource.Amount(rapid.IntRange(0, 20).Draw(b.rt, "more"))
	}
	before := b.l.Version()
	most, spare := make(resource.Vector, kinds), make(resource.Vector, kinds)
	b.l.Most(c, most)
	b.l.Spare(c.Leaf, c.Amount, spare)
	if b.l.Version() != before {
		b.fatalf("asking how much %+v may be changed the book", c)
	}
	for i := range c.Amount {
		fundable := func(n resource.Amount) bool {
			one := c
			one.Amount = make(resource.Vector, kinds)
			one.Amount[i] = n
			if b.l.Try(one) != nil {
				return false
			}
			b.l.Remove(one)
			return true
		}
		roomy := func(n resource.Amount) bool {
			x := make(resource.Vector, kinds)
			x[i] = n
			return b.l.Room(c.Leaf, x) == nil
		}
		for _, x := range []struct {
			what  string
			got   resource.Amount
			takes func(resource.Amount) bool
		}{{"most", most[i], fundable}, {"spare", spare[i], roomy}} {
			want := resource.Amount(0)
			for want < c.Amount[i] && x.takes(want+1) {
				want++
			}
			if x.got != want {
				b.fatalf("%s of kind %d for %+v is %d, the rules take %d", x.what, i, c, x.got, want)
			}
		}
	}
}
