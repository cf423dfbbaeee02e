package sim

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
	"polder.dev/polder/planfile"
)

// What bounds a scenario, so that a slip of the pen does not fill the memory.
const (
	MaxNodes = 100_000
	maxTasks = 1_000_000 // of one ask, or replicas of a service
)

// Parse reads a scenario and says everything that keeps it from running, with lines. The error is a [*planfile.Error].
func Parse(data []byte) (*Scenario, error) {
	var s Scenario
	if err := planfile.Decode(data, "scenario", &s, s.check); err != nil {
		return nil, err
	}
	return &s, nil
}

// Prepare checks a scenario that was made in code and fills in its defaults.
func (s *Scenario) Prepare() error {
	if ps := s.check(); len(ps) > 0 {
		out := &planfile.Error{}
		for _, p := range ps {
			out.Problems = append(out.Problems, planfile.Problem{Problem: p})
		}
		return out
	}
	return nil
}

// checker collects what is wrong with a scenario.
type checker struct {
	*Scenario
	problems []role.Problem
	kinds    *resource.Kinds
	tree     *role.Tree
}

func (c *checker) bad(at, format string, args ...any) {
	c.problems = append(c.problems, role.Problem{Path: at, Message: fmt.Sprintf(format, args...)})
}

// check fills in defaults and returns what is wrong.
func (s *Scenario) check() []role.Problem {
	s.defaults()
	c := &checker{Scenario: s, kinds: resource.NewKinds()}
	c.span()
	for _, p := range role.Validate(&s.Plan) {
		c.problems = append(c.problems, role.Problem{Path: "plan." + p.Path, Message: p.Message})
	}
	c.nodes()
	if len(c.problems) > 0 {
		return c.problems // what follows needs times, roles and nodes
	}
	if err := s.Plan.Intern(c.kinds); err != nil {
		c.bad("plan", "%v", err)
		return c.problems
	}
	c.tree = role.Effective(&s.Plan, s.from, c.kinds)
	names := map[string]bool{}
	for i := range s.Work {
		c.work(&s.Work[i], role.JoinIndex("work", i), names)
	}
	for i, t := range s.arrivals {
		if id, ok := c.tree.WorkRole(t.Role); !ok || id == role.Root {
			c.bad("plan.roles", "%s is for role %q, which the plan does not have", t.Name, t.Role)
			return c.problems
		}
		s.arrivals[i].OnNotice = cmp.Or(t.OnNotice, "ignore")
	}
	for i := range s.Faults {
		c.fault(&s.Faults[i], role.JoinIndex("faults", i))
	}
	for i := range s.Expect {
		c.expectation(&s.Expect[i], role.JoinIndex("expect", i))
	}
	return c.problems
}

func (s *Scenario) defaults() {
	or := func(into *Span, a, b time.Duration) {
		if *into == (Span{}) {
			*into = Span{text: a.String() + ".." + b.String(), law: uniform, a: a, b: b}
		}
	}
	or(&s.Leader.Failover, 3*time.Second, 6*time.Second)
	or(&s.Agents.Latency, time.Millisecond, 5*time.Millisecond)
	or(&s.Agents.Start, 200*time.Millisecond, time.Second)
	or(&s.Agents.Stop, 50*time.Millisecond, 500*time.Millisecond)
	or(&s.Agents.Reconnect, 500*time.Millisecond, 3*time.Second)
	for _, d := range []struct {
		into *role.Duration
		is   time.Duration
	}{{&s.Leader.Turn, 10 * time.Millisecond}, {&s.Leader.Unsaved, 50 * time.Millisecond}, {&s.Agents.Detect, 15 * time.Second}} {
		if *d.into == 0 {
			*d.into = role.Duration(d.is)
		}
	}
}

// span reads when the scenario plays.
func (c *checker) span() {
	var err error
	if c.zone, err = time.LoadLocation(c.TZ); err != nil || c.TZ == "Local" {
		c.bad("tz", "time zone %q is not known; write an IANA name such as Europe/Berlin", c.TZ)
		c.zone = time.UTC
	}
	if c.Name == "" {
		c.bad("name", "a scenario needs a name")
	}
	if c.from, err = c.instant(c.Start); err != nil {
		c.bad("start", "%v", err)
		return
	}
	if c.to, err = c.moment(c.End); err != nil {
		c.bad("end", "%v", err)
	} else if !c.to.After(c.from) {
		c.bad("end", "the end %s is not after the start %s", c.End, c.Start)
	}
}

// instant reads a moment of the calendar.
func (s *Scenario) instant(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, s.zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("moment %q: write 2026-11-11T00:00 or, after the start, +90m", text)
}

// moment reads one of the calendar or one after the start.
func (s *Scenario) moment(text string) (time.Time, error) {
	if after, ok := strings.CutPrefix(text, "+"); ok {
		d, err := time.ParseDuration(after)
		if err != nil || d < 0 {
			return time.Time{}, fmt.Errorf("moment %q: write +90m or +24h", text)
		}
		return s.from.Add(d), nil
	}
	return s.instant(text)
}

// within reads a moment of the run.
func (c *checker) within(at, text string) {
	if t, err := c.moment(text); err != nil {
		c.bad(at, "%v", err)
	} else if t.Before(c.from) || t.After(c.to) {
		c.bad(at, "%s is not between the start and the end", text)
	}
}

func (c *checker) nodes() {
	total := 0
	for i, n := range c.Nodes {
		at := role.JoinIndex("nodes", i)
		if !resource.ValidName(n.Name) {
			c.bad(at+".name", "%q is no name: write small letters, digits, dots and dashes", n.Name)
		}
		if n.Count < 1 || n.Rack < 0 {
			c.bad(at+".count", "want at least one node, and no negative numbers")
		}
		if len(n.Capacity) == 0 {
			c.bad(at+".capacity", "the nodes have nothing to offer; write what each has, such as {cpu: 16, memory: 64Gi}")
		}
		for _, name := range n.Capacity.Names() {
			if pool, _ := resource.SplitName(name); pool != "" {
				c.bad(role.JoinKey(at+".capacity", name), "a machine has %s without a pool; the plan's selectors decide the pool", name)
			}
		}
		total += max(0, n.Count)
	}
	total += len(c.given)
	if total == 0 || total > MaxNodes {
		c.bad("nodes", "there are %d nodes; want 1 to %d", total, MaxNodes)
	}
}

func (c *checker) work(w *Work, at string, names map[string]bool) {
	if !resource.ValidName(w.Name) || names[w.Name] {
		c.bad(at+".name", "%q: every work needs a name of its own, of small letters, digits, dots and dashes", w.Name)
	}
	names[w.Name] = true
	if id, ok := c.tree.WorkRole(w.Role); !ok || id == role.Root {
		c.bad(at+".role", "the plan has no role %q", w.Role)
	}
	if len(w.Resources) == 0 {
		c.bad(at+".resources", "want what one task needs, such as {cpu: 1, memory: 2Gi}")
	}
	if largest, kind := c.tooLarge(w.Resources); kind != "" {
		c.bad(at+".resources", "no node can hold a task: it needs %s of %s, the largest node has %s", resource.FormatValue(kind, w.Resources[kind]), kind, resource.FormatValue(kind, largest))
	}
	w.defaults()
	switch w.OnNotice {
	case "checkpoint", "done", "leave", "ignore":
	default:
		c.bad(at+".onNotice", "%q: choose one of checkpoint, done, leave, ignore", w.OnNotice)
	}
	for i, e := range []string{w.From, w.Until} {
		if e != "" {
			c.within(at+[]string{".from", ".until"}[i], e)
		}
	}
	c.kind(w, at)
	if d := w.Daily; d != nil {
		t, err := time.Parse("15:04", d.Peak)
		if err != nil || d.Low < 0 || d.Low > 1 {
			c.bad(at+".daily", "want peak as in 20:00 and low from 0 to 1")
		}
		d.peak = time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	}
}

// tooLarge finds a resource that a task needs more of than any node has, and the most one has.
func (c *checker) tooLarge(need resource.Resources) (largest resource.Amount, kind string) {
	for _, name := range need.Names() {
		if pool, _ := resource.SplitName(name); pool != "" {
			continue
		}
		most := resource.Amount(0)
		for _, n := range c.Nodes {
			most = max(most, n.Capacity[name])
		}
		for _, n := range c.given {
			most = max(most, n.Capacity[name])
		}
		if need[name] > most {
			return most, name
		}
	}
	return 0, ""
}

func (w *Work) defaults() {
	if w.OnNotice == "" {
		w.OnNotice = "ignore"
	}
	if w.Tasks == (Number{}) {
		w.Tasks = Exactly(1)
	}
	if w.Saves == (Span{}) {
		w.Saves = Span{text: "1s..5s", law: uniform, a: time.Second, b: 5 * time.Second}
	}
	if w.View == (Span{}) {
		w.View = Fixed(time.Second)
	}
}

func (c *checker) kind(w *Work, at string) {
	switch w.Kind {
	case "service":
		if len(w.Replicas) == 0 || w.Every != (Span{}) || w.Duration != (Span{}) {
			c.bad(at+".replicas", "a service needs replicas, such as [{at: +0s, count: 10}], and neither every nor duration")
		}
		for i, r := range w.Replicas {
			c.within(role.JoinIndex(at+".replicas", i)+".at", r.At)
			if r.Count < 0 || r.Count > maxTasks {
				c.bad(role.JoinIndex(at+".replicas", i)+".count", "want 0 to %d replicas", maxTasks)
			}
		}
	case "batch", "claimer":
		if w.Duration == (Span{}) || w.Every == (Span{}) || len(w.Replicas) > 0 {
			c.bad(at+".duration", "%s work needs duration and every, and no replicas", w.Kind)
		}
		if w.Every != (Span{}) && w.Every.a == 0 && w.Asks == 0 {
			c.bad(at+".every", "without time between asks, say how many there are: asks")
		}
		if w.Tasks.low < 1 || w.Tasks.top > maxTasks {
			c.bad(at+".tasks", "want 1 to %d tasks", maxTasks)
		}
		if w.Kind == "claimer" && w.Gang {
			c.bad(at+".gang", "a claimer commits its tasks one by one; a gang is an ask")
		}
	default:
		c.bad(at+".kind", "%q: choose one of service, batch, claimer", w.Kind)
	}
}

func (c *checker) fault(f *Fault, at string) {
	if (f.At == "") == (f.Every == Span{}) {
		c.bad(at, "say when: either at or every")
	} else if f.At != "" {
		c.within(at+".at", f.At)
	} else if f.Every.a == 0 {
		c.bad(at+".every", "want some time between two faults")
	}
	if f.For == (Span{}) {
		f.For = Fixed(time.Minute)
	}
	switch f.Kind {
	case "rack", "node", "agent", "connection":
		if f.What != "" && !c.exists(*f) {
			c.bad(at+".what", "there is no %s %q", f.Kind, f.What)
		}
	case "leader":
		if f.What != "" {
			c.bad(at+".what", "there is one leader: leave this out")
		}
	default:
		c.bad(at+".kind", "%q: choose one of rack, node, agent, connection, leader", f.Kind)
	}
}

// exists reports whether a fault's rack or node is there.
func (c *checker) exists(f Fault) bool {
	for _, n := range c.machines() {
		if f.Kind == "rack" && n.Attributes["rack"] == f.What || f.Kind != "rack" && n.Name == f.What {
			return true
		}
	}
	return false
}
