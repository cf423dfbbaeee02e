package server

import (
	"sync"
	"time"
)

// strangers bounds what callers whom nobody knows can write to the audit trail: so many refusals in a second, then how
// many more there were. Anybody who reaches the port could fill the disk otherwise.
type strangers struct {
	most int
	mu   sync.Mutex // guards all below
	told int
	more int
}

// admit reports whether a refusal may be written. If some of a second may not, summary is called once at its end with
// their number.
func (s *strangers) admit(summary func(more int)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == 0 {
		time.AfterFunc(time.Second, func() {
			if more := s.reset(); more > 0 {
				summary(more)
			}
		})
	}
	if s.told < s.most {
		s.told++
		return true
	}
	s.more++
	return false
}

func (s *strangers) reset() (more int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	more = s.more
	s.told, s.more = 0, 0
	return more
}
