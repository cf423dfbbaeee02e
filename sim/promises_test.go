package sim

import (
	"testing"

	"polder.dev/polder/core/resource"
)

// TestGapsAreServedInOrder follows what is missing: new gaps go in behind, whatever comes serves the oldest.
func TestGapsAreServedInOrder(t *testing.T) {
	s := shortage{missing: make([][]gap, 1)}
	for _, step := range []struct {
		now    int64
		lack   resource.Amount
		oldest int64 // -1: no gap
		gaps   int
	}{
		{10, 5, 10, 1}, {20, 5, 10, 1}, {30, 8, 10, 2}, {40, 4, 10, 2}, {50, 3, 30, 1}, {60, 0, -1, 0}, {70, 1, 70, 1},
	} {
		q := s.become(0, step.lack, step.now)
		oldest := int64(-1)
		if len(q) > 0 {
			oldest = q[0].since
		}
		if oldest != step.oldest || len(q) != step.gaps {
			t.Errorf("at %d with %d missing: %d gaps, the oldest since %d; want %d since %d", step.now, step.lack, len(q), oldest, step.gaps, step.oldest)
		}
	}
}
