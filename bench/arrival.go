package bench

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"polder.dev/polder/core/cluster"
)

// Arrival is W1 under open arrival: the cluster is 60 % full, and tasks are asked for one by one, at random, half as fast as can be
// when many come at once, while as many end. As a server does, the core takes everything that has come as one turn; its clock is the CPU
// time it used, so that other work on the machine does not count.
type Arrival struct {
	Agents, Leaves, Tasks int
}

// arrived is a task that was asked for.
type arrived struct {
	at  time.Duration
	ask cluster.AskSpec
}

// Run lets the tasks arrive.
func (w Arrival) Run(seed uint64) Result {
	m := NewMarket(w.Agents, w.Leaves, seed)
	s := m.Open()
	for _, a := range m.Asks(0.6, false, false) {
		s.Must(cluster.Submit{Ask: a})
	}
	s.Must(cluster.Tick{})
	running := s.Tasks()
	m.rng.Shuffle(len(running), func(a, b int) { running[a], running[b] = running[b], running[a] })
	crowd, _, _ := w.turns(s, w.arrivals(m, "crowd", 0), running[w.Tasks:])
	launched := s.Launched
	cost, waits, turns := w.turns(s, w.arrivals(m, "x", 2*crowd.CPU/time.Duration(w.Tasks)), running)
	slices.Sort(waits)
	r := Result{
		Workload: "W1 arrival", Case: "one by one, half of the full rate", Agents: w.Agents, Roles: w.Leaves, Cost: cost, Units: s.Launched - launched, Unit: "placement",
		Note: fmt.Sprintf("from ask to decision p50 %s, p99 %s, in %d turns", short(waits[len(waits)/2]), short(waits[len(waits)*99/100]), turns),
	}
	if r.Units != w.Tasks {
		r.Faults = append(r.Faults, fmt.Sprintf("%d of %d tasks started", r.Units, w.Tasks))
	}
	r.judge(s)
	return r
}

// arrivals are tasks for leaves at random, a gap apart on average.
func (w Arrival) arrivals(m *Market, name string, gap time.Duration) []arrived {
	out, at := make([]arrived, w.Tasks), time.Duration(0)
	for i := range out {
		at += time.Duration(rand.New(m.rng).ExpFloat64() * float64(gap))
		a := m.ask(fmt.Sprintf("%s%d", name, i), m.Leaves[m.rng.IntN(len(m.Leaves))], false)
		a.Count = 1
		out[i] = arrived{at, a}
	}
	return out
}

// turns takes what has arrived and decides, again and again, and for each that comes ends one. It returns how long each waited.
func (w Arrival) turns(s *Stage, queue []arrived, running []cluster.TaskView) (cost Cost, waits []time.Duration, turns int) {
	now := time.Duration(0)
	for ; len(queue) > 0; turns++ {
		now = max(now, queue[0].at)
		n := 1
		for n < len(queue) && queue[n].at <= now {
			n++
		}
		var turn stopwatch
		turn.time(func() {
			s.now = s.now.Add(time.Millisecond)
			for i, a := range queue[:n] {
				end := running[i]
				s.Must(cluster.Report{Node: end.Node, Task: cluster.TaskReport{Assignment: cluster.Assignment{Task: end.Task}, State: cluster.Succeeded}})
				s.Must(cluster.Submit{Ask: a.ask})
			}
			s.Must(cluster.Tick{})
		})
		now += turn.CPU
		cost.CPU, cost.Wall = cost.CPU+turn.CPU, cost.Wall+turn.Wall
		for _, a := range queue[:n] {
			waits = append(waits, now-a.at)
		}
		queue, running = queue[n:], running[n:]
	}
	return cost, waits, turns
}
