package sim

import (
	"strings"
	"testing"
)

const small = `name: small
start: 2026-03-02T10:00
end: +1h
nodes:
  - {name: n, count: 2, capacity: {cpu: 4, memory: 8Gi}}
plan:
  roles:
    a: {guarantee: {cpu: 2}}
work:
  - {name: w, role: a, kind: batch, resources: {cpu: 1}, duration: 5m, every: exp 1m}
expect:
  - {measure: violations, most: 0}
`

func TestParse(t *testing.T) {
	s, err := Parse([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.to.Sub(s.from).String(); got != "1h0m0s" {
		t.Errorf("it lasts %s", got)
	}
}

// TestParseRefuses checks that a scenario which cannot run says where and why.
func TestParseRefuses(t *testing.T) {
	for name, test := range map[string]struct{ old, new, want string }{
		"unknown field":   {"kind: batch", "kind: batch, colour: red", `line 10: work[0].colour: unknown field "colour"`},
		"no field":        {"kind: batch", "kind: batch, \"\": 1", `line 10: work[0][""]: unknown field ""`},
		"unknown role":    {"role: a", "role: b", `line 10: work[0].role: the plan has no role "b"`},
		"bad duration":    {"duration: 5m", "duration: soon", `line 10: work[0].duration: duration "soon"`},
		"no time":         {"every: exp 1m", "every: 0s", "line 10: work[0].every: without time between asks"},
		"kind":            {"kind: batch", "kind: cron", `line 10: work[0].kind: "cron": choose one of service`},
		"end":             {"end: +1h", "end: 2026-03-01T10:00", "line 3: end: the end 2026-03-01T10:00 is not after"},
		"no nodes":        {"count: 2", "count: 0", "line 5: nodes[0].count"},
		"plan":            {"guarantee: {cpu: 2}", "guarantee: {cpu: 2}, limit: {cpu: 1}", "plan.roles.a.guarantee.cpu: a is guaranteed cpu=2, more than its limit"},
		"measure":         {"measure: violations", "measure: luck", `line 12: expect[0].measure: measure "luck" is not known`},
		"bound":           {"most: 0", "most: 90s", `line 12: expect[0].most: "90s" is not a whole number`},
		"no bound":        {"measure: violations, most: 0", "measure: violations", "line 12: expect[0]: say at least how much"},
		"no such kind":    {"measure: violations, most: 0", "measure: usage.gpu, at: +1m, most: 0", "no node has any gpu"},
		"not in the run":  {"measure: violations, most: 0", "measure: usage.cpu, at: +2h, most: 1", "+2h is not between the start and the end"},
		"no such window":  {"measure: violations, most: 0", "measure: usage.cpu, at: opening x, most: 1", "write a moment, or opening NAME"},
		"needs a moment":  {"measure: violations, most: 0", "measure: usage.cpu, most: 1", "a measure of a moment"},
		"fits no node":    {"resources: {cpu: 1}", "resources: {cpu: 5}", "line 10: work[0].resources: no node can hold a task: it needs 5 of cpu, the largest node has 4"},
		"service and end": {"kind: batch", "kind: service", "a service needs replicas"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(small, test.old, test.new, 1)
			_, err := Parse([]byte(text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(small))
	for _, name := range Shipped() {
		text, _ := ShippedText(name)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := Parse(data); (s == nil) == (err == nil) {
			t.Errorf("scenario %v, error %v", s, err)
		}
	})
}
