package bench

import "fmt"

// Workload is a named piece of a suite.
type Workload struct {
	Name string
	Run  func(seed uint64) []Result
}

// day is the same at every size; the simulator's tests play it, too.
var day = Workload{"W7 day", Day{"busy-day"}.Run}

// Suite is what is measured at a size: "small", "standard" or "full".
func Suite(size string) ([]Workload, error) {
	switch size {
	case "small":
		return suite(200, 25), nil
	case "standard":
		return append(suite(10_000, 300), day), nil
	case "full":
		return append(append(suite(10_000, 300), day), growth()...), nil
	}
	return nil, fmt.Errorf("size %q: choose small, standard or full", size)
}

func suite(agents, leaves int) (out []Workload) {
	out = append(out, Workload{fmt.Sprintf("bounds, %d agents", agents), func(seed uint64) []Result { return bounds(agents, seed) }})
	for _, mixed := range []bool{false, true} {
		for _, deep := range []bool{false, true} {
			out = append(out, fill(Fill{agents, leaves, deep, mixed}))
		}
	}
	out = append(out, one("W1 arrival", Arrival{agents, leaves, min(20_000, 5*agents)}.Run), turn(Turn{agents, leaves, 100, false}), turn(Turn{agents, leaves, 100, true}),
		one("W3 claims", Claims{agents, leaves, 8, 50}.Run), Workload{"W5 spike", Spike{agents, false}.Run}, Workload{"W5 spike, gangs", Spike{agents, true}.Run},
		Workload{"W8 footprint", Footprint{agents, leaves, 20}.Run})
	return append(out,
		cycle(Cycle{agents, leaves, Flat}), cycle(Cycle{agents, leaves / 10 * 10, Levels}), cycle(Cycle{agents, leaves, Quotas}),
		cycle(Cycle{max(agents*3/10, leaves), leaves * 10, Many}), cycle(Cycle{max(agents/10, 20), max(leaves*2/3, 10), Flat}))
}

// growth is the same work on other sizes.
func growth() (out []Workload) {
	for _, agents := range []int{1000, 50_000} {
		out = append(out, Workload{fmt.Sprintf("bounds, %d agents", agents), func(seed uint64) []Result { return bounds(agents, seed) }})
	}
	for _, agents := range []int{1000, 10_000, 50_000} {
		for _, leaves := range []int{30, 300, 3000} {
			if leaves != 300 || agents != 10_000 { // that is in the suite already
				out = append(out, fill(Fill{agents, leaves, false, false}), fill(Fill{agents, leaves, true, false}), fill(Fill{agents, leaves, false, true}),
					cycle(Cycle{agents, leaves, Levels}), cycle(Cycle{agents, leaves, Quotas}), turn(Turn{agents, leaves, 100, false}))
			}
		}
	}
	for _, waiting := range []int{1, 10_000} {
		out = append(out, turn(Turn{10_000, 300, waiting, false}))
	}
	return append(out, one("W3 claims, 50,000 agents", Claims{50_000, 300, 8, 10}.Run), Workload{"W5 spike, 50,000 agents", Spike{50_000, false}.Run},
		Workload{"W5 spike, 1,000 agents", Spike{1000, false}.Run}, Workload{"W8 footprint, 50,000 agents", Footprint{50_000, 300, 20}.Run})
}

func turn(w Turn) Workload {
	return one(fmt.Sprintf("W1 turn %d agents, %d roles, %d wait, sizes=%v", w.Agents, w.Leaves, w.Waiting, w.Sizes), w.Run)
}

func fill(w Fill) Workload {
	name := fmt.Sprintf("W1 %d agents, %d roles, deep=%v mixed=%v", w.Agents, w.Leaves, w.Deep, w.Mixed)
	return one(name, w.Run)
}

func one(name string, run func(uint64) Result) Workload {
	return Workload{name, func(seed uint64) []Result { return []Result{run(seed)} }}
}

func cycle(w Cycle) Workload {
	return Workload{fmt.Sprintf("W2 %s, %d agents, %d takers", w.Tree, w.Agents, w.Takers), w.Run}
}
