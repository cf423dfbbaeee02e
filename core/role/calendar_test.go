package role

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
)

func TestNextChange(t *testing.T) {
	p := parsePlan(t, corp)
	now := at(t, "2026-11-10 12:00:00")
	for _, want := range []string{
		"2026-11-10 20:00:00", "2026-11-10 20:10:00", "2026-11-10 22:00:00", "2026-11-11 07:00:00", "2026-11-11 22:00:00",
		"2026-11-12 02:00:00", "2026-11-12 07:00:00", "2026-11-12 22:00:00",
	} {
		next, ok := NextChange(p, now)
		if !ok || !next.Equal(at(t, want)) {
			t.Fatalf("after %s comes %s, %v; want %s", now, next, ok, want)
		}
		now = next
	}
	if next, ok := NextChange(&Plan{}, now); ok {
		t.Errorf("a plan without windows changes at %s", next)
	}
}

func TestUpcoming(t *testing.T) {
	p := parsePlan(t, corp)
	opening := at(t, "2026-11-10 20:00:00")
	// corp/search inherits a lendGrace of 1m from corp; 5s of reclaimDelay and 1s of slack come on top.
	from := opening.Add(-66 * time.Second)
	if next, ok := NextLead(p, at(t, "2026-11-10 12:00:00")); !ok || !next.Equal(from) {
		t.Errorf("the next lead begins at %s, %v; want %s", next, ok, from)
	}
	if got := Upcoming(p, from.Add(-1)); len(got) != 0 {
		t.Errorf("before the lead: %v", got)
	}
	for _, now := range []time.Time{from, opening.Add(-1)} {
		got := Upcoming(p, now)
		if len(got) != 1 || !got[0].At.Equal(opening) || !got[0].From.Equal(from) || !reflect.DeepEqual(got[0].Windows, []string{"singles-day"}) {
			t.Errorf("at %s: %v", now, got)
		}
	}
	if got := Upcoming(p, opening); len(got) != 0 {
		t.Errorf("at the opening: %v", got)
	}
	// The closing gives corp/analytics its 4000 back.
	closing := at(t, "2026-11-12 02:00:00")
	if next, ok := NextLead(p, opening); !ok || !next.Equal(closing.Add(-66*time.Second)) {
		t.Errorf("the lead of the closing begins at %s, %v", next, ok)
	}
	if next, ok := NextLead(p, closing); ok {
		t.Errorf("after everything a lead begins at %s", next)
	}
}

func TestUpcomingLeads(t *testing.T) {
	p := parsePlan(t, `{
	"roles": {"a": {"guarantee": {"cpu": 1}, "lendGrace": "10m"}, "a/b": {"guarantee": {"cpu": 1}, "lendGrace": "1m"}, "c": {}},
	"cluster": {"reclaimDelay": "2s"},
	"windows": [
	  {"name": "long", "when": {"daily": "12:00-13:00"}, "lead": "2h", "set": {"c": {"guarantee": {"cpu": 1}}}},
	  {"name": "auto", "when": {"daily": "12:00-14:00"}, "set": {"a": {"guarantee": {"cpu": 2}}, "a/b": {"guarantee": {"cpu": 2}}}},
	  {"name": "off", "when": {"daily": "11:00-15:00"}, "lead": "0s", "set": {"c": {"guarantee": {"memory": 1}}}},
	  {"name": "lower", "when": {"daily": "16:00-17:00"}, "set": {"a": {"guarantee": {"cpu": 0}}, "a/b": {"guarantee": {"cpu": 0}, "lendGrace": "20m"}}},
	  {"name": "other", "when": {"daily": "18:00-19:00"}, "set": {"c": {"priority": 1}}}]}`)
	day := at(t, "2026-05-01 08:00:00") // midnight UTC
	hour := func(h float64) time.Time { return day.Add(time.Duration(h * float64(time.Hour))) }
	var got []Raise
	for now := day; len(got) < 2; {
		next, ok := NextLead(p, now)
		if !ok {
			t.Fatalf("no lead after %s", now)
		}
		now = next
		got = append(got, Upcoming(p, now)...)
	}
	want := []Raise{
		{At: hour(12), From: hour(10), Windows: []string{"long", "auto"}},
		// At the closing the window's own lendGrace is over.
		{At: hour(17), From: hour(17).Add(-10*time.Minute - 3*time.Second), Windows: []string{"lower"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReclaimBound(t *testing.T) {
	tree := Effective(parsePlan(t, `{"roles": {"a": {"lendGrace": "5m"}, "a/b": {"lendGrace": "1m"}, "a/b/c": {}, "d": {}}}`), time.Time{}, resource.NewKinds())
	for path, want := range map[string]time.Duration{
		"": 0, "a": 5 * time.Minute, "a/.self": 5 * time.Minute, "a/b/c": 5 * time.Minute, "d": 2 * time.Minute,
	} {
		id, ok := tree.Lookup(path)
		if got := tree.ReclaimBound(id, time.Second); !ok || got != want+time.Second {
			t.Errorf("%q: %s, want %s", path, got, want+time.Second)
		}
	}
}

func TestSettingsAt(t *testing.T) {
	p := parsePlan(t, `{"cluster": {"tolerance": "5%"}, "windows": [
		{"name": "a", "when": {"daily": "10:00-20:00"}, "rebalance": "fair"},
		{"name": "b", "when": {"daily": "12:00-14:00"}, "rebalance": "off"},
		{"name": "c", "when": {"daily": "12:00-14:00"}}]}`)
	for hour, want := range map[int]Rebalance{9: RebalanceOff, 10: RebalanceFair, 13: RebalanceOff, 14: RebalanceFair} {
		got := SettingsAt(p, time.Date(2026, 5, 1, hour, 0, 0, 0, time.UTC))
		if want := (Settings{DefaultReclaimDelay, want, 5000}); got != want {
			t.Errorf("at %d: %+v, want %+v", hour, got, want)
		}
	}
	if got, want := SettingsAt(&Plan{}, time.Time{}), (Settings{5 * time.Second, RebalanceOff, 10_000}); got != want {
		t.Errorf("defaults %+v, want %+v", got, want)
	}
}

// drawPlan draws a plan that is sound in its fields; its promises may not add up.
func drawPlan(t *rapid.T) *Plan {
	paths := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "a/b", "a/b/c", "a/d", "a-b", "e/f", "e/g/h"}), 1, 6, rapid.ID).Draw(t, "paths")
	p := &Plan{Roles: map[string]RoleSpec{}, Pools: []PoolSpec{{Name: "gpus", Selector: resource.Attributes{"gpu": "yes"}}}}
	for _, path := range paths {
		p.Roles[path] = drawSpec(t, path)
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "windows") {
		w := Window{Name: string(rune('a' + i)), When: drawWhen(t, "Europe/Berlin"), Set: map[string]RoleSpec{}}
		w.Warm = Duration(rapid.IntRange(0, 90).Draw(t, "warm")) * Duration(time.Minute)
		for _, path := range rapid.SliceOfNDistinct(rapid.SampledFrom(paths), 0, 3, rapid.ID).Draw(t, "set") {
			w.Set[path] = drawSpec(t, path)
		}
		p.Windows = append(p.Windows, w)
	}
	return p
}

func drawSpec(t *rapid.T, path string) RoleSpec {
	amounts := rapid.MapOf(rapid.SampledFrom([]string{"cpu", "memory", "gpus/gpu"}), rapid.Custom(func(t *rapid.T) resource.Amount {
		return resource.Amount(rapid.Int64Range(0, 9).Draw(t, "amount")) * resource.Milli
	}))
	s := RoleSpec{Guarantee: amounts.Draw(t, path+" guarantee"), Limit: amounts.Draw(t, path+" limit")}
	share := rapid.OneOf(rapid.Just[*Share](nil), rapid.Custom(func(t *rapid.T) *Share { return &Share{Amounts: amounts.Draw(t, "of")} }),
		rapid.Custom(func(t *rapid.T) *Share {
			p := Percent(rapid.Int64Range(0, int64(Whole)).Draw(t, "%"))
			return &Share{Percent: &p}
		}))
	s.Lend, s.Borrow = share.Draw(t, path+" lend"), share.Draw(t, path+" borrow")
	s.Weight = rapid.Ptr(rapid.Map(rapid.Int64Range(1, 5000), func(i int64) Weight { return Weight(i) }), true).Draw(t, path+" weight")
	s.Priority = rapid.Ptr(rapid.IntRange(-2, 2), true).Draw(t, path+" priority")
	s.LendGrace = rapid.Ptr(rapid.Map(rapid.IntRange(0, 100), func(i int) Duration { return Duration(time.Duration(i) * time.Second) }), true).Draw(t, path+" lendGrace")
	return s
}

func drawInstant(t *rapid.T) time.Time {
	return clockStart.Add(time.Duration(rapid.IntRange(0, 460*24*60).Draw(t, "minute")) * time.Minute)
}

// TestEffectiveFieldByField looks every field up the long way round: the last open window that has it, the base, the
// default.
func TestEffectiveFieldByField(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, now, kinds := drawPlan(t), drawInstant(t), resource.NewKinds()
		open := map[string]bool{}
		for _, name := range OpenWindows(p, now) {
			open[name] = true
		}
		tree := Effective(p, now, kinds)
		if !reflect.DeepEqual(tree, Effective(p, now, kinds)) {
			t.Fatal("the same plan gives two trees")
		}
		for path := range p.Roles {
			layers := []RoleSpec{p.Roles[path]}
			for _, w := range p.Windows {
				if s, ok := w.Set[path]; ok && open[w.Name] {
					layers = append(layers, s)
				}
			}
			id, ok := tree.Lookup(path)
			if !ok {
				t.Fatalf("%s is missing", path)
			}
			checkRole(t, tree.Roles[id], layers, kinds)
		}
	})
}

func checkRole(t *rapid.T, r Role, layers []RoleSpec, kinds *resource.Kinds) {
	weight, priority := int64(1000), 0
	for _, s := range layers {
		if s.Weight != nil {
			weight = int64(*s.Weight)
		}
		if s.Priority != nil {
			priority = *s.Priority
		}
	}
	if r.Weight != weight || r.Priority != priority {
		t.Fatalf("%s has weight %d and priority %d, want %d and %d", r.Path, r.Weight, r.Priority, weight, priority)
	}
	for _, pool := range []string{"", "gpus"} {
		for k := range kinds.Len() {
			name := resource.JoinName(pool, kinds.Name(resource.Kind(k)))
			g, limit := resource.Amount(0), resource.Unlimited
			for _, s := range layers {
				if a, ok := s.Guarantee[name]; ok {
					g = a
				}
				if a, ok := s.Limit[name]; ok {
					limit = a
				}
			}
			lend, borrow := g, resource.Unlimited
			for _, s := range layers {
				lend, borrow = shareOver(s.Lend, name, g, lend), shareOver(s.Borrow, name, g, borrow)
			}
			q := r.Quotas[pool]
			if q.Guarantee[k] != g || q.Limit[k] != limit || q.Lend[k] != lend || q.Borrow[k] != borrow {
				t.Fatalf("%s %s: %+v, want guarantee %d, limit %d, lend %d, borrow %d", r.Path, name, q, g, limit, lend, borrow)
			}
		}
	}
}

func shareOver(s *Share, name string, g, below resource.Amount) resource.Amount {
	if s == nil {
		return below
	}
	if s.Percent != nil {
		return g * resource.Amount(*s.Percent) / 100_000
	}
	if a, ok := s.Amounts[name]; ok {
		return a
	}
	return below
}

// TestEffectiveBetweenChanges checks that nothing changes but at the instants NextChange names.
func TestEffectiveBetweenChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, now, kinds := drawPlan(t), drawInstant(t), resource.NewKinds()
		next, ok := NextChange(p, now)
		if !ok {
			next = now.AddDate(1, 0, 0)
		}
		probe := now.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(now))-1).Draw(t, "later")))
		if diff := cmp.Diff(Effective(p, now, kinds).Roles, Effective(p, probe, kinds).Roles); diff != "" {
			t.Fatalf("at %s, before the next change %s: %s", probe, next, diff)
		}
		if next, ok := NextLead(p, now); ok && !next.After(now) {
			t.Fatalf("the next lead %s is not after %s", next, now)
		}
		for _, r := range Upcoming(p, now) {
			if r.From.After(now) || !r.At.After(now) {
				t.Fatalf("at %s upcoming %+v", now, r)
			}
		}
	})
}
