package lending

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// naive is a book without an account: lists of charges, from which every sum is taken anew.
type naive struct {
	tree     *role.Tree
	capacity resource.Vector
	charged  []Charge
	leaving  []Charge
	running  []Charge // occupied; only Leaf and Amount count
}

const kinds = 4 // every table knows cpu, memory, disk and gpu; the tests use the first two

var graces = []time.Duration{0, 10 * time.Second, 30 * time.Second, time.Minute}

func drawVector(t *rapid.T, most int, label string) resource.Vector {
	v := make(resource.Vector, kinds)
	for i := range 2 {
		v[i] = resource.Amount(rapid.IntRange(0, most).Draw(t, label))
	}
	return v
}

func vectorOf(cpu, memory int) resource.Vector {
	return resource.Vector{resource.Amount(cpu), resource.Amount(memory), 0, 0}
}

// drawTree makes a random tree of up to four levels with unequal graces, lend, borrow, limit, warm, priority and weight,
// and a capacity that holds its guarantees unless nodes are lost.
func drawTree(t *rapid.T) (*role.Tree, resource.Vector) {
	p := &role.Plan{Roles: map[string]role.RoleSpec{}}
	capacity := drawVector(t, 24, "capacity")
	var grow func(prefix string, depth int, have resource.Vector)
	grow = func(prefix string, depth int, have resource.Vector) {
		have = have.Clone(0)
		for i := range rapid.IntRange(1, 3).Draw(t, "children") {
			path := fmt.Sprintf("%sr%d", prefix, i)
			g := make(resource.Vector, kinds)
			for k := range 2 {
				g[k] = resource.Amount(rapid.IntRange(0, int(have[k])).Draw(t, "guarantee"))
			}
			have.Dec(g)
			p.Roles[path] = drawSpec(t, g)
			if depth > 0 && rapid.Bool().Draw(t, "inner") {
				grow(path+"/", depth-1, g)
			}
		}
	}
	grow("", 4, capacity)
	if ps := role.Validate(p); len(ps) > 0 {
		t.Fatalf("the generator made a bad plan: %v", ps)
	}
	tree := role.Effective(p, time.Unix(0, 0), resource.NewKinds())
	for id := range tree.Roles[1:] {
		q := tree.Roles[id+1].Quotas[""]
		for k := range 2 {
			if rapid.IntRange(0, 4).Draw(t, "warms") == 0 {
				q.Warm[k] = resource.Amount(rapid.IntRange(0, int(q.Guarantee[k])).Draw(t, "warm"))
			}
		}
	}
	if rapid.IntRange(0, 4).Draw(t, "lost") == 0 {
		capacity = capacity.Minus(drawVector(t, 6, "lost").Min(capacity))
	}
	return tree, capacity
}

func drawSpec(t *rapid.T, g resource.Vector) role.RoleSpec {
	amounts := func(v resource.Vector) resource.Resources {
		return resource.Resources{"cpu": v[0], "memory": v[1]}
	}
	lend, reclaim := role.Duration(rapid.SampledFrom(graces).Draw(t, "lendGrace")), role.Duration(0)
	prio, weight := rapid.IntRange(0, 2).Draw(t, "priority"), role.Weight(rapid.SampledFrom([]int64{500, 1000, 1000, 3000}).Draw(t, "weight"))
	s := role.RoleSpec{Guarantee: amounts(g), LendGrace: &lend, ReclaimGrace: &reclaim, Priority: &prio, Weight: &weight}
	if rapid.Bool().Draw(t, "limited") {
		s.Limit = amounts(g.Plus(drawVector(t, 8, "limit")))
	}
	if rapid.Bool().Draw(t, "borrows") {
		s.Borrow = &role.Share{Amounts: amounts(drawVector(t, 8, "borrow"))}
	}
	if rapid.Bool().Draw(t, "lends") {
		s.Lend = &role.Share{Amounts: amounts(drawVector(t, 8, "lend"))}
	}
	return s
}

func (n *naive) within(leaf, v role.ID) bool {
	for ; leaf != role.None; leaf = n.tree.Roles[leaf].Parent {
		if leaf == v {
			return true
		}
	}
	return false
}

func (n *naive) quota(id role.ID) role.Quota { return n.tree.Quota(id, "", kinds) }

func (n *naive) guarantee(id role.ID, i int) resource.Amount {
	if id == role.Root {
		return n.capacity[i]
	}
	return n.quota(id).Guarantee[i]
}

// funded is G(id).
func (n *naive) funded(id role.ID, i int) (sum resource.Amount) {
	for _, c := range n.charged {
		if n.within(c.At, id) {
			sum += c.Amount[i]
		}
	}
	return sum
}

// inflow is what the subtree holds and somebody above pays for.
func (n *naive) inflow(id role.ID, i int) (sum resource.Amount) {
	for _, c := range slices.Concat(n.charged, n.leaving) {
		if n.within(c.Leaf, id) && !n.within(c.At, id) {
			sum += c.Amount[i]
		}
	}
	return sum
}

func (n *naive) inflowCap(id role.ID, i int) resource.Amount {
	q := n.quota(id)
	return min(q.Borrow[i], q.Limit[i].Sub(q.Guarantee[i]))
}

func (n *naive) used(id role.ID, i int) (sum resource.Amount) {
	for _, c := range n.running {
		if n.within(c.Leaf, id) {
			sum += c.Amount[i]
		}
	}
	return sum
}

// lends is what role c offers its parent's market: no more than its plan says, than is idle and not kept warm, and than nobody below keeps
// to itself or has borrowed.
func (n *naive) lends(c role.ID, i int) resource.Amount {
	q := n.quota(c)
	own := n.private(c, i)
	for _, kid := range n.tree.Roles[c].Children {
		own += n.lends(kid, i)
	}
	for _, x := range n.charged {
		if x.At == c {
			own -= x.Amount[i]
		}
	}
	return max(0, min(q.Lend[i], q.Guarantee[i]-n.funded(c, i)-q.Warm[i], own))
}

func (n *naive) private(f role.ID, i int) resource.Amount {
	p := n.guarantee(f, i)
	for _, c := range n.tree.Roles[f].Children {
		p -= n.guarantee(c, i)
	}
	return p
}

// over is by how much the hold rule is broken at role f for hold h: usage funded at f held at least h, beyond what tolerates h.
func (n *naive) over(f role.ID, i int, h time.Duration) resource.Amount {
	used, supply := resource.Amount(0), n.private(f, i)
	for _, c := range n.charged {
		if c.At == f && c.Hold >= h {
			used += c.Amount[i]
		}
	}
	for _, c := range n.tree.Roles[f].Children {
		if n.tree.Roles[c].LendGrace >= h {
			supply += n.lends(c, i)
		}
	}
	return used - max(0, supply)
}

// excess is the worst over any hold in use, and the greatest hold where the rule is broken.
func (n *naive) excess(f role.ID, i int) (worst resource.Amount, hold time.Duration) {
	hold = -1
	for _, h := range append(n.holds(f), graces...) {
		over := n.over(f, i, h)
		worst = max(worst, over)
		if over > 0 {
			hold = max(hold, h)
		}
	}
	return worst, hold
}

func (n *naive) holds(f role.ID) (out []time.Duration) {
	for _, c := range n.charged {
		if c.At == f {
			out = append(out, c.Hold)
		}
	}
	return out
}

func (n *naive) sound(f role.ID) bool {
	for i := range kinds {
		if worst, _ := n.excess(f, i); worst > 0 {
			return false
		}
	}
	return true
}

func (n *naive) allSound() bool {
	for id := range n.tree.Roles {
		if !n.sound(role.ID(id)) {
			return false
		}
	}
	return true
}

// violation is the first rule a charge breaks on its way up, in the words of the contract.
type violation struct {
	at     role.ID
	kind   int
	inflow bool
}

// violations tries c by the letter of section 3: every inflow bound below its funding role, then every hold rule at and
// above it, for the kinds it uses.
func (n *naive) violations(c Charge) (out []violation) {
	for id := c.Leaf; id != c.At; id = n.tree.Roles[id].Parent {
		for i, x := range c.Amount {
			if x > 0 && n.inflow(id, i)+x > n.inflowCap(id, i) {
				out = append(out, violation{id, i, true})
			}
		}
	}
	n.charged = append(n.charged, c)
	for id := c.At; id != role.None; id = n.tree.Roles[id].Parent {
		for i, x := range c.Amount {
			if worst, _ := n.excess(id, i); x > 0 && worst > 0 {
				out = append(out, violation{id, i, false})
			}
		}
	}
	n.charged = n.charged[:len(n.charged)-1]
	return out
}

// fresh is a new ledger with the naive book's entries.
func (n *naive) fresh() *Ledger {
	l := NewLedger(n.tree, "", kinds, n.capacity)
	for _, c := range n.charged {
		l.Add(c)
	}
	for _, c := range n.leaving {
		l.Add(c)
		l.Leave(c)
	}
	for _, c := range n.running {
		l.Occupy(c.Leaf, c.Amount)
	}
	return l
}

// dump shows everything a ledger holds.
func dump(l *Ledger) string {
	out := ""
	for i := range l.accts {
		a := &l.accts[i]
		out += fmt.Sprintf("%q g=%v used=%v funded=%v inflow=%v supplied=%v private=%v", l.tree.Roles[i].Path, a.quota.Guarantee, a.used,
			a.funded, a.inflow, a.supplied, a.market.private)
		for _, lv := range a.market.levels {
			out += fmt.Sprintf(" [%s used=%v supply=%v refs=%d]", lv.hold, lv.used, lv.supply, lv.refs)
		}
		out += "\n"
	}
	return out
}

func describe(tree *role.Tree) string {
	out := ""
	for i := range tree.Roles[1:] {
		r := &tree.Roles[i+1]
		q := r.Quotas[""]
		out += fmt.Sprintf("%-12s g=%v limit=%v lend=%v borrow=%v warm=%v lendGrace=%s priority=%d weight=%d\n", r.Path, q.Guarantee[:2], q.Limit[:2],
			q.Lend[:2], q.Borrow[:2], q.Warm[:2], r.LendGrace, r.Priority, r.Weight)
	}
	return out
}

// bookkeeper acts on a ledger and on the naive book alike.
type bookkeeper struct {
	rt *rapid.T
	*naive
	l *Ledger
}

func newBookkeeper(rt *rapid.T) *bookkeeper {
	tree, capacity := drawTree(rt)
	n := &naive{tree: tree, capacity: capacity}
	return &bookkeeper{rt: rt, naive: n, l: NewLedger(tree, "", kinds, capacity)}
}

// drawCharge draws a charge of a leaf, funded anywhere on its path.
func (b *bookkeeper) drawCharge() Charge {
	var leaves []role.ID
	for id := range b.tree.Roles[1:] {
		if len(b.tree.Roles[id+1].Children) == 0 {
			leaves = append(leaves, role.ID(id+1))
		}
	}
	c := Charge{
		Leaf: rapid.SampledFrom(leaves).Draw(b.rt, "leaf"), Amount: drawVector(b.rt, 5, "amount"), Count: rapid.IntRange(1, 3).Draw(b.rt, "count"),
		Hold: rapid.SampledFrom([]time.Duration{0, 5 * time.Second, 10 * time.Second, 30 * time.Second, 2 * time.Minute}).Draw(b.rt, "hold"),
	}
	c.At = c.Leaf
	for c.At != role.Root && rapid.Bool().Draw(b.rt, "above") {
		c.At = b.tree.Roles[c.At].Parent
	}
	return c
}

func take(rt *rapid.T, from *[]Charge) (Charge, bool) {
	if len(*from) == 0 {
		return Charge{}, false
	}
	i := rapid.IntRange(0, len(*from)-1).Draw(rt, "which")
	c := (*from)[i]
	*from = slices.Delete(slices.Clone(*from), i, i+1)
	return c, true
}

func (b *bookkeeper) fatalf(format string, args ...any) {
	b.rt.Helper()
	b.rt.Fatalf("%s\n%scapacity %v\n%s", fmt.Sprintf(format, args...), describe(b.tree), b.capacity, dump(b.l))
}
