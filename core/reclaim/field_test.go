package reclaim

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// steady is a world whose nodes open and close to nobody during a round.
type steady struct{ *world }

// Steady implements Steady.
func (steady) Steady(Claim) bool { return true }

// Fits implements Steady.
func (w steady) Fits(x resource.Vector, n placement.NodeID, within time.Duration) bool {
	return x.Fits(w.Spare(n, within))
}

var _ Steady = steady{}

// TestFieldAgreesWithSearch: a round that remembers what it saw plans every claim as one does that looks at every node for each:
// same outcome, same node, same victims; plans that are taken back and claims that come again included.
func TestFieldAgreesWithSearch(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt, 14)
		round := NewRound(w.ledger, steady{w})
		type ask struct {
			c Claim
			v role.ID
		}
		var asks []ask
		for i := range rapid.IntRange(1, 8).Draw(rt, "claims") {
			var a ask
			if i > 0 && rapid.IntRange(0, 3).Draw(rt, "again") > 0 {
				a = rapid.SampledFrom(asks).Draw(rt, "which")
			} else {
				a.c, a.v = w.drawClaim()
				a.c.Task = i
				asks = append(asks, a)
			}
			alone := NewRound(w.ledger, w)
			want, why := alone.Plan(a.c, a.v)
			if why == Planned {
				alone.Undo(want)
			}
			got, outcome := round.Plan(a.c, a.v)
			if outcome != why || show(got) != show(want) {
				w.fatalf("claim %d: %s %s, a search of every node finds %s %s", i, outcome, show(got), why, show(want))
			}
			if outcome != Planned {
				continue
			}
			if rapid.IntRange(0, 3).Draw(rt, "undo") == 0 {
				round.Undo(got)
				continue
			}
			for _, x := range got.Victims {
				w.leaving[x.Unit] = true // the book answers for the state after the plan
			}
			if w.earmark[got.Node] == nil {
				w.earmark[got.Node] = make(resource.Vector, kinds)
			}
			w.earmark[got.Node].Inc(got.Charge.Amount)
		}
	})
}

func show(p Plan) string {
	out := fmt.Sprintf("on %d:", p.Node)
	for _, v := range p.Victims {
		out += fmt.Sprintf(" %d", v.Unit.ID)
	}
	return out
}
