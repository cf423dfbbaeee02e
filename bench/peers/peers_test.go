package main

import (
	"strings"
	"testing"
)

// TestPlayers: everybody places all of a small work, and the referee has nothing to object to.
func TestPlayers(t *testing.T) {
	for _, p := range players {
		for _, deep := range []bool{false, true} {
			w := Shape{Agents: 50, Leaves: 25, Share: 0.5, Deep: deep, Seed: 1}.work()
			out, err := p.play(w)
			if err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
			if faults := w.judge(out.Placed); len(faults) > 0 || len(out.Placed) == 0 {
				t.Errorf("%s: %d placements, the referee objects: %.500s", p.name, len(out.Placed), strings.Join(faults, "\n"))
			}
		}
	}
}

// TestJudge: what is missing, doubled or too much is found.
func TestJudge(t *testing.T) {
	w := Shape{Agents: 50, Leaves: 25, Share: 0.5, Seed: 1}.work()
	out, err := polder(w)
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range []struct {
		want string
		make func([]Placement) []Placement
	}{
		{"1 tasks of ask " + out.Placed[0].Ask, func(ps []Placement) []Placement { return ps[1:] }},
		{"-1 tasks of ask " + out.Placed[0].Ask, func(ps []Placement) []Placement { return append(ps, ps[0]) }},
		{"machine n00007: ", func(ps []Placement) []Placement {
			for i := range ps {
				ps[i].Node = "n00007"
			}
			return ps
		}},
		{`no machine "x"`, func(ps []Placement) []Placement { ps[0].Node = "x"; return ps }},
	} {
		if got := strings.Join(w.judge(fault.make(append([]Placement(nil), out.Placed...))), "\n"); !strings.Contains(got, fault.want) {
			t.Errorf("the referee says %.300q, want %q in it", got, fault.want)
		}
	}
	for role, s := range w.Plan.Roles {
		if s.Limit != nil {
			s.Limit["cpu"] = 1
			w.Plan.Roles[role] = s
		}
	}
	if got := strings.Join(w.judge(out.Placed), "\n"); !strings.Contains(got, "leaf ") {
		t.Errorf("limits that are passed are not found: %.300q", got)
	}
}
