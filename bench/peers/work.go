package main

import (
	"fmt"
	"strings"

	"polder.dev/polder/bench"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
)

// Shape is what everybody is given to do.
type Shape struct {
	Agents, Leaves int
	Share          float64 // of all cpus that is asked for
	Deep           bool    // one leaf asks for half
	Seed           uint64
}

// Work is a shape made from its seed.
type Work struct {
	*bench.Market
	Asks []cluster.AskSpec
}

func (s Shape) work() *Work {
	m := bench.NewMarket(s.Agents, s.Leaves, s.Seed)
	return &Work{m, m.Asks(s.Share, s.Deep, false)}
}

// Placement is a task of an ask on a machine.
type Placement struct{ Ask, Node string }

// Outcome is what a player came to.
type Outcome struct {
	bench.Cost
	Placed []Placement `json:"-"`
	Tasks  int         // placed
	Faults []string    `json:",omitempty"`
}

// player places all tasks of a work; only what it does from the first ask to the last placement counts in the cost.
type player struct {
	name string
	play func(*Work) (Outcome, error)
}

var players = []player{
	{"polder", polder}, {"polder, one by one", polderOneByOne}, {"yunikorn-core", yunikorn}, {"swarmkit", swarmkit},
}

// judge says what is wrong with where tasks were placed: each once, no machine over-committed, no leaf above its limit.
func (w *Work) judge(placed []Placement) (faults []string) {
	asks, missing := map[string]*cluster.AskSpec{}, map[string]int{}
	for i, a := range w.Asks {
		asks[a.ID], missing[a.ID] = &w.Asks[i], a.Count
	}
	onNode, ofLeaf := map[string]resource.Resources{}, map[string]resource.Resources{}
	for _, p := range placed {
		a := asks[p.Ask]
		missing[p.Ask]--
		add(onNode, p.Node, a.Shape.Resources)
		add(ofLeaf, a.Role, a.Shape.Resources)
	}
	for id, n := range missing {
		if n != 0 {
			faults = append(faults, fmt.Sprintf("%d tasks of ask %s are not placed", n, id))
		}
	}
	for _, n := range w.Nodes {
		faults = append(faults, over("machine "+n.Name, onNode[n.Name], n.Capacity)...)
		delete(onNode, n.Name)
	}
	for name := range onNode {
		faults = append(faults, fmt.Sprintf("there is no machine %q", name))
	}
	for leaf, used := range ofLeaf {
		faults = append(faults, over("leaf "+leaf, used, w.Plan.Roles[leaf].Limit)...)
	}
	return faults
}

func add(sums map[string]resource.Resources, name string, more resource.Resources) {
	if sums[name] == nil {
		sums[name] = resource.Resources{}
	}
	for kind, a := range more {
		sums[name][kind] += a
	}
}

// over compares what is used with what may be, where something is said about it.
func over(who string, used, most resource.Resources) (faults []string) {
	for kind, have := range most {
		if used[kind] > have {
			faults = append(faults, fmt.Sprintf("%s: %s of %s used, it has %s", who, resource.FormatValue(kind, used[kind]), kind, resource.FormatValue(kind, have)))
		}
	}
	return faults
}

// taskName names a task of an ask; askOf takes the name apart.
func taskName(ask string, i int) string { return fmt.Sprintf("%s.%d", ask, i) }

func askOf(task string) string {
	return task[:strings.LastIndexByte(task, '.')]
}
