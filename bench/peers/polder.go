package main

import (
	"fmt"

	"polder.dev/polder/bench"
	"polder.dev/polder/core/cluster"
)

// polder submits every ask with its count, as its users do.
func polder(w *Work) (Outcome, error) { return playPolder(w, w.Asks) }

// polderOneByOne submits every task as an ask of its own, as the others are told of them.
func polderOneByOne(w *Work) (Outcome, error) {
	var asks []cluster.AskSpec
	for _, a := range w.Asks {
		for i := range a.Count {
			one := a
			one.ID, one.Count = taskName(a.ID, i), 1
			asks = append(asks, one)
		}
	}
	out, err := playPolder(w, asks)
	for i := range out.Placed {
		out.Placed[i].Ask = askOf(out.Placed[i].Ask)
	}
	return out, err
}

func playPolder(w *Work, asks []cluster.AskSpec) (out Outcome, err error) {
	s := w.Open()
	out.Cost = bench.Measure(func() {
		for _, a := range asks {
			if err = s.Step(cluster.Submit{Ask: a}); err != nil {
				err = fmt.Errorf("ask %s: %w", a.ID, err)
				return
			}
		}
		s.Must(cluster.Tick{})
	})
	for _, t := range s.Tasks() {
		out.Placed = append(out.Placed, Placement{t.Ask, t.Node})
	}
	return out, err
}
