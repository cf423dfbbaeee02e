package bench

import (
	"math/rand/v2"
	"strings"
)

// A bound is the least that work of a kind could cost on this machine: the same decision on flat arrays of numbers, with no
// names, no rules for borrowing, no records for others and no garbage.

// boundOf says which bound a workload is measured against.
func boundOf(workload string) string {
	switch {
	case strings.HasPrefix(workload, "W1"), strings.HasPrefix(workload, "W3"):
		return "bound placement"
	case workload == "W2 first cycle", workload == "W2 full cycle":
		return "bound offer"
	}
	return ""
}

// boundRecord is what is remembered of a task.
type boundRecord struct {
	id          uint64
	agent, leaf int32
	cpu, memory int64
	_           [24]byte // as much again as a record keeps of its task's shape, start and state
}

// boundPlacement places a million tasks: the fullest of eight sampled agents, limits on four levels, usage on four levels, a
// record and an entry in a map of ids.
func boundPlacement(agents int, seed uint64) Result {
	const tasks, leaves = 1_000_000, 300
	rng := rand.New(rand.NewPCG(seed, 2))
	free := make([][2]int64, agents)
	for i := range free {
		free[i] = [2]int64{int64(tasks/agents+1) * 1000, int64(tasks/agents+1) * 4}
	}
	var used, limit [leaves + leaves/5 + leaves/25 + 1][2]int64
	for i := range limit {
		limit[i] = [2]int64{1 << 40, 1 << 40}
	}
	records, ids := make([]boundRecord, 0, tasks), make(map[uint64]int32, tasks)
	cost := Measure(func() {
		for i := range tasks {
			best := -1
			for range 8 {
				if a := rng.IntN(agents); free[a][0] >= 1000 && free[a][1] >= 4 && (best < 0 || free[a][0] < free[best][0]) {
					best = a
				}
			}
			leaf := i % leaves
			path := [4]int{leaf, leaves + leaf/5, leaves + leaves/5 + leaf/25, len(used) - 1}
			ok := best >= 0
			for _, v := range path {
				ok = ok && used[v][0]+1000 <= limit[v][0] && used[v][1]+4 <= limit[v][1]
			}
			if !ok {
				continue
			}
			for _, v := range path {
				used[v][0] += 1000
				used[v][1] += 4
			}
			free[best][0] -= 1000
			free[best][1] -= 4
			ids[uint64(i)] = int32(len(records))
			records = append(records, boundRecord{id: uint64(i), agent: int32(best), leaf: int32(leaf), cpu: 1000, memory: 4})
		}
	})
	return Result{Workload: "bound placement", Case: "flat arrays", Agents: agents, Roles: leaves, Cost: cost, Units: len(records), Unit: "placement"}
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
	return Result{Workload: "bound offer", Case: "flat arrays", Agents: agents, Roles: a * b * c, Cost: cost, Units: offers, Unit: "offer"}
}

// shareOfBound is what part of a unit's cost the bound would be, in words; nothing where there is none.
func shareOfBound(r Result, results []Result) string {
	for _, b := range results {
		if b.Workload == boundOf(r.Workload) && r.Per() > 0 && len(r.Faults) == 0 {
			return percent(float64(b.Per()) / float64(r.Per()))
		}
	}
	return ""
}
