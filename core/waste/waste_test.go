package waste

import (
	"fmt"
	"math/big"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

var names = resource.NewKinds()

var epoch = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func anyQuantity(t *rapid.T, name string) Quantity {
	return Over(resource.Amount(rapid.Int64Min(0).Draw(t, name)), time.Duration(rapid.Int64Min(0).Draw(t, name+"For")))
}

func whole(q Quantity) *big.Int {
	out := new(big.Int).SetUint64(q.hi)
	return out.Add(out.Lsh(out, 64), new(big.Int).SetUint64(q.lo))
}

// TestQuantity compares the arithmetic with that of big numbers.
func TestQuantity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyQuantity(t, "a"), anyQuantity(t, "b")
		if got, want := whole(a.Plus(b)), new(big.Int).Add(whole(a), whole(b)); got.Cmp(want) != 0 {
			t.Fatalf("%v + %v = %v, want %v", a, b, got, want)
		}
		if got, want := a.Less(b), whole(a).Cmp(whole(b)) < 0; got != want {
			t.Fatalf("%v < %v is %v", a, b, got)
		}
		want := new(big.Int).Sub(whole(a), whole(b))
		if want.Sign() < 0 {
			want.SetInt64(0)
		}
		if got := whole(a.Minus(b)); got.Cmp(want) != 0 {
			t.Fatalf("%v - %v = %v, want %v", a, b, got, want)
		}
		d := time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "d"))
		x := resource.Amount(rapid.Int64Range(0, 1<<60).Draw(t, "x"))
		if got := Over(x, d).Mean(d); got != x {
			t.Fatalf("%v for %v is on average %v", x, d, got)
		}
		scale := rapid.SampledFrom([]int64{1, 1000}).Draw(t, "scale")
		exact := new(big.Rat).SetFrac(whole(a), big.NewInt(scale*1e9))
		if got, ok := new(big.Rat).SetString(a.Text(scale)); !ok || got.Cmp(exact) != 0 {
			t.Fatalf("%v is written %s", a, a.Text(scale))
		}
	})
}

// TestSpread checks that nothing is lost, nobody takes more than they can, and everybody takes their part, but for rounding.
func TestSpread(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 6).Draw(t, "n")
		most, got := make([]Quantity, n), make([]Quantity, n)
		all := new(big.Int)
		for i := range most {
			if rapid.Bool().Draw(t, "some") {
				most[i] = anyQuantity(t, "most")
			}
			all.Add(all, whole(most[i]))
		}
		total := anyQuantity(t, "total")
		over := spread(total, make([]Quantity, n), func(i int) Quantity { return most[i] }, func(i int, q Quantity) { got[i] = got[i].Plus(q) })
		sum := whole(over)
		given := new(big.Int).Sub(whole(total), whole(over))
		for i, q := range got {
			sum.Add(sum, whole(q))
			if most[i].Less(q) {
				t.Fatalf("%d takes %v, it can take %v", i, q, most[i])
			}
			fair := new(big.Int).Mul(given, whole(most[i]))
			if all.Sign() > 0 {
				fair.Div(fair, all)
			}
			if off := fair.Sub(fair, whole(q)); off.CmpAbs(slack(given)) > 0 {
				t.Fatalf("%d of %v takes %v, which is %v off its part of %v", i, most, q, off, given)
			}
		}
		if sum.Cmp(whole(total)) != 0 {
			t.Fatalf("%v becomes %v and %v over", total, got, over)
		}
		if !over.IsZero() && given.Cmp(all) != 0 {
			t.Fatalf("%v is over, %v of %v was taken", over, given, all)
		}
	})
}

// slack is what rounding may cost: a part in 2⁶⁰, and one for each taker.
func slack(of *big.Int) *big.Int { return new(big.Int).Add(new(big.Int).Rsh(of, 60), big.NewInt(8)) }

// market is a book of one pool with the given cpu, and roles written "path guarantee lend", lend being "-" for all of it.
func market(t *testing.T, cpus int, lines ...string) (*Book, *Pool, *role.Tree) {
	t.Helper()
	plan := &role.Plan{Roles: map[string]role.RoleSpec{}}
	for _, l := range lines {
		f := strings.Fields(l)
		var s role.RoleSpec
		s.Guarantee, _ = resource.Parse("cpu=" + f[1])
		if f[2] != "-" {
			lend, _ := resource.Parse("cpu=" + f[2])
			s.Lend = &role.Share{Amounts: lend}
		}
		plan.Roles[f[0]] = s
	}
	kinds := resource.NewKinds()
	tree := role.Effective(plan, epoch, kinds)
	b := NewBook(epoch)
	p := b.Retree("", tree, kinds.Len())
	all := resource.Vector{resource.Amount(cpus) * 1000}
	p.Restock(&Stock{Capacity: all, Free: all})
	return b, p, tree
}

func (p *Pool) lease(leaf, payer string, cpus int) Lease {
	id, _ := p.tree.WorkRole(leaf)
	at, _ := p.tree.Lookup(payer)
	return Lease{Leaf: id, Payer: at, Amount: resource.Vector{resource.Amount(cpus) * 1000}}
}

func text(r Report) string {
	var b strings.Builder
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "%q has %s + %s, used %s, lent %s, idle %s\n", row.Role, row.Guarantee.Text(1000), row.Borrowed.Text(1000), row.Used.Text(1000),
			row.Lent.Text(1000), row.Idled().Text(1000))
	}
	return b.String()
}

// TestLentInProportion has two lenders and one who does not lend; a market's own part comes first.
func TestLentInProportion(t *testing.T) {
	b, p, _ := market(t, 20, "a 4 -", "b 8 -", "c 2 0", "d 2 -")
	p.Begin(p.lease("d", "d", 2))
	p.Begin(p.lease("d", "", 10)) // 4 of them are promised to nobody
	free := resource.Vector{8000}
	p.Restock(&Stock{Capacity: resource.Vector{20000}, Free: free})
	got := text(b.Report(time.Time{}, epoch.Add(10*time.Second), names))
	want := `"" has 200 + 0, used 120, lent 0, idle 80
"a" has 40 + 0, used 0, lent 20, idle 20
"b" has 80 + 0, used 0, lent 40, idle 40
"c" has 20 + 0, used 0, lent 0, idle 20
"d" has 20 + 100, used 120, lent 0, idle 0
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestReadingChangesNothing reads a book over and over while another is left alone.
func TestReadingChangesNothing(t *testing.T) {
	read, p, _ := market(t, 10, "a 4 -", "b 6 -")
	alone, q, _ := market(t, 10, "a 4 -", "b 6 -")
	at := epoch
	for i := range 1000 {
		at = at.Add(time.Duration(i%7) * 100 * time.Millisecond)
		read.Advance(at)
		alone.Advance(at)
		for _, x := range []*Pool{p, q} {
			if l := x.lease("a", []string{"", "a"}[i/2%2], 1+i/2%3); i%2 == 0 {
				x.Begin(l)
			} else {
				x.End(l)
			}
		}
		read.Report(at.Add(-time.Minute), at, names)
	}
	if a, b := text(read.Report(time.Time{}, at, names)), text(alone.Report(time.Time{}, at, names)); a != b {
		t.Errorf("read\n%sleft alone\n%s", a, b)
	}
}

// TestMemory checks what a report can begin with after three days, and that a role that is gone is forgotten with a day.
func TestMemory(t *testing.T) {
	b, p, _ := market(t, 10, "a 4 -", "b 6 -")
	p.Begin(p.lease("b", "b", 1))
	for at := epoch; at.Before(epoch.Add(72 * time.Hour)); at = at.Add(30 * time.Second) {
		if b.Advance(at); at.Equal(epoch.Add(time.Hour)) {
			_, other, _ := market(t, 10, "a 4 -")
			b.Retree("", other.tree, other.kinds)
		}
	}
	now := time.Unix(0, b.now).UTC()
	for _, c := range []struct{ ago, from time.Duration }{{0, 5 * time.Minute}, {time.Minute, 5 * time.Minute}, {17 * time.Minute, 20 * time.Minute},
		{90 * time.Minute, 2 * time.Hour}, {23*time.Hour + 1, 24 * time.Hour}, {40 * time.Hour, 72 * time.Hour}} {
		from := b.Report(now.Add(-c.ago), now, names).From
		if want := now.Truncate(5 * time.Minute).Add(5*time.Minute - c.from); c.ago < time.Hour && !from.Equal(want) {
			t.Errorf("a report since %s ago begins at %s, want %s", c.ago, from, want)
		}
		if from.After(now.Add(-c.ago)) || now.Sub(from) > c.from {
			t.Errorf("a report since %s ago begins %s ago, want at most %s", c.ago, now.Sub(from), c.from)
		}
	}
	if len(b.marks) > 12+24 {
		t.Errorf("%d marks are kept", len(b.marks))
	}
	if got := text(b.Report(time.Time{}, now, names)); strings.Contains(got, `"b"`) {
		t.Errorf("role b is gone for 71 hours and still in the book:\n%s", got)
	}
}

// BenchmarkClose closes an interval in which everything of 300 and 3,000 roles moved.
func BenchmarkClose(b *testing.B) {
	for _, roles := range []int{300, 3000} {
		b.Run(fmt.Sprint("roles=", roles), func(b *testing.B) {
			plan := &role.Plan{Roles: map[string]role.RoleSpec{}}
			for i := range roles {
				plan.Roles[fmt.Sprintf("t%d/m%d/r%d", i%12, i%60, i)] = role.RoleSpec{Guarantee: resource.Resources{"cpu": 4000, "memory": 1 << 34}}
			}
			kinds := resource.NewKinds()
			p := NewBook(epoch).Retree("", role.Effective(plan, epoch, kinds), kinds.Len())
			all := resource.Vector{resource.Amount(roles) * 5000, resource.Amount(roles) << 35}
			free := resource.Vector{resource.Amount(roles) * 3000, resource.Amount(roles) * (3 << 33)}
			p.Restock(&Stock{Capacity: all, Free: free})
			for i := range roles {
				l := p.lease(fmt.Sprintf("t%d/m%d/r%d", i%12, i%60, i), "", 2)
				l.Amount = append(l.Amount, 1<<33)
				p.Begin(l)
			}
			for b.Loop() {
				p.book.Advance(time.Unix(0, p.now).Add(10 * time.Second))
				p.changes()
			}
		})
	}
}

// TestSentence checks that the parts of a sentence add up, and what is left out.
func TestSentence(t *testing.T) {
	d := time.Hour
	r := Row{Resource: "cpu", Account: Account{Guarantee: Over(48000+2000, d), Used: Over(43104, d)}}
	r.Idle[NoDemand], r.Idle[NotLent], r.Idle[Missing] = Over(2928, d), Over(1968, d), Over(2000, d)
	if got, want := r.Sentence(d), "10.2 % of 48 cpu idled in the last 1h: 6.1 % no demand, 4.1 % not lent; another 2 was guaranteed but nodes are missing for it"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r = Row{Role: "a", Resource: "memory", Account: Account{Guarantee: Over(3<<30, d)}}
	r.Idle[NoDemand], r.Idle[NotLent], r.Idle[NoFit] = Over(1<<30, d), Over(1<<30, d), Over(1<<30, d)
	if got, want := r.Sentence(d), "100 % of the 3Gi memory of a idled in the last 1h: 33.4 % not lent, 33.3 % fits no node, 33.3 % no demand"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestReasonsAreDocumented reads the table of docs/waste.md: the same codes in the same order.
func TestReasonsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/waste.md")
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(string(page), -1) {
		codes = append(codes, m[1])
	}
	var want []string
	for _, r := range Reasons() {
		want = append(want, r.String())
	}
	if !slices.Equal(codes, want) {
		t.Errorf("docs/waste.md has %v, want %v", codes, want)
	}
}
