package planfile

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"polder.dev/polder/core/role"
)

// corp is the plan of the lending contract.
const corp = `roles:
  corp:             {guarantee: {cpu: 20000, memory: 80Ti}, lendGrace: 1m}     # inherited below
  corp/search:      {guarantee: {cpu: 8000}, priority: 10}
  corp/search/rank: {guarantee: {cpu: 5000}, weight: 3}
  corp/search/ads:  {guarantee: {cpu: 2000}}            # the other 1000 are shared inside search
  corp/analytics:   {guarantee: {cpu: 4000}, limit: {cpu: 16000}, reclaimGrace: 45s, minRuntime: 10s}
windows:
  - {name: night,       when: {daily: "22:00-07:00", tz: Asia/Shanghai}, set: {corp/analytics: {priority: 20}}}
  - {name: singles-day, when: {from: 2026-11-10T20:00, to: 2026-11-12T02:00, tz: Asia/Shanghai}, lead: auto,
     set: {corp/search: {guarantee: {cpu: 16000}}, corp/analytics: {guarantee: {cpu: 500}, limit: {cpu: 2000}}}}
`

// everything uses every field, with values that YAML reads in its own way.
const everything = `
pools:
  - {name: gpu-a100, selector: {gpu-model: a100, zone: "1"}}
cluster: {reclaimDelay: 3s, rebalance: off, tolerance: 12.5%}
roles:
  a:
  a/b: {guarantee: {gpu-a100/gpu: 0}, lend: 50%, borrow: {cpu: 2.5, memory: 1.5Gi}, weight: 0.5, priority: -3, limit: {licences: unlimited}}
  c: {lend: {cpu: 10}, borrow: 0%}
windows:
  - name: no
    when: {from: 2026-11-10T20:00:00, to: 2026-11-10T20:00:30}
    lead: 1h30m
    warm: 10m
    rebalance: off
    set: {c: {guarantee: {cpu: 5}, reclaimGrace: 0s}}
  - {name: week, when: {weekly: Mon 08:00-Fri 20:00, tz: Europe/Berlin}}
  - {name: month, when: {monthly: 1 00:00-3 12:00}}
`

func TestParse(t *testing.T) {
	for _, text := range []string{corp, everything, "roles: {}", "{\n\t\"roles\": {\n\t\t\"a\": {}\n\t}\n}"} {
		p, err := Parse([]byte(text))
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		out, err := Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("%s\n%v", out, err)
		}
		if diff := role.Diff(p, again); len(diff) > 0 {
			t.Errorf("reads back with %v from\n%s", diff, out)
		}
	}
}

func TestMarshal(t *testing.T) {
	p, err := Parse([]byte(corp))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	want := `roles:
  corp:
    guarantee: {cpu: 20000, memory: 80Ti}
    lendGrace: 1m
  corp/analytics:
    guarantee: {cpu: 4000}
    limit: {cpu: 16000}
    reclaimGrace: 45s
    minRuntime: 10s
  corp/search:
    guarantee: {cpu: 8000}
    priority: 10
  corp/search/ads:
    guarantee: {cpu: 2000}
  corp/search/rank:
    guarantee: {cpu: 5000}
    weight: 3
windows:
  - name: night
    when: {daily: '22:00-07:00', tz: Asia/Shanghai}
    set:
      corp/analytics: {priority: 20}
  - name: singles-day
    when: {from: '2026-11-10T20:00', to: '2026-11-12T02:00', tz: Asia/Shanghai}
    set:
      corp/analytics:
        guarantee: {cpu: 500}
        limit: {cpu: 2000}
      corp/search:
        guarantee: {cpu: 16000}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestJSONAndYAMLAgree(t *testing.T) {
	p, err := Parse([]byte(everything))
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.MarshalIndent(p, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if diff := role.Diff(p, again); len(diff) > 0 {
		t.Error(diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"empty":         {"", "the plan is empty; write at least roles: {}"},
		"only comments": {"# nothing\n", "the plan is empty; write at least roles: {}"},
		"syntax":        {"roles:\n  a: {b\n", "line 2: did not find expected ',' or '}'"},
		"tab":           {"roles:\n\ta: {}\n", "line 2: found character that cannot start any token"},
		"no anchor":     {"roles: *a", "unknown anchor 'a' referenced"},
		"not text":      {"roles: \xff", "invalid leading UTF-8 octet"},
		"two documents": {"roles: {}\n---\nroles: {}\n", "line 2: a second document starts; a plan is one document"},
		"not a mapping": {"roles: [a]", `line 1: roles: want a mapping such as {name: value}, not a list`},
		"unknown field": {"roles:\n  a:\n    guarante: {cpu: 1}\n", `line 3: roles.a.guarante: unknown field "guarante"; known here: guarantee, unit, limit, weight, priority, lend, borrow, reclaimGrace, lendGrace, minRuntime`},
		"case matters":  {"Roles: {}", `line 1: Roles: unknown field "Roles"; known here: roles, windows, pools, cluster`},
		"duplicate key": {"roles:\n  a: {}\n  b: {}\n  a: {}\n", `line 4: roles.a: given twice, first in line 2`},
		"merge key":     {"roles:\n  a: &a {weight: 2}\n  b: {<<: *a}\n", `line 3: roles.b: a key is one word; "<<" is not`},
		"bad amount":    {"roles:\n  a:\n    guarantee:\n      cpu: 1\n      memory: 4 GB\n", `line 5: roles.a.guarantee.memory: memory: amount "4 GB" is not a number such as 2, 0.5, 500m or 4Gi`},
		"bad share":     {"roles:\n  a: {lend: 50}\n", `line 2: roles.a.lend: percentage "50": write it as 50% or 12.5%`},
		"bad weight":    {"roles:\n  a: {weight: heavy}\n", `line 2: roles.a.weight: weight heavy: write a number above 0 and at most 1000000, such as 3 or 0.5`},
		"bad priority":  {"roles:\n  a: {priority: 1.5}\n", `line 2: roles.a.priority: "1.5" is not a whole number`},
		"null weight":   {"roles:\n  a: {weight: }\n", `line 2: roles.a.weight: want one value, not nothing`},
		"bad duration":  {"roles:\n  a: {lendGrace: 60}\n", `line 2: roles.a.lendGrace: duration "60": write a number with a unit, such as 45s, 10m or 1h30m`},
		"children above the parent": {strings.Replace(corp, "corp/search:      {guarantee: {cpu: 8000}", "corp/search:      {guarantee: {cpu: 18000}", 1),
			`line 2: roles.corp.guarantee.cpu: guarantees of the children of corp add up to cpu=22000, more than its own cpu=20000: raise the guarantee of corp or lower corp/search (18000), corp/analytics (4000)`},
		"in a window": {strings.Replace(corp, "guarantee: {cpu: 500}", "guarantee: {cpu: 5000}", 1),
			`line 10: windows[1].set["corp/analytics"].guarantee.cpu: guarantees of the children of corp add up to cpu=21000, more than its own cpu=20000: raise the guarantee of corp or lower corp/search (16000), corp/analytics (5000) (while window singles-day is open)
line 10: windows[1].set["corp/analytics"].guarantee.cpu: corp/analytics is guaranteed cpu=5000, more than its limit of cpu=2000: raise the limit or lower the guarantee (while window singles-day is open)`},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Parse([]byte(tc.in))
			var list *Error
			if p != nil || !errors.As(err, &list) {
				t.Fatalf("Parse = %v, %v", p, err)
			}
			if diff := cmp.Diff(tc.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseAliases(t *testing.T) {
	p, err := Parse([]byte("roles:\n  a: &a {guarantee: &g {cpu: &n 2}}\n  b: *a\n  c: {guarantee: *g, limit: {cpu: *n}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if p.Roles["b"].Guarantee["cpu"] != 2000 || p.Roles["c"].Limit["cpu"] != 2000 {
		t.Errorf("roles = %v", p.Roles)
	}
}

func TestParseBounds(t *testing.T) {
	if _, err := Parse(make([]byte, MaxSize+1)); err == nil || !strings.Contains(err.Error(), "more than the 4194304") {
		t.Errorf("large file: %v", err)
	}
	var bomb strings.Builder
	bomb.WriteString("windows:\n- {name: w, set: &s {")
	for range 20_000 {
		bomb.WriteString("r: {weight: 1},")
	}
	bomb.WriteString("}}\n")
	if _, err := Parse([]byte(bomb.String())); err == nil || strings.Count(err.Error(), "\n") != shown {
		t.Errorf("many problems: %v", err)
	}
	bomb.Reset()
	bomb.WriteString("pools:\n- &p {selector: {")
	for i := range 600 {
		bomb.WriteString("a" + strings.Repeat("b", i%50) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + ": x,")
	}
	bomb.WriteString("}}\n" + strings.Repeat("- *p\n", 600))
	if _, err := Parse([]byte(bomb.String())); err == nil || !strings.Contains(err.Error(), "more than 262144 values") {
		t.Errorf("alias bomb: %v", err)
	}
}

func TestProblemLines(t *testing.T) {
	in := `roles:
  a:
    lend: 150%
    guarantee: {"gpu-a100/gpu": 1}
windows:
  - name: w
    when:
      daily: "22:00-22:00"
    set:
      'x["y"]': {}
`
	_, err := Parse([]byte(in))
	want := `line 3: roles.a.lend: 150% is more than 100%: a role cannot lend more than its guarantee
line 4: roles.a.guarantee["gpu-a100/gpu"]: resource gpu-a100/gpu: no pool is called "gpu-a100"; declare it under pools or write gpu
line 7: windows[0].when: window "w": "22:00-22:00" never closes; write what it sets under roles instead
line 10: windows[0].set["x[\"y\"]"]: window "w" sets role "x[\"y\"]", which is not written under roles; add it there or correct the path`
	if err == nil {
		t.Fatal("accepted")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}

func FuzzPlan(f *testing.F) {
	for _, seed := range []string{corp, everything, "roles: {a: &a {weight: 1}, b: *a}", "{\"roles\":{}}", "a: *a", "&a [*a]", "? {a: b}\n: c", "--- {}\n--- {}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			var list *Error
			if !errors.As(err, &list) || len(list.Problems) == 0 {
				t.Fatalf("error without problems: %v", err)
			}
			return
		}
		out, err := Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if diff := role.Diff(p, again); len(diff) > 0 {
			t.Fatalf("reads back with %v from\n%s", diff, out)
		}
	})
}
