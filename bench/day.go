package bench

import (
	"context"
	"fmt"
	"math"

	"polder.dev/polder/sim"
)

// Day is W7: a day in virtual time with a service that swings, a backlog without end and research in bursts, on the same machines with
// lending, without it, and with machines divided for good. The simulator's own checks are the referee.
type Day struct{ Scenario string }

// Run plays the three.
func (w Day) Run(seed uint64) []Result {
	text, err := sim.ShippedText(w.Scenario)
	if err != nil {
		panic(err)
	}
	s, err := sim.Parse(text)
	if err != nil {
		panic(err)
	}
	var out []Result
	for _, l := range []sim.Lending{sim.LendingOn, sim.LendingOff, sim.LendingStatic} {
		r := w.play(s, l, seed)
		if l == sim.LendingOn {
			out = append(out, Result{Workload: "bound core-hour", Case: "every one of every machine", Agents: r.Agents, Units: r.all, Unit: r.Unit})
		}
		out = append(out, r.Result)
	}
	return out
}

// played is a day, and how many core-hours it had.
type played struct {
	Result
	all int
}

func (w Day) play(s *sim.Scenario, l sim.Lending, seed uint64) (out played) {
	v, err := s.With(l)
	if err != nil {
		panic(err)
	}
	var r *sim.Report
	out.Cost = Measure(func() { r, err = sim.Run(context.Background(), v, sim.Options{Seed: seed}) })
	if err != nil {
		panic(err)
	}
	for _, p := range r.Whole() {
		if p.Resource == "cpu" {
			out.Units, out.all = int(math.Round(p.Hours)), int(math.Round(p.Hours+p.Idle))
		}
	}
	out.Workload, out.Case, out.Unit, out.Agents, out.Roles = "W7 day", "lending "+string(l), "core-hour", r.Nodes, len(r.Roles)-1
	out.Note = fmt.Sprintf("%d tasks started; %s", r.Roles[0].Started, r.Ledger.Whole("cpu").Why)
	out.Faults = append(out.Faults, r.Violations...)
	for _, f := range r.Findings {
		if !f.Held {
			out.Faults = append(out.Faults, f.Name+": found "+f.Found)
		}
	}
	return out
}
