package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// TestDebtsHaveClocksOfTheirOwn follows what a role owes: each start has its clock, whatever starts stops the oldest.
func TestDebtsHaveClocksOfTheirOwn(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps string // "now: owed/claims" or "pay amount", in order
		want  []int64
	}{
		{"one by one", "10: 2/0, 20: 3/2", []int64{10, 10, 20}},
		{"what starts stops the oldest", "10: 1/1, 20: 2/2, pay 4, 30: 1/1", []int64{20}},
		{"and its place may be owed again", "10: 1/1, pay 4, 30: 1/0", []int64{30}},
		{"what has an excuse now is the youngest", "10: 1/1, 20: 2/1, 30: 1/1, 40: 2/1", []int64{10, 40}},
		{"a claim that is lost may be the oldest", "10: 1/1, 20: 2/2, 30: 1/1", []int64{20}},
		{"smaller starts make up for one", "10: 1/0, 20: 2/0, pay 2, pay 2, 30: 1/0", []int64{20}},
		{"larger ones for several", "10: 1/0, 20: 2/0, 30: 3/0, pay 8, 40: 1/0", []int64{30}},
	} {
		var d debts
		for step := range strings.SplitSeq(c.steps, ", ") {
			var now, amount int64
			var owed, claims int
			if _, err := fmt.Sscanf(step, "pay %d", &amount); err == nil {
				d.pay([]dose{{0, resource.Amount(amount)}})
			} else if _, err := fmt.Sscanf(step, "%d: %d/%d", &now, &owed, &claims); err != nil {
				t.Fatalf("%q: %v", step, err)
			} else {
				d.become(slices.Repeat([]debt{{amount: []dose{{0, 4}}}}, owed), claims, now)
			}
		}
		var since []int64
		for _, x := range d.clocks {
			since = append(since, x.since)
		}
		if !slices.Equal(since, c.want) {
			t.Errorf("%s: %s: clocks run since %v, want %v", c.name, c.steps, since, c.want)
		}
	}
}

// TestPromisesBite plays a scenario against a T that is too short to be kept: it must be told, whether the leader has asked somebody and waits
// for it, or asks nobody.
func TestPromisesBite(t *testing.T) {
	for name, delay := range map[string]time.Duration{"asks": 5 * time.Second, "asks nobody": time.Hour} {
		s := load(t, "greedy-tenant")
		waits := role.Duration(delay)
		s.Plan.Cluster.ReclaimDelay = &waits
		r, err := newRun(s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range r.books.roles {
			a.bound = 20 * time.Second // borrowers have notice of 30 s
		}
		for r.checks.count == 0 && r.failed == nil && r.next(r.end) {
		}
		if r.checks.count == 0 || !strings.Contains(r.checks.violations[0], "owes") {
			t.Errorf("a leader who %s: nobody noticed that claims waited longer than 20 s: %v", name, r.checks.violations)
		}
	}
}
