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
	launches                  []cluster.Assignment // the last step's, when keep is set
	notices                   []cluster.Notice     // since they were last taken
	committed                 cluster.Committed
	keep                      bool
}

// Step applies an event and reads the effects.
func (s *Stage) Step(e cluster.Event) error {
	effects, err := s.Cluster.Step(e, s.now)
	s.launches = s.launches[:0]
	for _, f := range effects {
		switch f := f.(type) {
		case cluster.Launch:
			s.Launched++
			if s.keep {
				s.launches = append(s.launches, f.Task)
			}
		case cluster.SendNotice:
			s.Noticed++
			if s.keep {
				s.notices = append(s.notices, f.Notice)
			}
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
