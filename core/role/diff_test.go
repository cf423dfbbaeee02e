package role

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestDiff(t *testing.T) {
	from := parsePlan(t, corp)
	to := parsePlan(t, `{
	"roles": {
	  "corp":             {"guarantee": {"cpu": 20000, "memory": "90Ti", "disk": "1Pi"}},
	  "corp/search":      {"guarantee": {"cpu": 8000}, "priority": 10},
	  "corp/search/rank": {"guarantee": {"cpu": 5000}, "weight": 3, "lend": "50%"},
	  "corp/search/news": {"guarantee": {"cpu": 2000}, "weight": 2},
	  "corp/analytics":   {"guarantee": {"cpu": 4000}, "limit": {"cpu": 16000}, "reclaimGrace": "45s", "minRuntime": "10s"}},
	"windows": [
	  {"name": "singles-day", "when": {"from": "2026-11-10T20:00", "to": "2026-11-12T02:00", "tz": "Asia/Shanghai"}, "lead": "5m", "warm": "10m",
	   "set": {"corp/search": {"guarantee": {"cpu": 16000}}, "corp/analytics": {"guarantee": {"cpu": 500}, "limit": {"cpu": 2000}}}},
	  {"name": "night", "when": {"daily": "22:00-06:00", "tz": "Asia/Shanghai"}, "set": {"corp/analytics": {"priority": 20}}},
	  {"name": "payday", "when": {"monthly": "25 00:00-26 00:00"}}],
	"pools": [{"name": "gpus", "selector": {"gpu": "a100"}}],
	"cluster": {"rebalance": "fair"}}`)
	want := []string{
		"cluster.rebalance: added fair",
		`pools.gpus: added {name: gpus, selector: {gpu: a100}}`,
		"roles.corp.guarantee.disk: added 1Pi",
		"roles.corp.guarantee.memory: 80Ti → 90Ti",
		"roles.corp.lendGrace: removed 1m",
		`roles["corp/search/ads"]: removed {guarantee: {cpu: 2000}}`,
		`roles["corp/search/news"]: added {guarantee: {cpu: 2000}, weight: 2}`,
		`roles["corp/search/rank"].lend: added 50%`,
		"windows: night, singles-day → singles-day, night",
		"windows.night.when.daily: 22:00-07:00 → 22:00-06:00",
		"windows.payday: added {name: payday, when: {monthly: 25 00:00-26 00:00}}",
		"windows.singles-day.lead: added 5m",
	}
	var got []string
	for _, c := range Diff(from, to) {
		got = append(got, c.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDiffIsEmptyForOnePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := drawPlan(t), drawPlan(t)
		if d := Diff(p, p); len(d) != 0 {
			t.Fatal(d)
		}
		there, back := Diff(p, q), Diff(q, p)
		if len(there) != len(back) {
			t.Fatalf("%d changes there, %d back", len(there), len(back))
		}
		for i := range there {
			if there[i].Path != back[i].Path || there[i].From != back[i].To || there[i].To != back[i].From {
				t.Fatalf("there %v, back %v", there[i], back[i])
			}
		}
	})
}
