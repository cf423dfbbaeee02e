package server

import (
	"math/big"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// TestWaste reads the book of a server with one node, where one role borrows and nobody wants the rest.
func TestWaste(t *testing.T) {
	var ahead atomic.Int64
	w := newWorld(t, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) } })
	c := w.as(w.admin)
	call(t, c.plan.Apply, &polderv1.ApplyRequest{Plan: "roles: {a: {guarantee: {cpu: 3}}, b: {}}", BaseRevision: 1})
	one := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	w.connect(one)
	w.submit(c, process("b", 2, "1"))
	w.until("two tasks", func(p *picture) bool { r, _ := p.roleView("b"); return r.Running == 2 })
	ahead.Store(int64(20 * time.Minute))
	all := call(t, c.role.Waste, &polderv1.WasteRequest{})
	roles := map[string]bool{}
	for _, r := range all.Rows {
		roles[r.Role+" "+r.Resource] = true
		left, right := sumOf(t, r.Guarantee, r.Borrowed), sumOf(t, r.Used, r.Lent)
		for _, q := range r.Idle {
			right.Add(right, sumOf(t, q))
		}
		if left.Cmp(right) != 0 {
			t.Errorf("%v does not balance", r)
		}
	}
	for _, want := range []string{" cpu", " memory", "a cpu", "b cpu", "b memory"} {
		if !roles[want] {
			t.Errorf("no row %q: %v", want, roles)
		}
	}
	if len(all.Summary) != 2 || !strings.Contains(all.Summary[0], " of 4 cpu idled in the last 20m") || !strings.Contains(all.Summary[0], " no demand") {
		t.Errorf("the summary is %q", all.Summary)
	}
	last := call(t, c.role.Waste, &polderv1.WasteRequest{Role: "b", Last: durationOf(time.Minute)})
	if from := last.From.AsTime(); !last.To.AsTime().After(from) || last.To.AsTime().Sub(from) > 6*time.Minute || from.Minute()%5 != 0 {
		t.Errorf("the last minute is from %s to %s", from, last.To.AsTime())
	}
	for _, r := range last.Rows {
		if r.Role != "b" || r.Lent != "0" || r.Guarantee != "0" || r.Borrowed == "0" {
			t.Errorf("of role b: %v", r)
		}
	}
	refusal(t, connect.CodeNotFound, c.role.Waste, &polderv1.WasteRequest{Role: "nobody"})
	refusal(t, connect.CodeInvalidArgument, c.role.Waste, &polderv1.WasteRequest{Last: durationOf(-time.Second)})
}

// TestHistory: what a role borrows is in its line, and a stranger sees none.
func TestHistory(t *testing.T) {
	w := newWorld(t, nil)
	c := w.as(w.admin)
	call(t, c.plan.Apply, &polderv1.ApplyRequest{Plan: "roles: {a: {guarantee: {cpu: 3}}, b: {}}", BaseRevision: 1})
	w.connect(w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"}))
	w.submit(c, process("b", 2, "1"))
	w.until("two tasks", func(p *picture) bool { r, _ := p.roleView("b"); return r.Running == 2 })
	l := w.server.leader.Load()
	l.sample()
	l.sample()
	lines := call(t, c.role.History, &polderv1.RoleServiceHistoryRequest{Path: "b"}).Lines
	if len(lines) == 0 || lines[0].Resource != "cpu" || len(lines[0].Times) < 2 || lines[0].Borrowed[len(lines[0].Times)-1] != 2 {
		t.Errorf("of b: %v", lines)
	}
	lines = call(t, c.role.History, &polderv1.RoleServiceHistoryRequest{Path: "a"}).Lines
	if n := len(lines[0].Times); len(lines) != 1 || lines[0].Guarantee[n-1] != 3 || lines[0].Lent[n-1] != 1 || len(lines[0].Demand) != n {
		t.Errorf("of a: %v", lines)
	}
	refusal(t, connect.CodeNotFound, c.role.History, &polderv1.RoleServiceHistoryRequest{Path: "nobody"})
}

func sumOf(t *testing.T, decimals ...string) *big.Rat {
	t.Helper()
	sum := new(big.Rat)
	for _, d := range decimals {
		x, ok := new(big.Rat).SetString(d)
		if !ok {
			t.Fatalf("%q is no number", d)
		}
		sum.Add(sum, x)
	}
	return sum
}
