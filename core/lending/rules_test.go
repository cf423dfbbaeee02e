package lending

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// act does one random thing to both books; every answer of the ledger is checked against the letter of the contract.
func (b *bookkeeper) act() {
	switch rapid.IntRange(0, 12).Draw(b.rt, "act") {
	case 0, 1, 2:
		b.try(b.drawCharge())
	case 3, 4:
		b.fund(b.drawCharge(), rapid.Bool().Draw(b.rt, "pinned"))
	case 5:
		b.deepen()
	case 6:
		c := b.drawCharge()
		b.l.Add(c)
		b.charged = append(b.charged, c)
	case 7:
		if c, ok := take(b.rt, &b.charged); ok {
			b.l.Remove(c)
		}
	case 8:
		if c, ok := take(b.rt, &b.charged); ok {
			b.l.Leave(c)
			b.leaving = append(b.leaving, c)
		}
	case 9:
		if c, ok := take(b.rt, &b.leaving); ok {
			b.l.Return(c)
			b.charged = append(b.charged, c)
		}
	case 10:
		if c, ok := take(b.rt, &b.leaving); ok {
			b.l.Gone(c)
		}
	case 11:
		b.capacity = drawVector(b.rt, 24, "capacity")
		b.l.SetCapacity(b.capacity)
	case 12:
		b.occupy()
	}
}

func (b *bookkeeper) occupy() {
	if c, ok := take(b.rt, &b.running); ok && rapid.Bool().Draw(b.rt, "vacate") {
		b.l.Vacate(c.Leaf, c.Amount)
		return
	} else if ok {
		b.running = append(b.running, c)
	}
	c := b.drawCharge()
	b.room(c)
	b.l.Occupy(c.Leaf, c.Amount)
	b.running = append(b.running, c)
}

// room checks that a limit refuses exactly what would exceed it, and names the nearest role whose limit it is.
func (b *bookkeeper) room(c Charge) {
	got := b.l.Room(c.Leaf, c.Amount)
	for id := c.Leaf; id != role.Root; id = b.tree.Roles[id].Parent {
		for i, x := range c.Amount {
			have := b.quota(id).Limit[i].Sub(b.used(id, i))
			if x == 0 || x <= have {
				continue
			}
			want := Refusal{Rule: RuleLimit, Role: id, Kind: resource.Kind(i), Need: x, Have: max(0, have)}
			if got == nil || *got != want {
				b.fatalf("room for %v: refused %+v, want %+v", c, got, want)
			}
			return
		}
	}
	if got != nil {
		b.fatalf("room for %v: refused %+v though every limit holds", c, got)
	}
}

// try checks that a charge is taken exactly when no rule breaks, and that a refusal changes nothing and names the nearest
// role, the kind, what was needed and what would have been possible.
func (b *bookkeeper) try(c Charge) {
	before, clean := dump(b.l), b.allSound()
	why := b.l.Try(c)
	bad := b.violations(c)
	if (why == nil) != (len(bad) == 0) {
		b.fatalf("%+v: refused %+v, the contract says %+v", c, why, bad)
	}
	if why == nil {
		b.charged = append(b.charged, c)
		if after := b.allSound(); clean && !after {
			b.fatalf("%+v was taken and some rule is broken now", c)
		}
		return
	}
	if dump(b.l) != before {
		b.fatalf("refusing %+v changed the ledger from\n%s", c, before)
	}
	b.named(c, why, bad[0])
	if clean {
		b.possible(c, why)
	}
}

func (b *bookkeeper) named(c Charge, why *Refusal, v violation) {
	if why.Role != v.at || int(why.Kind) != v.kind || why.Need != c.Amount[v.kind] || why.Hold != c.Hold {
		b.fatalf("%+v: refused %+v, the first rule broken is %+v", c, why, v)
	}
	q := b.quota(v.at)
	want := RuleHold
	switch {
	case v.inflow && q.Limit[v.kind].Sub(q.Guarantee[v.kind]) < q.Borrow[v.kind]:
		want = RuleLimit
	case v.inflow:
		want = RuleBorrow
	case v.at == c.Leaf:
		want = RuleGuarantee
	}
	if why.Rule != want {
		b.fatalf("%+v: refused as %s, want %s", c, why.Rule, want)
	}
}

// possible checks that Have is what would just have been taken of that kind at that role.
func (b *bookkeeper) possible(c Charge, why *Refusal) {
	one := func(x resource.Amount) Charge {
		less := c
		less.Amount = make(resource.Vector, kinds)
		less.Amount[why.Kind] = x
		return less
	}
	broken := func(x resource.Amount) bool {
		for _, v := range b.violations(one(x)) {
			if v.at == why.Role {
				return true
			}
		}
		return false
	}
	if broken(why.Have) || !broken(why.Have+1) {
		b.fatalf("%+v: refused %+v, but what role %s has left is not %v", c, why, b.tree.Roles[why.Role].Path, why.Have)
	}
}

// fund checks that a charge is funded at the deepest role where every rule stays true.
func (b *bookkeeper) fund(c Charge, pinned bool) {
	before := dump(b.l)
	want := role.None
	for id := c.Leaf; id != role.None && want == role.None; id = b.tree.Roles[id].Parent {
		c.At = id
		if len(b.violations(c)) == 0 {
			want = id
		}
		if pinned {
			break
		}
	}
	got, why := b.l.Fund(c, pinned)
	switch {
	case why == nil && got.At != want:
		b.fatalf("%+v is funded at %d, the deepest legal is %d", c, got.At, want)
	case why == nil:
		b.charged = append(b.charged, got)
	case want != role.None:
		b.fatalf("%+v could be funded at %d, refused: %+v", c, want, why)
	case dump(b.l) != before:
		b.fatalf("refusing to fund %+v changed the ledger from\n%s", c, before)
	}
}

// deepen checks that a charge moves deeper exactly when that is legal.
func (b *bookkeeper) deepen() {
	c, ok := take(b.rt, &b.charged)
	if !ok || c.At == c.Leaf {
		if ok {
			b.charged = append(b.charged, c)
		}
		return
	}
	to := c.Leaf
	for up := b.tree.Roles[to].Parent; up != c.At && rapid.Bool().Draw(b.rt, "higher"); up = b.tree.Roles[to].Parent {
		to = up
	}
	want := c
	want.At = to
	legal := len(b.violations(want)) == 0
	most := make(resource.Vector, kinds)
	b.l.Refundable(c.Hold, c.At, to, most)
	moved, done := b.l.TryRefund(c, to)
	if done && !c.Amount.Fits(most) {
		b.fatalf("refund of %+v to %d, of which no more than %v may be", c, to, most)
	}
	if done != legal || (done && moved.At != to) || (!done && moved.At != c.At) {
		b.fatalf("refund of %+v to %d: %v, legal %v", c, to, done, legal)
	}
	b.charged = append(b.charged, moved)
}

// audit compares every account with the lists, and the ledger with one that was filled from them at once.
func (b *bookkeeper) audit() {
	for id := range b.tree.Roles {
		b.auditRole(role.ID(id))
	}
	if fresh := dump(b.fresh()); fresh != dump(b.l) {
		b.fatalf("the ledger differs from a fresh one:\n%s", fresh)
	}
}

func (b *bookkeeper) auditRole(id role.ID) {
	path := b.tree.Roles[id].Path
	if b.l.Sound(id) != b.sound(id) {
		b.fatalf("role %q: sound %v, by the list of charges %v", path, b.l.Sound(id), b.sound(id))
	}
	for i := range kinds {
		worst, hold := b.excess(id, i)
		if got := b.l.Excess(id, i); got != worst {
			b.fatalf("role %q kind %d: excess %v, by the list %v", path, i, got, worst)
		}
		if h, over, broken := b.l.Breach(id, i); broken != (worst > 0) || (broken && (b.over(id, i, h) != over || h > hold)) {
			b.fatalf("role %q kind %d: breach %v by %v (%v), by the list up to %v", path, i, h, over, broken, hold)
		} else if broken && len(b.holds(id)) > 0 && b.greatest(id, i) != h {
			b.fatalf("role %q kind %d: breach at %v, the greatest hold in use that is broken is %v", path, i, h, b.greatest(id, i))
		}
		if got := b.l.Funded(id)[i]; got != b.funded(id, i) {
			b.fatalf("role %q kind %d: funded %v, by the list %v", path, i, got, b.funded(id, i))
		}
		if got := b.l.Idle(id)[i]; got != max(0, b.guarantee(id, i)-b.funded(id, i)) {
			b.fatalf("role %q kind %d: idle %v", path, i, got)
		}
		if got := b.l.Used(id)[i]; got != b.used(id, i) {
			b.fatalf("role %q kind %d: used %v, by the list %v", path, i, got, b.used(id, i))
		}
		if id == role.Root {
			continue
		}
		if got := b.l.Borrowed(id)[i]; got != b.inflow(id, i) {
			b.fatalf("role %q kind %d: borrowed %v, by the list %v", path, i, got, b.inflow(id, i))
		}
		if got := b.l.InflowExcess(id, i); got != max(0, b.inflow(id, i).Sub(b.inflowCap(id, i))) {
			b.fatalf("role %q kind %d: inflow excess %v", path, i, got)
		}
		if got := b.l.Lent(id)[i]; got < 0 || got > b.lends(id, i) {
			b.fatalf("role %q kind %d: lent %v of %v it offers", path, i, got, b.lends(id, i))
		}
	}
}

// greatest is the greatest lend grace or hold in use at which the rule is broken.
func (b *bookkeeper) greatest(id role.ID, i int) time.Duration {
	best := time.Duration(-1)
	holds := b.holds(id)
	for _, c := range b.tree.Roles[id].Children {
		holds = append(holds, b.tree.Roles[c].LendGrace)
	}
	for _, h := range holds {
		if b.over(id, i, h) > 0 {
			best = max(best, h)
		}
	}
	return best
}

// TestLedgerAgainstLists does random things to a ledger and to plain lists of charges, and compares every answer.
func TestLedgerAgainstLists(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBookkeeper(rt)
		for range rapid.IntRange(1, 30).Draw(rt, "acts") {
			b.act()
			b.audit()
		}
	})
}

// TestRoundTrips checks that whatever was charged, taking all of it away again leaves a ledger as new.
func TestRoundTrips(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBookkeeper(rt)
		blank := dump(b.l)
		for range rapid.IntRange(1, 20).Draw(rt, "charges") {
			c := b.drawCharge()
			b.l.Add(c)
			if rapid.Bool().Draw(rt, "refund") {
				c = b.l.Refund(c, role.Root)
			}
			if rapid.Bool().Draw(rt, "leave") {
				b.l.Leave(c)
				b.leaving = append(b.leaving, c)
				continue
			}
			b.charged = append(b.charged, c)
		}
		for _, c := range b.leaving {
			if rapid.Bool().Draw(rt, "return") {
				b.l.Return(c)
				b.l.Remove(c)
			} else {
				b.l.Gone(c)
			}
		}
		for _, c := range b.charged {
			b.l.Remove(c)
		}
		if after := dump(b.l); after != blank {
			b.fatalf("was:\n%s", blank)
		}
	})
}
