package sim

import (
	"context"
	"math"
	"math/big"
	"testing"
)

// checkLedger reads the ledger of a report as anybody would: each row adds up to the last digit, inner rows are the sum of what is
// below, and what is lent somebody has borrowed.
func checkLedger(t *testing.T, r *Report) {
	t.Helper()
	if len(r.Ledger.Pool()) != len(r.Pool) {
		t.Errorf("the ledger has %d resources, the pool %d", len(r.Ledger.Pool()), len(r.Pool))
	}
	for _, row := range r.Ledger.Rows {
		in, out := decimal(t, row.Guarantee, row.Borrowed), decimal(t, row.Used, row.Lent)
		for _, q := range row.Idle {
			out.Add(out, decimal(t, q))
		}
		if in.Cmp(out) != 0 {
			t.Errorf("%s of %q: %s came in, %s went out", row.Resource, row.Role, in, out)
		}
	}
	checkMarket(t, r)
}

// checkMarket checks the top roles of a report against its root: they use what the pool uses, and lend no more than is borrowed.
func checkMarket(t *testing.T, r *Report) {
	t.Helper()
	for _, pool := range r.Ledger.Pool() {
		used, lent, borrowed := new(big.Rat), new(big.Rat), new(big.Rat)
		for _, row := range r.Ledger.Of(pool.Resource) {
			if row.Role != "" && row.Role == top(row.Role) {
				used.Add(used, decimal(t, row.Used))
				lent.Add(lent, decimal(t, row.Lent))
				borrowed.Add(borrowed, decimal(t, row.Borrowed))
			}
		}
		if used.Cmp(decimal(t, pool.Used)) != 0 {
			t.Errorf("%s: the roles used %s of %s, the pool %s", r.Scenario, used, pool.Resource, pool.Used)
		}
		if lent.Cmp(borrowed) > 0 {
			t.Errorf("%s: %s of %s was lent, %s borrowed", r.Scenario, lent, pool.Resource, borrowed)
		}
	}
}

// TestLedgerAgainstBooks compares the ledger with the simulator's own accounts, which share nothing with it: where no machine and no
// message is lost both count the same hours.
func TestLedgerAgainstBooks(t *testing.T) {
	s := load(t, "day-night")
	s.Faults = nil
	s.Agents.Loss = 0
	r := playFor(t, s)
	if r.Ledger.Leaderless != "" {
		t.Errorf("%s without a leader", r.Ledger.Leaderless)
	}
	for _, x := range r.Roles {
		for _, row := range r.Ledger.Rows {
			if row.Role != x.Path {
				continue
			}
			held := hoursOf(t, row.Used) + hoursOf(t, row.Idle["Starting"])
			if want := x.Hours[row.Resource]; math.Abs(held-want) > 1e-6*(1+want) {
				t.Errorf("%q held %f hours of %s, %f by the ledger", x.Path, want, row.Resource, held)
			}
		}
	}
}

// TestLedgerOverLeaders adds the books of several leaders up; what passes between two of them is told.
func TestLedgerOverLeaders(t *testing.T) {
	s := load(t, "day-night")
	s.Faults = append(s.Faults, Fault{Kind: "leader", At: "+3h"}, Fault{Kind: "leader", At: "+9h"})
	r := playFor(t, s)
	if r.Ledger.Leaderless == "" {
		t.Error("the time without a leader is not told")
	}
	if r.Violated > 0 {
		t.Error(r.Violations)
	}
	checkLedger(t, r)
}

// playFor plays a scenario that was changed.
func playFor(t *testing.T, s *Scenario) *Report {
	t.Helper()
	if err := s.Prepare(); err != nil {
		t.Fatal(err)
	}
	r, err := Run(context.Background(), s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func decimal(t *testing.T, texts ...string) *big.Rat {
	t.Helper()
	sum := new(big.Rat)
	for _, text := range texts {
		x, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%q is no number", text)
		}
		sum.Add(sum, x)
	}
	return sum
}

// hoursOf turns an exact quantity of a ledger into hours of one, "" being none.
func hoursOf(t *testing.T, text string) float64 {
	t.Helper()
	if text == "" {
		return 0
	}
	x, _ := decimal(t, text).Float64()
	return x / 3600
}
