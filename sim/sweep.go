package sim

import (
	"context"
	"slices"
)

// Sweep is what many seeds of one scenario found together.
type Sweep struct {
	Scenario string       `json:"scenario"`
	First    uint64       `json:"first"` // seed
	Seeds    int          `json:"seeds"` // that were played
	Held     int          `json:"held"`
	Failed   []SeedFailed `json:"failed,omitempty"` // the first of them
	Events   int          `json:"events"`
	Checks   int          `json:"checks"`
	Notices  int          `json:"notices"`
}

// SeedFailed is a seed under which something was not as expected.
type SeedFailed struct {
	Seed       uint64    `json:"seed"`
	Findings   []Finding `json:"findings,omitempty"` // those that did not hold
	Violations []string  `json:"violations,omitempty"`
}

// maxFailed bounds how many failed seeds a sweep tells about.
const maxFailed = 50

// RunSeeds plays a scenario with n seeds from first on and tells after each how many are done. What is done when ctx ends is
// returned with its error.
func RunSeeds(ctx context.Context, s *Scenario, first uint64, n int, told func(done int, failed int)) (*Sweep, error) {
	out := &Sweep{Scenario: s.Name, First: first}
	for i := range n {
		r, err := Run(ctx, s, Options{Seed: first + uint64(i)})
		if err != nil {
			return out, err
		}
		out.add(r)
		if told != nil {
			told(out.Seeds, out.Seeds-out.Held)
		}
	}
	return out, nil
}

func (s *Sweep) add(r *Report) {
	s.Seeds++
	s.Events += r.Events
	s.Checks += r.Checks
	if len(r.Roles) > 0 {
		s.Notices += r.Roles[0].Notices
	}
	if r.Held() {
		s.Held++
		return
	}
	if len(s.Failed) < maxFailed {
		bad := slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Held })
		s.Failed = append(s.Failed, SeedFailed{r.Seed, bad, r.Violations})
	}
}
