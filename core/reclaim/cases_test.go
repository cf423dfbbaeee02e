package reclaim

import (
	"slices"
	"testing"
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// handmade is a world of cpu on two machines, of which only the first takes new tasks.
func handmade(first, second int, guarantees map[string]int) *world {
	cores := func(n int) resource.Vector { return resource.Vector{resource.Amount(n), 0, 0, 0} }
	p := &role.Plan{Roles: map[string]role.RoleSpec{}}
	for path, g := range guarantees {
		p.Roles[path] = role.RoleSpec{Guarantee: resource.Resources{"cpu": resource.Amount(g)}}
	}
	w := &world{
		tree: role.Effective(p, time.Unix(0, 0), resource.NewKinds()), capacity: []resource.Vector{cores(first), cores(second)}, pinned: map[*Unit]bool{},
		leaving: map[*Unit]bool{}, earmark: map[placement.NodeID]resource.Vector{}, closed: map[placement.NodeID]bool{1: true},
	}
	w.ledger = lending.NewLedger(w.tree, "", kinds, cores(first+second))
	return w
}

func (w *world) id(path string) role.ID {
	id, _ := w.tree.Lookup(path)
	return id
}

// runs puts a unit of a role, paid by another, on the machines: so much on the first, so much on the second.
func (w *world) runs(id int64, leaf, at string, first, second int, work int64) {
	u := &Unit{ID: id, Work: work, Charge: lending.Charge{Leaf: w.id(leaf), At: w.id(at), Count: 1, Amount: make(resource.Vector, kinds)}}
	for n, a := range []int{first, second} {
		if a > 0 {
			u.Parts = append(u.Parts, Part{placement.NodeID(n), resource.Vector{resource.Amount(a), 0, 0, 0}})
			u.Charge.Amount[0] += resource.Amount(a)
		}
	}
	w.ledger.Add(u.Charge)
	w.units = append(w.units, u)
}

// claims plans a claim of a role inside its own guarantee and says who has to go, and how it ended.
func (w *world) claims(leaf string, cores int) ([]int64, Outcome) {
	c := Claim{Charge: lending.Charge{Leaf: w.id(leaf), Amount: resource.Vector{resource.Amount(cores), 0, 0, 0}, Count: 1}}
	p, outcome := NewRound(w.ledger, w).Plan(c, w.id(leaf))
	var out []int64
	for _, v := range p.Victims {
		out = append(out, v.Unit.ID)
	}
	slices.Sort(out)
	return out, outcome
}

// TestMakingRoom has the cases in which rules alone need nobody to go, or fewer than the machine does.
func TestMakingRoom(t *testing.T) {
	twoTiers := map[string]int{"corp": 5, "corp/x": 0, "corp/y": 2, "guest": 0}
	for _, c := range []struct {
		name    string
		world   func() *world
		leaf    string
		cores   int
		victims []int64
		outcome Outcome
	}{
		{"one unit may go only to make room", func() *world {
			w := handmade(4, 4, map[string]int{"owner": 4, "guest": 0})
			w.runs(1, "guest", "", 1, 0, 0)
			return w
		}, "owner", 4, []int64{1}, Planned},
		{"two may not", func() *world {
			w := handmade(4, 4, map[string]int{"owner": 4, "guest": 0})
			w.runs(1, "guest", "", 1, 0, 0)
			w.runs(2, "guest", "", 1, 0, 0)
			return w
		}, "owner", 4, nil, Fragmented},
		{"two may when the rules need one", func() *world {
			w := handmade(4, 4, map[string]int{"owner": 7, "guest": 0})
			w.runs(1, "guest", "", 1, 0, 0)
			w.runs(2, "guest", "", 1, 0, 0)
			w.runs(3, "owner", "owner", 0, 3, 0)
			return w
		}, "owner", 4, []int64{1, 2}, Planned},
		{"one dearer unit where two cheap ones are too many", func() *world {
			w := handmade(4, 3, twoTiers)
			w.runs(1, "corp/x", "", 2, 0, 5)
			w.runs(2, "corp/x", "corp", 1, 0, 0)
			w.runs(3, "corp/x", "corp", 1, 0, 0)
			return w
		}, "corp/y", 2, []int64{1}, Planned},
		{"who is needed for the rules depends on whom one keeps first", func() *world {
			w := handmade(6, 8, map[string]int{"owner": 10, "guest": 0})
			w.runs(1, "guest", "", 1, 0, 3)
			w.runs(2, "guest", "", 2, 0, 2)
			w.runs(3, "guest", "", 2, 2, 1)
			w.runs(4, "owner", "owner", 0, 4, 0)
			return w
		}, "owner", 6, []int64{1, 2, 3}, Planned},
		{"nobody goes from where there is room", func() *world {
			w := handmade(8, 4, map[string]int{"owner": 4, "guest": 0})
			w.runs(1, "guest", "", 2, 0, 0)
			w.runs(2, "guest", "", 2, 0, 0)
			return w
		}, "owner", 4, nil, Planned},
		{"the least work is lost", func() *world {
			w := handmade(4, 0, map[string]int{"owner": 4, "guest": 0})
			w.runs(1, "guest", "", 2, 0, 9)
			w.runs(2, "guest", "", 2, 0, 1)
			return w
		}, "owner", 2, []int64{2}, Planned},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := c.world()
			before := state(w.ledger)
			victims, outcome := w.claims(c.leaf, c.cores)
			if !slices.Equal(victims, c.victims) || outcome != c.outcome {
				t.Errorf("%s asks back %v, want %s with %v", outcome, victims, c.outcome, c.victims)
			}
			if outcome != Planned && state(w.ledger) != before {
				t.Error("the ledger changed though nothing was planned")
			}
		})
	}
}

// TestRepairAroundTheImmovable checks that one who holds longest and may not be asked back keeps nobody else from being asked.
func TestRepairAroundTheImmovable(t *testing.T) {
	w := handmade(8, 0, map[string]int{"owner": 6, "guest": 0})
	w.runs(1, "guest", "", 4, 0, 0)
	w.runs(2, "guest", "", 2, 0, 0)
	w.runs(3, "guest", "", 2, 0, 0)
	w.pinned[w.units[0]] = true
	w.units[0].Charge.Hold = time.Hour
	w.tree.Roles[w.id("owner")].Quotas[""].Lend[0] = 0
	w.ledger = w.rebuilt(nil, nil)
	if got := len(NewRound(w.ledger, w).Repair()); got != 2 {
		t.Errorf("%d units are asked back, want the 2 that may be", got)
	}
}
