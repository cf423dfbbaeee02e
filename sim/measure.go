package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// unit is how a measure is written.
type unit int8

const (
	count    unit = iota // 12
	amount               // 4000, 16Gi
	duration             // 90s
	share                // 80%
)

// measure is something a run is asked for, by role; the root is all roles together.
type measure struct {
	name   string // with ".RESOURCE" where it is about one
	unit   unit
	moment bool // of an instant; others are of the whole run
	about  string
	of     func(b *books, a *account, dim int) float64
}

var measures = []measure{
	{"usage.RESOURCE", amount, true, "what the role holds", func(_ *books, a *account, d int) float64 { return float64(a.used[d]) }},
	{"funded.RESOURCE", amount, true, "what of it guarantees of the role's subtree pay for", func(_ *books, a *account, d int) float64 { return float64(a.funded[d]) }},
	{"borrowed.RESOURCE", amount, true, "what of it others pay for", func(_ *books, a *account, d int) float64 { return float64(a.used[d] - a.funded[d]) }},
	{"guarantee.RESOURCE", amount, true, "what the role is guaranteed", func(_ *books, a *account, d int) float64 { return float64(a.guarantee[d]) }},
	{"free.RESOURCE", amount, true, "what nobody holds", func(b *books, _ *account, d int) float64 {
		return float64(b.has[d] - b.roles[role.Root].used[d])
	}},
	{"waiting", count, true, "tasks that wait, of all roles", func(b *books, _ *account, _ int) float64 { return float64(b.waiting) }},
	{"utilisation.RESOURCE", share, false, "held by the role, of what there was, over the run", func(b *books, a *account, d int) float64 { return ratio(a.usedTime[d], b.hadTime[d]) }},
	{"hours.RESOURCE", amount, false, "held over the run, in hours of one", func(_ *books, a *account, d int) float64 { return a.usedTime[d] / 3600 }},
	{"borrowedHours.RESOURCE", amount, false, "of it what others paid for", func(_ *books, a *account, d int) float64 { return (a.usedTime[d] - a.ownTime[d]) / 3600 }},
	{"started", count, false, "starts of tasks", func(_ *books, a *account, _ int) float64 { return float64(a.Started) }},
	{"succeeded", count, false, "tasks that finished", func(_ *books, a *account, _ int) float64 { return float64(a.Succeeded) }},
	{"reclaimed", count, false, "tasks that left because of a notice", func(_ *books, a *account, _ int) float64 { return float64(a.Reclaimed) }},
	{"lost", count, false, "tasks that were lost with a node", func(_ *books, a *account, _ int) float64 { return float64(a.Lost) }},
	{"notices", count, false, "notices to tasks of the role", func(_ *books, a *account, _ int) float64 { return float64(a.Notices) }},
	{"withdrawn", count, false, "notices that were withdrawn", func(_ *books, a *account, _ int) float64 { return float64(a.Withdrawn) }},
	{"shortNotices", count, false, "notices shorter than promised", func(_ *books, a *account, _ int) float64 { return float64(a.Short) }},
	{"earlyStops", count, false, "tasks under notice that were stopped before their deadline", func(_ *books, a *account, _ int) float64 { return float64(a.Early) }},
	{"lostWork", duration, false, "work of tasks that was cut off by notices", func(_ *books, a *account, _ int) float64 { return seconds(a.LostWork) }},
	{"lostToFaults", duration, false, "work of tasks that was lost to faults", func(_ *books, a *account, _ int) float64 { return seconds(a.LostFault) }},
	{"waitP50", duration, false, "from ask to lease, half of the starts", func(_ *books, a *account, _ int) float64 { return seconds(a.wait(50)) }},
	{"waitP99", duration, false, "from ask to lease, 99 of 100 starts", func(_ *books, a *account, _ int) float64 { return seconds(a.wait(99)) }},
	{"waitMax", duration, false, "from ask to lease, the longest", func(_ *books, a *account, _ int) float64 { return seconds(a.wait(100)) }},
	{"short", duration, false, "longest time with less than the guarantee covers", func(b *books, a *account, _ int) float64 {
		return seconds(worst(b, a, func(a *account) time.Duration { return a.short.longest }))
	}},
	{"beyondT", count, false, "times that took longer than T promises, without an excuse", func(b *books, a *account, _ int) float64 {
		return float64(worst(b, a, func(a *account) int { return a.short.beyond }))
	}},
	{"violations", count, false, "broken invariants and promises, of all roles", func(b *books, _ *account, _ int) float64 { return float64(b.checks.count) }},
	{"refused", count, false, "asks that were refused, of all roles", func(b *books, _ *account, _ int) float64 { return float64(b.refusedN) }},
	{"conflicts", share, false, "claims that lost their place, of all roles", func(b *books, _ *account, _ int) float64 {
		return ratio(float64(b.conflicts), float64(b.claims))
	}},
}

// Measures lists what an expectation may be about: the name, and what it means.
func Measures() [][2]string {
	var out [][2]string
	for _, m := range measures {
		out = append(out, [2]string{m.name, m.about})
	}
	return out
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func seconds(d time.Duration) float64 { return d.Seconds() }

// worst is the most of a role; of the root, that of all roles.
func worst[T int | time.Duration](b *books, a *account, of func(*account) T) T {
	if a.parent != role.None {
		return of(a)
	}
	var most T
	for _, a := range b.roles {
		most = max(most, of(a))
	}
	return most
}

// wait is a percentile of the waits of a role.
func (a *account) wait(percent int) time.Duration {
	if len(a.waits) == 0 {
		return 0
	}
	if !slices.IsSorted(a.waits) {
		slices.Sort(a.waits)
	}
	return a.waits[min(len(a.waits)-1, len(a.waits)*percent/100)]
}

// find looks a measure up by what is written: its resource is the part behind the first dot.
func findMeasure(text string) (m measure, name string, err error) {
	head, name, about := strings.Cut(text, ".")
	for _, m := range measures {
		known, _, needs := strings.Cut(m.name, ".")
		if known == head && needs == about {
			return m, name, nil
		}
	}
	var all []string
	for _, m := range measures {
		all = append(all, m.name)
	}
	return measure{}, "", fmt.Errorf("measure %q is not known; there are %s", text, strings.Join(all, ", "))
}

// parse reads a bound in the measure's unit; amounts are in base units of the resource.
func (m measure) parse(text, name string) (float64, error) {
	switch m.unit {
	case amount:
		_, kind := resource.SplitName(name)
		a, err := resource.ParseValue(kind, text)
		return float64(a), err
	case duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, fmt.Errorf("%q: write a duration such as 90s", text)
		}
		return seconds(d), nil
	case share:
		p, err := role.ParsePercent(text)
		return float64(p) / float64(role.Whole), err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", text)
	}
	return float64(n), nil
}

// format writes a value as parse reads it.
func (m measure) format(v float64, name string) string {
	switch m.unit {
	case amount:
		_, kind := resource.SplitName(name)
		return resource.FormatValue(kind, resource.Amount(v))
	case duration:
		return time.Duration(v * 1e9).Round(time.Millisecond).String()
	case share:
		return strconv.FormatFloat(v*100, 'f', 1, 64) + "%"
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// expectation checks that an expectation can be looked at.
func (c *checker) expectation(e *Expectation, at string) {
	m, name, err := findMeasure(e.Measure)
	if err != nil {
		c.bad(at+".measure", "%v", err)
		return
	}
	if name != "" && !slices.Contains(c.resources(), name) {
		c.bad(at+".measure", "no node has any %s; there are %s", name, strings.Join(c.resources(), ", "))
		return
	}
	if e.Least == "" && e.Most == "" {
		c.bad(at, "say at least how much or at most how much: least, most")
	}
	for field, text := range map[string]string{"least": e.Least, "most": e.Most} {
		if _, err := m.parse(text, name); text != "" && err != nil {
			c.bad(at+"."+field, "%v", err)
		}
	}
	if _, ok := c.tree.Lookup(e.Role); !ok {
		c.bad(at+".role", "the plan has no role %q", e.Role)
	}
	if m.moment == (e.At == "") {
		c.bad(at+".at", "a measure of a moment needs one, others have none")
	} else if m.moment {
		c.momentsOf(e.At, at+".at")
	}
}

// resources lists what the nodes have, with pools.
func (c *checker) resources() []string {
	var out []string
	for _, n := range c.machines() {
		for _, kind := range n.Capacity.Names() {
			out = append(out, resource.JoinName(c.Plan.PoolOf(n.Attributes), kind))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (c *checker) momentsOf(text, at string) {
	edge, window, ok := strings.Cut(text, " ")
	if !ok {
		c.within(at, text)
		return
	}
	if edge != "opening" && edge != "closing" || !slices.ContainsFunc(c.Plan.Windows, func(w role.Window) bool { return w.Name == window }) {
		c.bad(at, "%q: write a moment, or opening NAME or closing NAME of a window", text)
	}
}

// moments are the instants an expectation is about.
func (s *Scenario) moments(text string) []time.Time {
	edge, window, ok := strings.Cut(text, " ")
	if !ok {
		t, _ := s.moment(text) // was checked
		return []time.Time{t}
	}
	var out []time.Time
	open := slices.Contains(role.OpenWindows(&s.Plan, s.from), window)
	for at, more := role.NextChange(&s.Plan, s.from); more && at.Before(s.to); at, more = role.NextChange(&s.Plan, at) {
		now := slices.Contains(role.OpenWindows(&s.Plan, at), window)
		if now != open && now == (edge == "opening") {
			out = append(out, at)
		}
		open = now
	}
	return out
}
