package role

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
)

func TestValidate(t *testing.T) {
	for name, tc := range map[string]struct {
		plan string
		want []string // path: part of the message
	}{
		"corp":              {corp, nil},
		"nothing":           {`{}`, nil},
		"path":              {`{"roles": {"A": {}, "a//b": {}, "/a": {}, "-a": {}}}`, []string{`roles["-a"]: join segments`, `roles["/a"]: join segments`, "roles.A: join segments", `roles["a//b"]: join segments`}},
		"empty path":        {`{"roles": {"": {}}}`, []string{`roles[""]: join segments`}},
		"self":              {`{"roles": {"a/.self": {}}}`, []string{`roles["a/.self"]: .self is reserved for work placed on the role itself; place work on "a" instead`}},
		"depth 16":          {`{"roles": {"a` + strings.Repeat("/a", 15) + `": {}}}`, nil},
		"depth 17":          {`{"roles": {"a` + strings.Repeat("/a", 16) + `": {}}}`, []string{`roles["a` + strings.Repeat("/a", 16) + `"]: deeper than 16`}},
		"equal sums":        {`{"roles": {"a": {"guarantee": {"cpu": 2}}, "a/b": {"guarantee": {"cpu": 1}}, "a/c": {"guarantee": {"cpu": 1}}}}`, nil},
		"implied parent":    {`{"roles": {"a/b": {"guarantee": {"cpu": 1}}, "a/c": {"guarantee": {"cpu": 1}}}}`, nil},
		"silent parent":     {`{"roles": {"a": {}, "a/b": {"guarantee": {"cpu": 1}}}}`, []string{"roles.a.guarantee.cpu: guarantees of the children of a add up to cpu=1, more than its own cpu=0: raise the guarantee of a or lower a/b (1)"}},
		"implied between":   {`{"roles": {"a": {"guarantee": {"cpu": 1}}, "a/b/c": {"guarantee": {"cpu": 2}}}}`, []string{"roles.a.guarantee.cpu: add up to cpu=2, more than its own cpu=1"}},
		"limit":             {`{"roles": {"a": {"guarantee": {"memory": "2Gi"}, "limit": {"memory": "1Gi"}}}}`, []string{"roles.a.guarantee.memory: a is guaranteed memory=2Gi, more than its limit of memory=1Gi: raise the limit or lower"}},
		"pool":              {`{"roles": {"a": {"guarantee": {"x/gpu": 1}}}}`, []string{`roles.a.guarantee["x/gpu"]: no pool is called "x"; declare it under pools or write gpu`}},
		"unlimited":         {`{"roles": {"a": {"guarantee": {"cpu": "unlimited"}}}}`, []string{"roles.a.guarantee.cpu: cannot be unlimited"}},
		"lend":              {`{"roles": {"a": {"lend": "100.001%", "borrow": "300%"}}}`, []string{"roles.a.lend: 100.001% is more than 100%"}},
		"unknown role":      {`{"roles": {"a/b": {}}, "windows": [{"name": "w", "when": {"daily": "01:00-02:00"}, "set": {"a": {}}}]}`, []string{`windows[0].set.a: window "w" sets role "a", which is not written under roles`}},
		"zone":              {`{"windows": [{"name": "w", "when": {"daily": "01:00-02:00", "tz": "Mars/Olympus"}}]}`, []string{`windows[0].when: window "w": time zone "Mars/Olympus" is not known`}},
		"names":             {`{"windows": [{"name": "w", "when": {"daily": "01:00-02:00"}}, {"name": "w", "when": {"daily": "01:00-02:00"}}, {"name": "", "when": {"daily": "01:00-02:00"}}]}`, []string{"windows[1].name: has the name of windows[0]", "windows[2].name: use lower-case"}},
		"rebalance":         {`{"cluster": {"rebalance": "often"}, "windows": [{"name": "w", "when": {"daily": "01:00-02:00"}, "rebalance": "fair"}]}`, []string{"windows[0].rebalance: write off or leave it out", "cluster.rebalance: write off"}},
		"tolerance":         {`{"cluster": {"tolerance": "101%"}}`, []string{"cluster.tolerance: not between"}},
		"pools":             {`{"pools": [{"name": "X", "selector": {"A": "b"}}, {"name": "y"}, {"name": "y", "selector": {"a": "b"}}]}`, []string{"pools[0].name: use lower-case", "pools[0].selector.A: attribute name", "pools[1].selector: selects every node", "pools[2].name: has the name of pools[1]"}},
		"kind name":         {`{"roles": {"a": {"limit": {"cpu": 1}}}, "windows": []}`, nil},
		"window over limit": {`{"roles": {"a": {"guarantee": {"cpu": 2}}}, "windows": [{"name": "w", "when": {"daily": "01:00-02:00"}, "set": {"a": {"limit": {"cpu": 1}}}}]}`, []string{"windows[0].set.a.limit.cpu: more than its limit of cpu=1: raise the limit or lower the guarantee (while window w is open)"}},
		"packages":          {`{"roles": {"a": {"guarantee": {"cpu": 8, "memory": "4Gi", "x/gpu": 4}, "unit": {"cpu": 4, "memory": "2Gi", "x/gpu": 1}}}, "pools": [{"name": "x", "selector": {"x": "y"}}]}`, nil},
		"one pool in units": {`{"roles": {"a": {"guarantee": {"cpu": 7, "x/gpu": 4}, "unit": {"x/gpu": 2}}}, "pools": [{"name": "x", "selector": {"x": "y"}}]}`, nil},
		"no whole package":  {`{"roles": {"a": {"guarantee": {"cpu": 9}, "unit": {"cpu": 4}}}}`, []string{"roles.a.guarantee.cpu: a is guaranteed cpu=9 in packages of cpu=4: make each kind the unit so many times"}},
		"uneven packages":   {`{"roles": {"a": {"guarantee": {"cpu": 8, "memory": "3Gi"}, "unit": {"cpu": 4, "memory": "1Gi"}}}}`, []string{"roles.a.guarantee.memory: memory=3Gi in packages of cpu=4,memory=1Gi"}},
		"half a package":    {`{"roles": {"a": {"guarantee": {"cpu": 8, "memory": "3Gi"}, "unit": {"cpu": 4}}}}`, []string{"roles.a.guarantee.memory: memory=3Gi in packages of cpu=4"}},
		"no guarantee":      {`{"roles": {"a": {"guarantee": {"cpu": 8}, "unit": {"cpu": 4, "memory": "1Gi"}}}}`, []string{"roles.a.guarantee.memory: in packages of"}},
		"unit of a parent":  {`{"roles": {"a": {"guarantee": {"cpu": 8}, "unit": {"cpu": 4}}, "a/b": {"guarantee": {"cpu": 4}}}}`, []string{"roles.a.unit.cpu: a has roles below it, and packages are promised to a role without any"}},
		"unit of nothing":   {`{"roles": {"a": {"unit": {"cpu": 0}}}}`, []string{"roles.a.unit.cpu: a package of cpu=0 is none"}},
		"unit in a window":  {`{"roles": {"a": {"guarantee": {"cpu": 8}, "unit": {"cpu": 4}}}, "windows": [{"name": "w", "when": {"daily": "01:00-02:00"}, "set": {"a": {"guarantee": {"cpu": 10}}}}, {"name": "v", "when": {"daily": "03:00-04:00"}, "set": {"a": {"unit": {"cpu": 5}}}}]}`, []string{"windows[0].set.a.guarantee.cpu: cpu=10 in packages of cpu=4: make each kind the unit so many times, every kind as often (while window w is open)", "windows[1].set.a.unit.cpu: cpu=8 in packages of cpu=5"}},
		"base counts too":   {`{"roles": {"a": {"guarantee": {"cpu": 2}, "limit": {"cpu": 1}}}, "windows": [{"name": "w", "when": {"daily": "01:00-02:00"}, "set": {"a": {"limit": {"cpu": 1}}}}]}`, []string{"roles.a.guarantee.cpu: lower the guarantee"}},
	} {
		t.Run(name, func(t *testing.T) {
			problems := Validate(parsePlan(t, tc.plan))
			if len(problems) != len(tc.want) {
				t.Fatalf("problems %v, want %q", problems, tc.want)
			}
			for i, p := range problems {
				path, part, _ := strings.Cut(tc.want[i], ": ")
				if p.Path != path || !strings.Contains(p.Message, part) {
					t.Errorf("problem %q, want %q", p, tc.want[i])
				}
			}
		})
	}
}

func TestValidateValues(t *testing.T) {
	negative, half, weight := Percent(-1), Whole/2, Weight(0)
	long, minus := MaxDuration+1, Duration(-1)
	p := &Plan{Roles: map[string]RoleSpec{"a": {
		Limit: resource.Resources{"cpu": -1, "CPU": 1}, Weight: &weight,
		Lend: &Share{Percent: &half, Amounts: resource.Resources{"cpu": 1}}, Borrow: &Share{Percent: &negative},
		ReclaimGrace: &long, LendGrace: &minus, MinRuntime: &long,
	}}, Cluster: ClusterSpec{ReclaimDelay: &long}}
	want := []string{"roles.a.limit.CPU", "roles.a.limit.cpu", "roles.a.lend", "roles.a.borrow", "roles.a.weight",
		"roles.a.reclaimGrace", "roles.a.lendGrace", "roles.a.minRuntime", "cluster.reclaimDelay",
		"roles.a.guarantee.cpu"} // 0 is above the limit of -1
	var got []string
	for _, p := range Validate(p) {
		got = append(got, p.Path)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	crowd := &Plan{Roles: map[string]RoleSpec{"a": {Limit: resource.Resources{}}}, Windows: make([]Window, MaxWindows+1)}
	for i := range resource.MaxKinds {
		crowd.Roles["a"].Limit[fmt.Sprintf("kind%02d", i)] = 1
	}
	for i := range crowd.Windows {
		crowd.Windows[i] = Window{Name: fmt.Sprint(i), When: When{Daily: "01:00-02:00"}}
	}
	if got := Validate(crowd); len(got) != 5 || got[0].Path != "roles.a.limit.kind28" || got[4].Path != "windows" {
		t.Errorf("a crowd: %v", got)
	}
}

// TestValidateTogether has windows that are sound alone and break a promise only while both are open.
func TestValidateTogether(t *testing.T) {
	plan := `{"roles": {"a": {"guarantee": {"cpu": 4}}, "a/b": {"guarantee": {"cpu": 2}}, "a/c": {"guarantee": {"cpu": 2}}, "a/d": {}},
		"windows": [
		  {"name": "take", "when": %s, "set": {"a/b": {"guarantee": {"cpu": 0}}, "a/d": {"guarantee": {"cpu": 2}}}},
		  {"name": "late", "when": %s, "set": {"a/b": {"guarantee": {"cpu": 2}}}}]}`
	broken := "windows[1].set[\"a/b\"].guarantee.cpu: guarantees of the children of a add up to cpu=6, more than its own cpu=4: raise the guarantee of a or lower a/b (2), a/c (2), a/d (2) (while windows take, late are open)"
	for _, tc := range []struct{ take, late, want string }{
		{`{"daily": "08:00-12:00"}`, `{"daily": "11:00-13:00"}`, broken},
		{`{"daily": "08:00-12:00"}`, `{"daily": "12:00-13:00"}`, ""},
		{`{"daily": "08:00-12:00"}`, `{"daily": "08:00-12:00", "tz": "Asia/Shanghai"}`, ""},
		{`{"weekly": "Mon 00:00-Tue 00:00"}`, `{"monthly": "13 00:00-14 00:00"}`, broken},
		{`{"weekly": "Mon 00:00-Tue 00:00"}`, `{"weekly": "Tue 00:00-Mon 00:00"}`, ""},
		{`{"monthly": "29 00:00-31 24:00"}`, `{"monthly": "1 00:00-28 24:00"}`, broken}, // the 28th of February is its last day
		{`{"from": "2031-05-01T00:00", "to": "2031-06-01T00:00"}`, `{"from": "2031-05-31T23:59", "to": "2031-06-02T00:00"}`, broken},
		{`{"from": "2031-05-01T00:00", "to": "2031-06-01T00:00"}`, `{"from": "2031-06-01T00:00", "to": "2031-06-02T00:00"}`, ""},
		{`{"from": "2031-05-01T09:00", "to": "2031-05-01T10:00"}`, `{"daily": "08:59-09:01"}`, broken},
		{`{"from": "2031-05-01T09:00", "to": "2031-05-01T10:00"}`, `{"daily": "10:00-09:00"}`, ""},
		{`{"from": "2027-05-01T00:00", "to": "2029-05-01T00:00"}`, `{"daily": "10:00-09:00"}`, broken},
		// Nine o'clock in Berlin is three in New York, but for some weeks of spring and autumn it is four.
		{`{"daily": "09:00-09:30", "tz": "Europe/Berlin"}`, `{"daily": "04:00-04:30", "tz": "America/New_York"}`, broken},
	} {
		got := Validate(parsePlan(t, fmt.Sprintf(plan, tc.take, tc.late)))
		text := ""
		for _, p := range got {
			text += p.String()
		}
		if text != tc.want {
			t.Errorf("take %s, late %s: %q, want %q", tc.take, tc.late, text, tc.want)
		}
	}
}

// TestValidateAgainstTrees checks that a plan is accepted exactly when its effective trees add up, minute by minute around
// a day and in the base.
func TestValidateAgainstTrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t)
		if rapid.Bool().Draw(t, "likely sound") {
			for path := range p.Roles { // leaves only and no limits: implied parents always have enough
				for other := range p.Roles {
					if strings.HasPrefix(other, path+"/") {
						t.Skip("an inner role is written")
					}
				}
			}
		}
		problems := Validate(p)
		for _, problem := range problems {
			if !strings.HasPrefix(problem.Path, "roles") && !strings.HasPrefix(problem.Path, "windows") {
				t.Fatalf("odd path in %v", problem)
			}
		}
		if len(problems) > 0 {
			return
		}
		now := drawInstant(t)
		for range 20 {
			if bad := treeBreach(Effective(p, now, resource.NewKinds())); bad != "" {
				t.Fatalf("accepted, but at %s %s", now, bad)
			}
			next, ok := NextChange(p, now)
			if !ok {
				return
			}
			now = next
		}
	})
}

// treeBreach says where a tree breaks a promise.
func treeBreach(tree *Tree) string {
	for _, r := range tree.Roles[1:] {
		for pool, q := range r.Quotas {
			sum := make(resource.Vector, len(q.Guarantee))
			for _, c := range r.Children {
				sum.Inc(tree.Roles[c].Quotas[pool].Guarantee)
			}
			if !sum.Fits(q.Guarantee) || !q.Guarantee.Fits(q.Limit) {
				return r.Path
			}
		}
	}
	return ""
}

// TestReachableAgainstWalk walks from change to change and compares the sets of open windows it meets.
func TestReachableAgainstWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &Plan{}
		for i := range rapid.IntRange(0, 3).Draw(t, "windows") {
			when := drawWhen(t, rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "America/New_York"}).Draw(t, "zone"))
			if when.Daily != "" {
				from := reference.Add(time.Duration(rapid.IntRange(0, 300*24).Draw(t, "from")) * time.Hour)
				to := from.Add(time.Duration(rapid.IntRange(1, 100*24).Draw(t, "for")) * time.Hour)
				when = When{From: from.Format("2006-01-02T15:04"), To: to.Format("2006-01-02T15:04")}
			}
			p.Windows = append(p.Windows, Window{Name: fmt.Sprint(i), When: when,
				Set: map[string]RoleSpec{"a": {Limit: resource.Resources{"cpu": 1}}}})
		}
		undated := newCalendar(p)
		for i := range undated.schedules {
			if undated.schedules[i].period == once {
				undated.schedules[i] = schedule{}
			}
		}
		got, met := map[windowSet]bool{}, walk(newCalendar(p))
		for _, s := range reachable(newCalendar(p)) {
			got[s] = true
		}
		for s := range met {
			if !got[s] {
				t.Fatalf("%+v: %v is met but not in %v", p.Windows, s, got)
			}
		}
		alone := walk(undated)
		for s := range got {
			if s != (windowSet{}) && !met[s] && !alone[s] {
				t.Fatalf("%+v: %v is never met", p.Windows, s)
			}
		}
	})
}

// walk returns the sets of windows open at some instant of the horizon after the reference.
func walk(c calendar) map[windowSet]bool {
	out := map[windowSet]bool{}
	for now := reference; now.Before(reference.Add(Horizon)); {
		var s windowSet
		for i, open := range c.open(now) {
			if open {
				s.add(i)
			}
		}
		out[s] = true
		next := reference.Add(Horizon)
		for i := range c.schedules {
			for _, turn := range c.turns(i, now) {
				if turn.Before(next) {
					next = turn
				}
			}
		}
		now = next
	}
	return out
}

func BenchmarkValidateManyWindows(b *testing.B) {
	p := &Plan{Roles: map[string]RoleSpec{"a": {}}}
	for i := range MaxWindows {
		w := Window{Name: fmt.Sprint("w", i), Set: map[string]RoleSpec{"a": {Guarantee: resource.Resources{"cpu": resource.Amount(i)}}}}
		w.When.Daily = fmt.Sprintf("%02d:%02d-%02d:30", i%23, i%60, i%24)
		if i%4 == 0 {
			w.When = When{From: fmt.Sprintf("20%02d-01-01T00:00", 10+i/4), To: fmt.Sprintf("20%02d-01-01T00:00", 11+i/4)}
		}
		p.Windows = append(p.Windows, w)
	}
	for b.Loop() {
		Validate(p)
	}
}
