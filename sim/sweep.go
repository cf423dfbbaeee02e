package sim

import (
	"context"
	"slices"
	"sync"
)

// Sweep is what many seeds found together.
type Sweep struct {
	Scenario string       `json:"scenario"`
	First    uint64       `json:"first"` // seed
	Seeds    int          `json:"seeds"` // that were played
	Held     int          `json:"held"`
	Failed   []SeedFailed `json:"failed,omitempty"` // the first of them
	Events   int          `json:"events"`
	Checks   int          `json:"checks"`
	Notices  int          `json:"notices"`
	Starts   int          `json:"starts"`
	Faults   int          `json:"faults"`
}

// SeedFailed is a seed under which something was not as expected.
type SeedFailed struct {
	Seed       uint64    `json:"seed"`
	Findings   []Finding `json:"findings,omitempty"` // those that did not hold
	Violations []string  `json:"violations,omitempty"`
}

// maxFailed bounds how many failed seeds a sweep tells about.
const maxFailed = 50

// RunSeeds plays a scenario with n seeds from first on, so many at a time, and tells after each how many are done. What is done when
// ctx ends is returned with its error.
func RunSeeds(ctx context.Context, s *Scenario, first uint64, n, jobs int, told func(done int, failed int)) (*Sweep, error) {
	return sweep(ctx, s.Name, first, n, jobs, told, func(seed uint64) (*Report, error) { return Run(ctx, s, Options{Seed: seed}) })
}

// RunRandom does the same with clusters that are drawn by chance, see [RandomText], and checks all invariants after every decision.
func RunRandom(ctx context.Context, first uint64, n, jobs int, told func(done int, failed int)) (*Sweep, error) {
	return sweep(ctx, "random clusters", first, n, jobs, told, func(seed uint64) (*Report, error) {
		s, err := Random(seed)
		if err != nil {
			return nil, err
		}
		return Run(ctx, s, Options{Seed: seed, CheckEvery: 1})
	})
}

// played is what came of one seed.
type played struct {
	seed   uint64
	report *Report
	err    error
}

// sweep plays seeds in as many goroutines as there are jobs; it ends when all of them have.
func sweep(ctx context.Context, name string, first uint64, n, jobs int, told func(int, int), play func(uint64) (*Report, error)) (*Sweep, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	seeds, results := make(chan uint64), make(chan played)
	var workers sync.WaitGroup
	for range max(1, jobs) {
		workers.Go(func() {
			for seed := range seeds {
				r, err := play(seed)
				results <- played{seed, r, err}
			}
		})
	}
	go func() {
		defer close(results)
		defer workers.Wait()
		defer close(seeds)
		for i := range n {
			select {
			case seeds <- first + uint64(i):
			case <-ctx.Done():
				return
			}
		}
	}()
	return gather(name, first, results, told, stop)
}

// gather adds up what was played until there is no more. After an error no other seed is begun.
func gather(name string, first uint64, results <-chan played, told func(int, int), stop func()) (*Sweep, error) {
	out := &Sweep{Scenario: name, First: first}
	var failed error
	for p := range results {
		if p.err != nil {
			failed = p.err
			stop()
			continue
		}
		out.add(p.report, p.seed)
		if told != nil {
			told(out.Seeds, out.Seeds-out.Held)
		}
	}
	slices.SortFunc(out.Failed, func(a, b SeedFailed) int { return int(a.Seed) - int(b.Seed) })
	return out, failed
}

func (s *Sweep) add(r *Report, seed uint64) {
	s.Seeds++
	s.Events += r.Events
	s.Checks += r.Checks
	s.Faults += r.Faults
	if len(r.Roles) > 0 {
		s.Notices += r.Roles[0].Notices
		s.Starts += r.Roles[0].Started
	}
	if r.Held() {
		s.Held++
		return
	}
	if len(s.Failed) < maxFailed {
		bad := slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Held })
		s.Failed = append(s.Failed, SeedFailed{seed, bad, r.Violations})
	}
}
