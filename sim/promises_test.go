package sim

import (
	"context"
	"testing"
	"time"

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

// TestPromisesBite plays a scenario against a T that is too short to be kept: it must be told.
func TestPromisesBite(t *testing.T) {
	r, err := newRun(load(t, "greedy-tenant"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range r.books.roles {
		a.bound = 20 * time.Second // borrowers have notice of 30 s
	}
	if err := r.play(context.Background()); err != nil {
		t.Fatal(err)
	}
	if r.checks.count == 0 {
		t.Error("nobody noticed that claims waited longer than 20 s")
	}
}
