package lending

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// The hold rule is Hall's condition of a matching: charges funded at a role are to be covered by its private part and by the
// children that tolerate their hold. Here the matching itself is looked for, as a maximum flow, with no hold value compared
// to any sum.

// flow is a network with capacities between numbered vertices.
type flow [][]resource.Amount

func newFlow(n int) flow {
	f := make(flow, n)
	for i := range f {
		f[i] = make([]resource.Amount, n)
	}
	return f
}

// push finds one path from s to t with capacity left and sends what it takes along it; zero when there is none.
func (f flow) push(s, t int) resource.Amount {
	from := slices.Repeat([]int{-1}, len(f))
	from[s] = s
	for queue := []int{s}; len(queue) > 0 && from[t] < 0; queue = queue[1:] {
		for v, left := range f[queue[0]] {
			if left > 0 && from[v] < 0 {
				from[v] = queue[0]
				queue = append(queue, v)
			}
		}
	}
	if from[t] < 0 {
		return 0
	}
	least := resource.Unlimited
	for v := t; v != s; v = from[v] {
		least = min(least, f[from[v]][v])
	}
	for v := t; v != s; v = from[v] {
		f[from[v]][v] -= least
		f[v][from[v]] += least
	}
	return least
}

func (f flow) maximum(s, t int) (sum resource.Amount) {
	for x := f.push(s, t); x > 0; x = f.push(s, t) {
		sum += x
	}
	return sum
}

// covered reports whether everything funded at role f finds a lender for kind i.
func (n *naive) covered(f role.ID, i int) bool {
	var charges []Charge
	for _, c := range n.charged {
		if c.At == f {
			charges = append(charges, c)
		}
	}
	kids := n.tree.Roles[f].Children
	source, sink, private := 0, 1, 2
	net := newFlow(3 + len(charges) + len(kids))
	net[private][sink] = n.private(f, i)
	for k, c := range kids {
		net[3+k][sink] = n.lends(c, i)
	}
	total := resource.Amount(0)
	for j, c := range charges {
		v := 3 + len(kids) + j
		net[source][v], net[v][private] = c.Amount[i], resource.Unlimited/4
		total += c.Amount[i]
		for k, kid := range kids {
			if n.tree.Roles[kid].LendGrace >= c.Hold {
				net[v][3+k] = resource.Unlimited / 4
			}
		}
	}
	return net.maximum(source, sink) == total
}

// TestHoldRuleIsAMatching checks that a market is sound exactly when every charge finds lenders that tolerate its hold.
func TestHoldRuleIsAMatching(t *testing.T) {
	sound, broken := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		b := newBookkeeper(rt)
		for range rapid.IntRange(1, 12).Draw(rt, "charges") {
			c := b.drawCharge()
			if rapid.IntRange(0, 3).Draw(rt, "force") == 0 {
				b.l.Add(c)
			} else if b.l.Try(c) != nil {
				continue
			}
			b.charged = append(b.charged, c)
		}
		for id := range b.tree.Roles {
			f := role.ID(id)
			for i := range 2 {
				if b.private(f, i) < 0 {
					continue // nodes are lost: no network has a supply below zero
				}
				_, over, bad := b.l.Breach(f, i)
				if bad == b.covered(f, i) {
					b.fatalf("role %q kind %d: broken %v (by %v), all charges covered: %v", b.tree.Roles[f].Path, i, bad, over, !bad)
				}
				if bad {
					broken++
				} else if b.l.Funded(f)[i] > 0 {
					sound++
				}
			}
		}
	})
	if sound < 20 || broken < 20 {
		t.Errorf("the generator draws too little of one kind: %d sound markets in use, %d broken", sound, broken)
	}
}

// TestHoldRuleByHand is the rule in numbers a reader can follow: ten of guarantee lent by a child that tolerates ten seconds and
// five by one that tolerates a minute.
func TestHoldRuleByHand(t *testing.T) {
	quota := func(g int) map[string]role.Quota {
		unlimited := resource.Vector{resource.Unlimited, resource.Unlimited, resource.Unlimited, resource.Unlimited}
		return map[string]role.Quota{"": {Guarantee: vectorOf(g, 0), Limit: unlimited, Lend: vectorOf(g, 0), Borrow: unlimited, Warm: vectorOf(0, 0)}}
	}
	tree := &role.Tree{Roles: []role.Role{
		{Path: "", Parent: role.None, Children: []role.ID{1, 2, 3}},
		{Path: "brisk", Depth: 1, LendGrace: 10 * time.Second, Quotas: quota(10)},
		{Path: "patient", Depth: 1, LendGrace: time.Minute, Quotas: quota(5)},
		{Path: "guest", Depth: 1, LendGrace: time.Minute, Quotas: quota(0)},
	}}
	for _, c := range []struct {
		hold time.Duration
		most int // what a guest may borrow on 16 machines: one of them belongs to nobody
	}{{0, 16}, {10 * time.Second, 16}, {11 * time.Second, 6}, {time.Minute, 6}, {2 * time.Minute, 1}} {
		l := NewLedger(tree, "", kinds, vectorOf(16, 0))
		fits := 0
		for fits <= 16 && l.Try(Charge{Leaf: 3, At: role.Root, Amount: vectorOf(1, 0), Hold: c.hold, Count: 1}) == nil {
			fits++
		}
		if fits != c.most {
			t.Errorf("hold %s: a guest may borrow %d, want %d", c.hold, fits, c.most)
		}
	}
}
