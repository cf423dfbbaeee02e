package cluster

import (
	"fmt"
	"testing"
	"time"

	"polder.dev/polder/core/offer"
)

// TestOffers: what is idle is offered to whoever is below its guarantee first, follows nodes, tasks and the plan, and accepting
// is a claim.
func TestOffers(t *testing.T) {
	w := newWorld(simplePlan("online 6 -", "batch - 8"))
	for i := range 3 {
		w.step(Register{Node: NodeInfo{Name: fmt.Sprintf("n%d", i), Capacity: cpu(4)}})
	}
	o, err := w.c.Offers("", cpu(1), false)
	if err != nil {
		t.Fatal(err)
	}
	online, _ := o.Join("online")
	batch, _ := o.Join("batch")
	if _, err := o.Join("nobody"); err == nil {
		t.Error("a taker joined for a role that the plan does not have")
	}
	cycle := func(want ...string) []*offer.Offer {
		t.Helper()
		made, rescinded := o.Cycle(w.now)
		var got []string
		for _, x := range made {
			all, borrowed := o.Amount(x)
			got = append(got, fmt.Sprintf("%d %s %s (%s)", x.Taker, o.NodeName(x), all, borrowed))
		}
		if len(rescinded) > 0 {
			got = append(got, fmt.Sprintf("rescinded %v", rescinded))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("offers %q, want %q", got, want)
		}
		return made
	}
	made := cycle("0 n0 cpu=4 ()", "0 n1 cpu=4 (cpu=2)", "1 n2 cpu=4 (cpu=4)")
	cycle()

	o.Close(made[0].ID) // accepted
	w.step(Commit{Tasks: []Claim{{Ask: askFor("x", "online", 1, 3), Node: "n0"}}})
	cycle("0 n0 cpu=1 ()") // online has 1 more than its guarantee in use or on offer, batch 4

	o.Decline(made[2].ID, w.now.Add(5*time.Second))
	cycle("0 n2 cpu=4 (cpu=4)") // batch declined it
	w.step(Disconnect{"n2"})
	cycle("rescinded [5]")
	w.step(Register{Node: NodeInfo{Name: "n2", Capacity: cpu(4)}})
	cycle("1 n2 cpu=4 (cpu=4)") // it came free anew

	if err := w.step(SetPlan{simplePlan("online 6 -", "batch - 2"), 2}); err != nil {
		t.Fatal(err)
	}
	cycle("0 n0 cpu=1 ()", "0 n1 cpu=4 (cpu=2)", "1 n2 cpu=2 (cpu=2)", "0 n2 cpu=2 (cpu=2)", "rescinded [2 4 6]")
	o.Leave(batch)
	cycle("0 n2 cpu=2 (cpu=2)", "rescinded [9]")
	if online == batch {
		t.Error("two takers are one")
	}
}
