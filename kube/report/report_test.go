package report

import (
	"testing"
	"time"
)

// TestBook: the rate is over the last minute, the refusal that came last is first, and a success is none.
func TestBook(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	get, denied, missing, atStart := kind{"GET pods", "200"}, kind{"POST pods", "403"}, kind{"GET pods", "404"}, kind{"GET /readyz", "500"}
	b := &book{since: now, before: map[kind]int64{get: 7, atStart: 3}, kinds: map[kind]refusal{}}
	d := b.door(map[kind]int64{get: 107, denied: 1, atStart: 3}, now)
	if d.Requests != 101 || d.Refused != 1 || d.Rate != 0 {
		t.Errorf("at first: %v", d)
	}
	d = b.door(map[kind]int64{get: 126, denied: 1, missing: 1, atStart: 3}, now.Add(10*time.Second))
	if d.Requests != 121 || d.Refused != 2 || d.Rate != 2 {
		t.Errorf("ten seconds later: %v", d)
	}
	if d.Refusals[0].Status != "404" || d.Refusals[1].Call != "POST pods" || d.Refusals[1].Last.AsTime() != now {
		t.Errorf("refusals: %v", d.Refusals)
	}
	if d = b.door(map[kind]int64{get: 126, denied: 1, missing: 1, atStart: 3}, now.Add(2*time.Minute)); d.Rate != 0 {
		t.Errorf("after a quiet minute: %v", d)
	}
}

func TestCall(t *testing.T) {
	if got := callOf(map[string]string{"verb": "PATCH", "group": "apps", "resource": "deployments", "subresource": "scale"}); got != "PATCH apps/deployments/scale" {
		t.Error(got)
	}
	if got := callOf(map[string]string{"verb": "GET"}); got != "GET" {
		t.Error(got)
	}
}
