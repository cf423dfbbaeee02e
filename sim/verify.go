package sim

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Statement is what is to be true of a plan: a role gets so much within some time, whenever it asks in a stretch of time.
type Statement struct {
	Role   string
	Amount resource.Resources
	Within time.Duration
	From   time.Time
	To     time.Time // exclusive
}

var statementForm = regexp.MustCompile(`^(\S+) gets (\S+) within (\S+) (?:at any time in|at any time from|in|at) (.+)$`)

// statementHint is how a statement is written.
const statementHint = `write it as "corp/search gets cpu=16000 within 90s at any time in 2026-11"; the time is a year, month, day or instant, or two of them with " to " between`

// ParseStatement reads a statement; its times are in a zone.
func ParseStatement(text string, zone *time.Location) (*Statement, error) {
	m := statementForm.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return nil, fmt.Errorf("%q: %s", text, statementHint)
	}
	s := &Statement{Role: m[1]}
	var err error
	if s.Amount, err = resource.Parse(m[2]); err != nil {
		return nil, err
	}
	if s.Within, err = time.ParseDuration(m[3]); err != nil || s.Within <= 0 {
		return nil, fmt.Errorf("%q is not a duration: %s", m[3], statementHint)
	}
	first, last, isRange := strings.Cut(m[4], " to ")
	if s.From, s.To, err = period(first, zone); err != nil {
		return nil, err
	}
	if isRange {
		if s.To, _, err = period(last, zone); err != nil {
			return nil, err
		}
	}
	if !s.To.After(s.From) {
		return nil, fmt.Errorf("%s does not end after it begins", m[4])
	}
	return s, nil
}

// period reads a year, a month, a day or an instant.
func period(text string, zone *time.Location) (from, to time.Time, err error) {
	for _, p := range []struct {
		layout              string
		years, months, days int
		instant             time.Duration
	}{
		{"2006", 1, 0, 0, 0}, {"2006-01", 0, 1, 0, 0}, {"2006-01-02", 0, 0, 1, 0}, {"2006-01-02T15:04", 0, 0, 0, time.Second},
		{"2006-01-02T15:04:05", 0, 0, 0, time.Second}, {time.RFC3339, 0, 0, 0, time.Second},
	} {
		if from, err = time.ParseInLocation(p.layout, strings.TrimSpace(text), zone); err == nil {
			return from, from.AddDate(p.years, p.months, p.days).Add(p.instant), nil
		}
	}
	return from, to, fmt.Errorf("%q is not a year, month, day or instant: %s", text, statementHint)
}

// Verdict is whether a statement is true of a plan.
type Verdict struct {
	// Outcome is "proven", "refuted" (with a counter-example) or "open" (the plan does not promise it, but no counter-example was
	// found either).
	Outcome     string    `json:"outcome"`
	At          time.Time `json:"at,omitzero"`        // of the counter-example
	Why         []string  `json:"why"`                // the arithmetic, or the counter-example
	Stretches   int       `json:"stretches"`          // of the calendar between two changes that were looked at
	Bound       string    `json:"bound"`              // the longest of them
	Assumptions []string  `json:"assumptions"`        // what a proof rests on beside the plan
	Timeline    []string  `json:"timeline,omitempty"` // what a simulation of the counter-example showed
}

// maxStretches bounds the calendar that is walked.
const maxStretches = 100_000

// Verify says whether a statement is true of a valid plan on machines that have capacity; nil is machines that have what is
// guaranteed.
func Verify(p *role.Plan, s *Statement, capacity resource.Resources) (*Verdict, error) {
	v := verifier{plan: p, st: s, capacity: capacity, kinds: resource.NewKinds(), out: &Verdict{Outcome: "proven"}}
	if err := p.Intern(v.kinds); err != nil {
		return nil, err
	}
	for _, name := range s.Amount.Names() {
		_, kind := resource.SplitName(name)
		if _, err := v.kinds.Intern(kind); err != nil {
			return nil, err
		}
	}
	tree := role.Effective(p, s.From, v.kinds)
	id, ok := tree.Lookup(s.Role)
	if !ok || id == role.Root {
		return nil, fmt.Errorf("the plan has no role %q", s.Role)
	}
	v.id = id
	return v.out, v.walk(tree)
}

type verifier struct {
	plan     *role.Plan
	st       *Statement
	capacity resource.Resources
	kinds    *resource.Kinds
	id       role.ID
	out      *Verdict
	longest  time.Duration
}

// walk looks at every stretch of the calendar, and at every change between two.
func (v *verifier) walk(tree *role.Tree) error {
	at := v.st.From
	for {
		v.out.Stretches++
		if v.out.Stretches > maxStretches {
			return fmt.Errorf("the calendar changes more than %d times in that time; ask about less", maxStretches)
		}
		if !v.stretch(tree, at) {
			break
		}
		next, more := role.NextChange(v.plan, at)
		if !more || !next.Before(v.st.To) {
			break
		}
		after := role.Effective(v.plan, next, v.kinds)
		v.change(tree, after, next)
		tree, at = after, next
	}
	v.assume(tree)
	v.out.Bound = v.longest.String()
	return nil
}

func (v *verifier) refute(at time.Time, format string, args ...any) {
	v.out.Outcome, v.out.At = "refuted", at
	v.out.Why = []string{fmt.Sprintf("at %s%s:", at.Format(time.RFC3339), v.open(at)), fmt.Sprintf(format, args...)}
}

// open names the windows that are open.
func (v *verifier) open(at time.Time) string {
	if names := role.OpenWindows(v.plan, at); len(names) > 0 {
		return " (windows open: " + strings.Join(names, ", ") + ")"
	}
	return ""
}

// stretch looks at the tree that holds from an instant on; false ends it.
func (v *verifier) stretch(tree *role.Tree, at time.Time) bool {
	k := v.kinds.Len()
	for _, name := range v.st.Amount.Names() {
		pool, kind := resource.SplitName(name)
		i, _ := v.kinds.Lookup(kind)
		want, has := v.st.Amount[name], tree.Quota(v.id, pool, k).Guarantee.At(int(i))
		if has < want {
			v.refute(at, "%s is guaranteed %s, %s less than %s: whoever asks then may wait for as long as others do not give it back by themselves",
				v.st.Role, text(name, has), text(name, want-has), text(name, want))
			return false
		}
		if !v.enough(tree, at, name, pool, int(i)) {
			return false
		}
	}
	bound, why := v.bound(tree, at)
	if bound > v.longest {
		v.longest = bound
		if v.out.Outcome == "proven" {
			v.out.Why = append(v.out.Why, fmt.Sprintf("from %s%s: T = %s ≤ %s", at.Format(time.RFC3339), v.open(at), why, v.st.Within))
		}
	}
	if bound > v.st.Within {
		v.refute(at, "T(%s) = %s = %s, longer than %s: the plan does not promise it", v.st.Role, why, bound, v.st.Within)
		v.out.Outcome = "open" // T is a bound; only a simulation can show that it takes so long
		return false
	}
	return true
}

// enough checks that the machines have what is guaranteed.
func (v *verifier) enough(tree *role.Tree, at time.Time, name, pool string, i int) bool {
	if v.capacity == nil {
		return true
	}
	sum := resource.Amount(0)
	for _, id := range tree.Roles[role.Root].Children {
		sum = sum.Add(tree.Quota(id, pool, v.kinds.Len()).Guarantee.At(i))
	}
	if has := v.capacity[name]; has < sum {
		v.refute(at, "all guarantees add up to %s, the nodes have %s: where machines are missing T does not hold", text(name, sum), text(name, has))
		return false
	}
	return true
}

// bound is T with its arithmetic.
func (v *verifier) bound(tree *role.Tree, at time.Time) (time.Duration, string) {
	delay := role.SettingsAt(v.plan, at).ReclaimDelay
	longest, of := time.Duration(0), ""
	for id := v.id; id != role.Root; id = tree.Roles[id].Parent {
		if g := tree.Roles[id].LendGrace; g > longest {
			longest, of = g, tree.Roles[id].Path
		}
	}
	return delay + longest + role.Slack, fmt.Sprintf("reclaimDelay %s + lendGrace %s of %s + %s for one decision and the kill", delay, longest, of, role.Slack)
}

// change looks at what holds just after the tree changes: what was lent by the old one may be held for as long as it allowed.
func (v *verifier) change(before, after *role.Tree, at time.Time) {
	if !v.disturbs(before, after) {
		return
	}
	hold, of := longestHold(before)
	delay := role.SettingsAt(v.plan, at).ReclaimDelay
	if bound := delay + hold + role.Slack; bound > v.st.Within && v.out.Outcome == "proven" {
		v.out.Outcome, v.out.At = "open", at
		v.out.Why = append(v.out.Why, fmt.Sprintf(
			"after %s%s the tree is another: what %s borrowed before may stay for %s (minRuntime + reclaimGrace), so only reclaimDelay %s + %s + %s = %s is certain for "+
				"who asks then without having declared it, longer than %s", at.Format(time.RFC3339), v.open(at), of, hold, delay, hold, role.Slack, bound, v.st.Within))
	}
}

// disturbs reports whether a change of the tree can make what is lent now come back later than the new tree allows: at a role
// on the path or a sibling of one, a guarantee or what is lent of it is another, or its lendGrace is shorter.
func (v *verifier) disturbs(before, after *role.Tree) bool {
	for f := after.Roles[v.id].Parent; f != role.None; f = after.Roles[f].Parent {
		for _, id := range after.Roles[f].Children {
			if after.Roles[id].LendGrace < before.Roles[id].LendGrace {
				return true
			}
			for _, pool := range v.plan.PoolNames() {
				was, is := before.Quota(id, pool, v.kinds.Len()), after.Quota(id, pool, v.kinds.Len())
				if !was.Guarantee.Equal(is.Guarantee) || !was.Lend.Equal(is.Lend) || !was.Warm.Equal(is.Warm) {
					return true
				}
			}
		}
	}
	return false
}

// longestHold is the longest that any role may keep what it borrowed.
func longestHold(tree *role.Tree) (time.Duration, string) {
	longest, of := time.Duration(0), ""
	for i := range tree.Roles {
		r := &tree.Roles[i]
		if hold := r.ReclaimGrace + r.MinRuntime; len(r.Children) == 0 && hold > longest {
			longest, of = hold, role.Display(r.Path)
		}
	}
	return longest, of
}

// inPackages reports whether the role's guarantee is whole packages, be it in some window.
func (v *verifier) inPackages() bool {
	return v.plan.Roles[v.st.Role].Unit != nil || slices.ContainsFunc(v.plan.Windows, func(w role.Window) bool { return w.Set[v.st.Role].Unit != nil })
}

// assume writes down what a proof rests on.
func (v *verifier) assume(tree *role.Tree) {
	out := []string{
		"the nodes answer, and a task fits on a node: a guarantee is a quantity, not a shape (Fragmented is the one excuse beside lost capacity)",
		"what the role holds already counts as part of what it gets",
	}
	if v.capacity == nil {
		out = append(out, "the nodes have at least what all guarantees add up to (give --from a recording to check it)")
	}
	if len(tree.Roles[v.id].Children) > 0 {
		out = append(out, "tasks below "+v.st.Role+" ask inside their own guarantees, or accept a notice that their siblings' lendGrace and lend allow")
	}
	if v.inPackages() {
		out = append(out, "the guarantee is whole packages (unit), and only their amounts are proven: a package is had where it has a home, a node with room for it beside what does "+
			"not give way, and that depends on the nodes and on what ran there when it got one, which is not in a plan; what waits for a home says so (Packages)")
	}
	v.out.Assumptions = slices.Concat(v.out.Assumptions, out)
}

func text(name string, a resource.Amount) string { return name + "=" + resource.FormatValue(name, a) }
