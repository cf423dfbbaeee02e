package role

import (
	"encoding/json"
	"testing"
	"time"

	"polder.dev/polder/core/resource"
)

// corp is the plan of the contract: a tree, a nightly window and one across a date.
const corp = `{
"roles": {
  "corp":             {"guarantee": {"cpu": 20000, "memory": "80Ti"}, "lendGrace": "1m"},
  "corp/search":      {"guarantee": {"cpu": 8000}, "priority": 10},
  "corp/search/rank": {"guarantee": {"cpu": 5000}, "weight": 3},
  "corp/search/ads":  {"guarantee": {"cpu": 2000}},
  "corp/analytics":   {"guarantee": {"cpu": 4000}, "limit": {"cpu": 16000}, "reclaimGrace": "45s", "minRuntime": "10s"}},
"windows": [
  {"name": "night", "when": {"daily": "22:00-07:00", "tz": "Asia/Shanghai"}, "set": {"corp/analytics": {"priority": 20}}},
  {"name": "singles-day", "when": {"from": "2026-11-10T20:00", "to": "2026-11-12T02:00", "tz": "Asia/Shanghai"}, "lead": "auto", "warm": "10m",
   "set": {"corp/search": {"guarantee": {"cpu": 16000}}, "corp/analytics": {"guarantee": {"cpu": 500}, "limit": {"cpu": 2000}}}}]
}`

func parsePlan(t testing.TB, text string) *Plan {
	t.Helper()
	var p Plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

// at reads an instant in Shanghai, where the corp plan lives.
func at(t testing.TB, text string) time.Time {
	t.Helper()
	loc, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	out, err := time.ParseInLocation("2006-01-02 15:04:05", text, loc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func find(t testing.TB, tree *Tree, path string) Role {
	t.Helper()
	id, ok := tree.Lookup(path)
	if !ok {
		t.Fatalf("no role %q", path)
	}
	return tree.Roles[id]
}

func cpu(n int64) resource.Amount { return resource.Amount(n) * resource.Milli }

func TestEffectiveBase(t *testing.T) {
	tree := Effective(parsePlan(t, corp), at(t, "2026-11-01 12:00:00"), resource.NewKinds())
	var paths []string
	for id, r := range tree.Roles {
		paths = append(paths, r.Path)
		if r.Parent >= ID(id) {
			t.Errorf("%s comes before its parent", r.Path)
		}
	}
	want := []string{"", "corp", "corp/.self", "corp/analytics", "corp/search", "corp/search/.self", "corp/search/ads", "corp/search/rank"}
	if len(paths) != len(want) {
		t.Fatalf("roles %q, want %q", paths, want)
	}
	for i := range want {
		if paths[i] != want[i] {
			t.Fatalf("roles %q, want %q", paths, want)
		}
	}
	rank := find(t, tree, "corp/search/rank")
	if rank.Weight != 3000 || rank.LendGrace != time.Minute || rank.ReclaimGrace != 30*time.Second || rank.Priority != 0 {
		t.Errorf("rank = %+v", rank)
	}
	self := find(t, tree, "corp/search/.self")
	if self.Priority != 10 || self.Weight != 1000 || self.LendGrace != time.Minute {
		t.Errorf("self = %+v", self)
	}
	q := self.Quotas[""]
	if q.Guarantee[resource.CPU] != 0 || q.Lend[resource.CPU] != 0 || q.Limit[resource.CPU] != resource.Unlimited {
		t.Errorf("self quota = %+v", q)
	}
	analytics := find(t, tree, "corp/analytics")
	q = analytics.Quotas[""]
	if analytics.ReclaimGrace != 45*time.Second || analytics.MinRuntime != 10*time.Second || q.Limit[resource.CPU] != cpu(16000) ||
		q.Lend[resource.CPU] != cpu(4000) || q.Borrow[resource.CPU] != resource.Unlimited || q.Limit[resource.Memory] != resource.Unlimited {
		t.Errorf("analytics = %+v", analytics)
	}
	if tree.Roles[Root].Quotas != nil {
		t.Errorf("the root has quotas")
	}
}

func TestEffectiveWindows(t *testing.T) {
	p := parsePlan(t, corp)
	kinds := resource.NewKinds()
	for _, tc := range []struct {
		at                string
		search, analytics int64
		warm              int64
		priority          int
	}{
		{"2026-11-10 19:59:59", 8000, 4000, 0, 0},
		{"2026-11-10 20:00:00", 16000, 500, 8000, 0},
		{"2026-11-10 20:09:59", 16000, 500, 8000, 0},
		{"2026-11-10 20:10:00", 16000, 500, 0, 0},
		{"2026-11-10 22:00:00", 16000, 500, 0, 20},
		{"2026-11-12 01:59:59", 16000, 500, 0, 20},
		{"2026-11-12 02:00:00", 8000, 4000, 0, 20},
		{"2026-11-12 07:00:00", 8000, 4000, 0, 0},
	} {
		tree := Effective(p, at(t, tc.at), kinds)
		search, analytics := find(t, tree, "corp/search"), find(t, tree, "corp/analytics")
		if got := search.Quotas[""].Guarantee[resource.CPU]; got != cpu(tc.search) {
			t.Errorf("%s: search has %d, want %d", tc.at, got, cpu(tc.search))
		}
		if got := search.Quotas[""].Warm[resource.CPU]; got != cpu(tc.warm) {
			t.Errorf("%s: search warms %d, want %d", tc.at, got, cpu(tc.warm))
		}
		if got := analytics.Quotas[""].Guarantee[resource.CPU]; got != cpu(tc.analytics) || analytics.Priority != tc.priority {
			t.Errorf("%s: analytics has %d at priority %d, want %d at %d", tc.at, got, analytics.Priority, cpu(tc.analytics), tc.priority)
		}
	}
}

// TestLeastGuarantee is what a role can count on whichever windows are open.
func TestLeastGuarantee(t *testing.T) {
	p := &Plan{
		Roles: map[string]RoleSpec{
			"db":       {Guarantee: resource.Resources{"disk": 100, "cpu": 4000}},
			"corp":     {Guarantee: resource.Resources{"disk": 50}},
			"corp/web": {Guarantee: resource.Resources{"disk": 30}},
		},
		Windows: []Window{
			{Name: "night", Set: map[string]RoleSpec{"db": {Guarantee: resource.Resources{"disk": 60}}}},
			{Name: "peak", Set: map[string]RoleSpec{"db": {Guarantee: resource.Resources{"disk": 80, "cpu": 9000}}}},
		},
	}
	for _, c := range []struct {
		path, name string
		want       resource.Amount
	}{{"db", "disk", 60}, {"db", "cpu", 4000}, {"db", "gpu", 0}, {"corp", "disk", 0}, {"corp/web", "disk", 30}, {"nobody", "disk", 0}} {
		if got := p.LeastGuarantee(c.path, c.name); got != c.want {
			t.Errorf("least guarantee of %s in %s = %d, want %d", c.name, c.path, got, c.want)
		}
	}
}
