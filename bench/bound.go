package bench

import (
	"math/bits"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
)

// A bound is the least that work of a kind could cost on this machine: the same decision on flat arrays of numbers, with no
// names, no rules for borrowing, no records for others and no garbage; of memory, the numbers alone.

// boundOf says which bound a result is measured against.
func boundOf(r Result) string {
	switch {
	case strings.HasPrefix(r.Workload, "W1"), r.Workload == "W5 spike" && r.Unit == "start":
		return "bound placement"
	case r.Workload == "W2 first cycle", r.Workload == "W2 full cycle":
		return "bound offer"
	case r.Workload == "W2 nothing changed":
		return "bound glance"
	case r.Workload == "W2 all declined":
		return "bound refusal"
	case strings.HasPrefix(r.Workload, "W3"):
		return "bound commit"
	case r.Workload == "W5 spike":
		return "bound notice"
	case strings.HasPrefix(r.Workload, "W7"), strings.HasPrefix(r.Workload, "W8"):
		return "bound " + r.Unit
	}
	return ""
}

// bounds are all of them, for work on so many agents.
func bounds(agents int, seed uint64) []Result {
	out := []Result{boundPlacement(agents, seed), boundCommit(agents, seed), boundOffer(agents), boundNotice(agents, seed), boundGlance(), boundRefusal()}
	for i := range out {
		out[i].Agents = agents
	}
	return append(out, boundMemory(agents)...)
}

// boundRecord is what is remembered of a task.
type boundRecord struct {
	id          uint64
	agent, leaf int32
	cpu, memory int64
	_           [24]byte // as much again as a record keeps of its task's shape, start and state
}

const (
	boundTasks  = 1_000_000
	boundLeaves = 300
	boundRoles  = boundLeaves + boundLeaves/5 + boundLeaves/25 + 1
)

// flat is a cluster as numbers alone.
type flat struct {
	free        [][2]int64 // by agent: cpu, memory
	used, limit [boundRoles][2]int64
	records     []boundRecord
	ids         map[uint64]int32
	rng         *rand.Rand
}

func newFlat(agents int, seed uint64) *flat {
	f := &flat{free: make([][2]int64, agents), records: make([]boundRecord, 0, boundTasks), ids: make(map[uint64]int32, boundTasks), rng: rand.New(rand.NewPCG(seed, 2))}
	for i := range f.free {
		f.free[i] = [2]int64{int64(2*boundTasks/agents+1) * 1000, int64(2*boundTasks/agents+1) * 4}
	}
	for i := range f.limit {
		f.limit[i] = [2]int64{1 << 40, 1 << 40}
	}
	return f
}

// path is a leaf and the roles above it.
func path(leaf int) [4]int {
	return [4]int{leaf, boundLeaves + leaf/5, boundLeaves + boundLeaves/5 + leaf/25, boundRoles - 1}
}

// take gives a task an agent, within limits on four levels, with usage on four levels, a record and an entry in a map of ids.
func (f *flat) take(task, agent int) {
	p := path(task % boundLeaves)
	if f.free[agent][0] < 1000 || f.free[agent][1] < 4 {
		return
	}
	for _, v := range p {
		if f.used[v][0]+1000 > f.limit[v][0] || f.used[v][1]+4 > f.limit[v][1] {
			return
		}
	}
	for _, v := range p {
		f.used[v][0] += 1000
		f.used[v][1] += 4
	}
	f.free[agent][0] -= 1000
	f.free[agent][1] -= 4
	f.ids[uint64(task)] = int32(len(f.records))
	f.records = append(f.records, boundRecord{id: uint64(task), agent: int32(agent), leaf: int32(p[0]), cpu: 1000, memory: 4})
}

// boundPlacement places a million tasks, each on the fullest of eight sampled agents.
func boundPlacement(agents int, seed uint64) Result {
	f := newFlat(agents, seed)
	cost := Measure(func() {
		for i := range boundTasks {
			best := -1
			for range 8 {
				if a := f.rng.IntN(agents); f.free[a][0] >= 1000 && f.free[a][1] >= 4 && (best < 0 || f.free[a][0] < f.free[best][0]) {
					best = a
				}
			}
			if best >= 0 {
				f.take(i, best)
			}
		}
	})
	return Result{Workload: "bound placement", Case: "flat arrays", Roles: boundLeaves, Cost: cost, Units: len(f.records), Unit: "placement"}
}

// boundCommit takes a million claims, each of which says its agent.
func boundCommit(agents int, seed uint64) Result {
	f := newFlat(agents, seed)
	claims := make([]int, boundTasks)
	for i := range claims {
		claims[i] = f.rng.IntN(agents)
	}
	cost := Measure(func() {
		for i, a := range claims {
			f.take(i, a)
		}
	})
	return Result{Workload: "bound commit", Case: "flat arrays", Roles: boundLeaves, Cost: cost, Units: len(f.records), Unit: "commit"}
}

// boundNotice asks the younger half of a million tasks back, those of each leaf from the end of its list: what they hold is leaving their agent
// and is not used by their roles any more, and a notice says so.
func boundNotice(agents int, seed uint64) Result {
	f := newFlat(agents, seed)
	lists := make([][]int32, boundLeaves)
	for i := range boundTasks {
		f.take(i, f.rng.IntN(agents))
		lists[i%boundLeaves] = append(lists[i%boundLeaves], int32(i))
	}
	type notice struct{ task, agent, deadline, cpu, memory int64 }
	notices := make([]notice, 0, boundTasks/2)
	leaving := make([][2]int64, agents)
	cost := Measure(func() {
		for i := range boundTasks / 2 {
			leaf := i % boundLeaves
			last := len(lists[leaf]) - 1
			r := &f.records[lists[leaf][last]]
			lists[leaf] = lists[leaf][:last]
			for _, v := range path(leaf) {
				f.used[v][0] -= r.cpu
				f.used[v][1] -= r.memory
			}
			leaving[r.agent][0] += r.cpu
			leaving[r.agent][1] += r.memory
			notices = append(notices, notice{int64(r.id), int64(r.agent), 30, r.cpu, r.memory})
		}
	})
	return Result{Workload: "bound notice", Case: "flat arrays", Roles: boundLeaves, Cost: cost, Units: len(notices), Unit: "victim"}
}

// boundGlance looks whether a number has changed, a hundred million times.
func boundGlance() Result {
	const looks = 100_000_000
	var version atomic.Uint64
	seen := 0
	cost := Measure(func() {
		for range looks {
			if version.Load() == 0 {
				seen++
			}
		}
	})
	return Result{Workload: "bound glance", Case: "one number", Cost: cost, Units: seen, Unit: "cycle"}
}

// boundRefusal looks which of 300 takers has not declined an agent, ten million times.
func boundRefusal() Result {
	const looks = 10_000_000
	declined := make([][(boundLeaves + 63) / 64]uint64, 1024)
	for i := range declined {
		for j := range declined[i] {
			declined[i][j] = ^uint64(0)
		}
	}
	open := 0
	cost := Measure(func() {
		for i := range looks {
			for _, word := range declined[i%len(declined)] {
				open += bits.OnesCount64(^word)
			}
		}
	})
	return Result{Workload: "bound refusal", Case: "a row of bits", Roles: boundLeaves, Cost: cost, Units: looks - open, Unit: "cycle"}
}

// boundMemory weighs what is to be known of an agent, as numbers, and of a task: its record and its id.
func boundMemory(agents int) []Result {
	type agent [3*8 + 3*8 + 6*4 + 8]byte // capacity and free of three kinds, six attributes as numbers, a short name
	empty := heap()
	nodes := make([]agent, agents)
	weight := heap() - empty
	runtime.KeepAlive(nodes)
	out := Result{Workload: "bound agent", Case: "flat arrays", Agents: agents, Units: agents, Unit: "agent", Bytes: weight}
	tasks := 20 * agents
	empty = heap()
	records, ids := make([]boundRecord, tasks), make(map[uint64]int32, tasks)
	for i := range records {
		ids[uint64(i)] = int32(i)
	}
	weight = heap() - empty
	runtime.KeepAlive(records)
	runtime.KeepAlive(ids)
	return []Result{out, {Workload: "bound task", Case: "flat arrays", Agents: agents, Units: tasks, Unit: "task", Bytes: weight}}
}

// boundOffer gives every agent whole to the neediest leaf of 10 × 6 × 5, a hundred times.
func boundOffer(agents int) Result {
	const a, b, c, rounds = 10, 6, 5, 100
	offers := 0
	cost := Measure(func() {
		for range rounds {
			var top [a]float64
			var mid [a * b]float64
			var leaf [a * b * c]float64
			least := func(s []float64) (at int) {
				for i := range s {
					if s[i] < s[at] {
						at = i
					}
				}
				return at
			}
			for range agents {
				i := least(top[:])
				j := i*b + least(mid[i*b:][:b])
				k := j*c + least(leaf[j*c:][:c])
				top[i]++
				mid[j]++
				leaf[k]++
				offers++
			}
		}
	})
	return Result{Workload: "bound offer", Case: "flat arrays", Roles: a * b * c, Cost: cost, Units: offers, Unit: "offer"}
}

// shareOfBound is what part of a unit's cost, or of its memory, the bound would be, or how much of all there is was made use of; in words, and
// nothing where there is no bound. Of several bounds
// the one on as many agents counts, or else the first.
func shareOfBound(r Result, results []Result) string {
	var bound *Result
	for i, b := range results {
		if b.Workload == boundOf(r) && (bound == nil || b.Agents == r.Agents) {
			bound = &results[i]
		}
	}
	switch {
	case bound == nil || len(r.Faults) > 0 || r.Units == 0:
		return ""
	case r.Unit == "core-hour": // the more the better
		return percent(float64(r.Units) / float64(bound.Units))
	case r.Bytes > 0:
		return percent(bound.each(float64(bound.Bytes)) / r.each(float64(r.Bytes)))
	case r.CPU <= 0:
		return ""
	}
	return percent(bound.each(float64(bound.CPU)) / r.each(float64(r.CPU)))
}

// each is a unit's part of a whole.
func (r *Result) each(whole float64) float64 { return whole / float64(r.Units) }
