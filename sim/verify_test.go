package sim

import (
	"context"
	"strings"
	"testing"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/planfile"
)

const verifyPlan = `
roles:
  corp:           {guarantee: {cpu: 20000}, lendGrace: 1m}
  corp/search:    {guarantee: {cpu: 8000}}
  corp/analytics: {guarantee: {cpu: 4000}, reclaimGrace: 45s, minRuntime: 10s}
  slow:           {reclaimGrace: 10m}
windows:
  - {name: night,       when: {daily: "22:00-07:00", tz: Asia/Shanghai}, set: {corp/analytics: {priority: 20}}}
  - {name: singles-day, when: {from: 2026-11-10T20:00, to: 2026-11-12T02:00, tz: Asia/Shanghai}, lead: auto, set: {corp/search: {guarantee: {cpu: 12000}}}}
`

func TestVerify(t *testing.T) {
	zone, _ := time.LoadLocation("Asia/Shanghai")
	plan, err := planfile.Parse([]byte(verifyPlan))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ statement, nodes, outcome, why string }{
		"all the time":      {"corp/search gets cpu=8000 within 66s at any time in 2026-10", "", "proven", "reclaimDelay 5s + lendGrace 1m0s of corp/search + 1s"},
		"in the window":     {"corp/search gets cpu=12000 within 66s at any time from 2026-11-10T21:00 to 2026-11-12T01:00", "", "proven", "windows open: singles-day"},
		"a second too soon": {"corp/search gets cpu=8000 within 65s at any time in 2026-10", "", "open", "= 1m6s, longer than 1m5s"},
		"outside":           {"corp/search gets cpu=12000 within 90s at any time in 2026-11", "", "refuted", "guaranteed cpu=8000, cpu=4000 less than cpu=12000"},
		"after it closed":   {"corp/search gets cpu=12000 within 90s at any time from 2026-11-11 to 2026-11-13", "", "refuted", "2026-11-12T02:00:00+08:00"},
		"the opening":       {"corp/search gets cpu=8000 within 90s at any time in 2026-11", "", "open", "may stay for 10m0s"},
		"too few nodes":     {"corp/search gets cpu=8000 within 90s at any time in 2026-10", "cpu=15000", "refuted", "add up to cpu=20000, the nodes have cpu=15000"},
		"enough nodes":      {"corp/search gets cpu=8000 within 90s at 2026-10-01T00:00", "cpu=20000", "proven", "T ="},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ParseStatement(test.statement, zone)
			if err != nil {
				t.Fatal(err)
			}
			var nodes resource.Resources
			if test.nodes != "" {
				nodes, _ = resource.Parse(test.nodes)
			}
			v, err := Verify(plan, s, nodes)
			if err != nil {
				t.Fatal(err)
			}
			if why := strings.Join(v.Why, "\n"); v.Outcome != test.outcome || !strings.Contains(why, test.why) {
				t.Errorf("%s: %s; want %s with %q", v.Outcome, why, test.outcome, test.why)
			}
		})
	}
}

// TestWitness plays what a plan does not promise: with borrowers that keep all of their notice it really takes so long.
func TestWitness(t *testing.T) {
	plan, err := planfile.Parse([]byte("roles:\n  a: {guarantee: {cpu: 40}, lendGrace: 1m}\n  b: {guarantee: {cpu: 40}, reclaimGrace: 1m}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for within, outcome := range map[string]string{"30s": "refuted", "66s": "proven"} {
		s, err := ParseStatement("a gets cpu=40 within "+within+" at 2026-03-02T10:00", time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		v, err := Verify(plan, s, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := Witness(context.Background(), plan, s, v, nil); err != nil {
			t.Fatal(err)
		}
		if v.Outcome != outcome || (outcome == "refuted") != (len(v.Timeline) > 0) {
			t.Errorf("within %s: %s, %q", within, v.Outcome, v.Timeline)
		}
	}
}

func TestParseStatementRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"a gets cpu=1":                                       "write it as",
		"a gets cpu=x within 1m in 2026":                     "cpu",
		"a gets cpu=1 within soon in 2026":                   `"soon" is not a duration`,
		"a gets cpu=1 within 1m in spring":                   `"spring" is not a year`,
		"a gets cpu=1 within 1m in 2026-02-02 to 2026-01-01": "does not end after it begins",
	} {
		if _, err := ParseStatement(text, time.UTC); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestVerifySaysWhatItLeavesOut checks that a proof for a guarantee in whole packages says that the packages are not part of it.
func TestVerifySaysWhatItLeavesOut(t *testing.T) {
	for text, packages := range map[string]bool{
		"roles: {a: {guarantee: {cpu: 8}, unit: {cpu: 4}}}": true,
		"roles: {a: {guarantee: {cpu: 8}}}":                 false,
	} {
		plan, err := planfile.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		s, err := ParseStatement("a gets cpu=8 within 200s at any time in 2026-10", time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		v, err := Verify(plan, s, nil)
		if err != nil {
			t.Fatal(err)
		}
		if said := strings.Contains(strings.Join(v.Assumptions, "\n"), "whole packages"); said != packages {
			t.Errorf("%s: %v, a word on packages: %t", text, v.Assumptions, said)
		}
	}
}
