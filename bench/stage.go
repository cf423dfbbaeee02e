package bench

import (
	"fmt"
	"time"

	"polder.dev/polder/core/cluster"
)

// epoch is when every workload begins.
var epoch = time.Date(2026, 11, 11, 0, 0, 0, 0, time.UTC)

// Stage is a cluster on which a workload is played. Effects are read once, as a server would, and dropped.
type Stage struct {
	*cluster.Cluster
	market *Market
	now    time.Time

	Launched, Noticed, Events int
	committed                 cluster.Committed
	effects                   []cluster.Effect // of the last step
}

// Step applies an event and reads the effects.
func (s *Stage) Step(e cluster.Event) error {
	effects, err := s.Cluster.Step(e, s.now)
	s.effects = effects
	for _, f := range effects {
		switch f := f.(type) {
		case cluster.Launch:
			s.Launched++
		case cluster.SendNotice:
			s.Noticed++
		case cluster.Committed:
			s.committed = f
		case cluster.Happened:
			s.Events++
		}
	}
	return err
}

// Must is Step for events that are not refused.
func (s *Stage) Must(e cluster.Event) {
	if err := s.Step(e); err != nil {
		panic(fmt.Sprintf("%T: %v", e, err))
	}
}

// notices are those of the last step. They are listed apart from it: its cost is not to have the list in it.
func (s *Stage) notices() (out []cluster.Notice) {
	for _, f := range s.effects {
		if n, ok := f.(cluster.SendNotice); ok {
			out = append(out, n.Notice)
		}
	}
	return out
}
