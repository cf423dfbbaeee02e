package role

import (
	"slices"
	"time"

	"polder.dev/polder/core/resource"
)

// calendar is a plan with its windows' schedules read. A window whose schedule cannot be read never opens; [Validate]
// has said so.
type calendar struct {
	plan      *Plan
	schedules []schedule
}

func newCalendar(p *Plan) calendar {
	c := calendar{plan: p, schedules: make([]schedule, len(p.Windows))}
	for i, w := range p.Windows {
		c.schedules[i], _ = parseWhen(w.When)
	}
	return c
}

// opening returns the opening of window i that holds an instant, or the zero span.
func (c calendar) opening(i int, at time.Time) span {
	for _, s := range c.schedules[i].near(at) {
		if s.holds(at) {
			return s
		}
	}
	return span{}
}

// open reports for every window whether it is open at an instant.
func (c calendar) open(at time.Time) []bool {
	out := make([]bool, len(c.schedules))
	for i := range out {
		out[i] = c.opening(i, at) != span{}
	}
	return out
}

// warming reports for every window whether it is open and has not been so for longer than it warms.
func (c calendar) warming(at time.Time) []bool {
	out := make([]bool, len(c.schedules))
	for i, w := range c.plan.Windows {
		s := c.opening(i, at)
		out[i] = s != span{} && at.Before(s.start.Add(time.Duration(w.Warm)))
	}
	return out
}

// OpenWindows returns the names of the windows open at an instant, in the plan's order.
func OpenWindows(p *Plan, at time.Time) []string {
	var out []string
	for i, open := range newCalendar(p).open(at) {
		if open {
			out = append(out, p.Windows[i].Name)
		}
	}
	return out
}

// NextChange returns the first instant after the given one at which a window opens, closes or stops warming: until then
// the effective tree and the settings stay as they are. It is false when nothing will change any more.
func NextChange(p *Plan, after time.Time) (time.Time, bool) {
	var next time.Time
	consider := func(t time.Time) {
		if t.After(after) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for i, s := range newCalendar(p).schedules {
		for _, o := range s.near(after) {
			consider(o.start)
			consider(o.end)
			if warm := o.start.Add(time.Duration(p.Windows[i].Warm)); warm.Before(o.end) {
				consider(warm)
			}
		}
	}
	return next, !next.IsZero()
}

// Raise is a coming instant at which the calendar raises guarantees, and the instant from which capacity for them is to
// be reclaimed.
type Raise struct {
	At      time.Time // pass it to [Effective] for the tree that will hold then
	From    time.Time // before At
	Windows []string  // that open or close at At, in the plan's order
}

// Slack is what lead: auto adds to [Tree.ReclaimBound] for one decision round and the confirmation of a kill.
const Slack = time.Second

// Upcoming returns the raises whose lead has begun and which have not happened: From ≤ now < At, earliest first. Looked
// at are the next opening and the next closing of every window; closings count because the end of a window that
// lowers a guarantee raises it. With lead: auto the lead is the largest [Tree.ReclaimBound] of the raised roles, on the
// tree that will hold at At, plus [Slack].
func Upcoming(p *Plan, now time.Time) []Raise {
	return slices.DeleteFunc(newCalendar(p).raises(now), func(r Raise) bool { return r.From.After(now) })
}

// NextLead returns the first instant after the given one at which [Upcoming] gains a raise. Ask again after every
// [NextChange]: only the next opening and closing of every window are looked at.
func NextLead(p *Plan, after time.Time) (time.Time, bool) {
	var next time.Time
	for _, r := range newCalendar(p).raises(after) {
		if r.From.After(after) && (next.IsZero() || r.From.Before(next)) {
			next = r.From
		}
	}
	return next, !next.IsZero()
}

// raises returns the next raises that have a lead, earliest first, one for an instant.
func (c calendar) raises(after time.Time) []Raise {
	var out []Raise
	for i, w := range c.plan.Windows {
		for _, at := range c.turns(i, after) {
			if lead := c.lead(i, at); lead > 0 {
				out = append(out, Raise{At: at, From: at.Add(-lead), Windows: []string{w.Name}})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Raise) int { return a.At.Compare(b.At) })
	return joinRaises(out)
}

// joinRaises makes one of the raises at the same instant; the longest lead counts.
func joinRaises(sorted []Raise) []Raise {
	var out []Raise
	for _, r := range sorted {
		last := len(out) - 1
		if last < 0 || !out[last].At.Equal(r.At) {
			out = append(out, r)
			continue
		}
		out[last].Windows = append(out[last].Windows, r.Windows...)
		if r.From.Before(out[last].From) {
			out[last].From = r.From
		}
	}
	return out
}

// turns returns the next opening and the next closing of window i, where there are any.
func (c calendar) turns(i int, after time.Time) []time.Time {
	var start, end time.Time
	for _, o := range c.schedules[i].near(after) {
		if start.IsZero() && o.start.After(after) {
			start = o.start
		}
		if end.IsZero() && o.end.After(after) {
			end = o.end
		}
	}
	return slices.DeleteFunc([]time.Time{start, end}, time.Time.IsZero)
}

// lead returns how long before the turn of window i at an instant reclaiming starts; zero when no guarantee rises.
func (c calendar) lead(i int, at time.Time) time.Duration {
	raised := c.raised(at)
	if len(raised) == 0 {
		return 0
	}
	if l := c.plan.Windows[i].Lead; l.Fixed {
		return time.Duration(l.For)
	}
	t, delay := c.tree(at, resource.NewKinds()), c.settings(at).ReclaimDelay
	var longest time.Duration
	for _, id := range raised {
		longest = max(longest, t.ReclaimBound(id, delay)+Slack)
	}
	return longest
}

// raised returns the roles whose guarantee is higher at an instant than just before it.
func (c calendar) raised(at time.Time) []ID {
	o := newOutline(c.plan)
	before := o.guarantees(o.specs(c.plan, c.open(at.Add(-1))))
	now := o.guarantees(o.specs(c.plan, c.open(at)))
	var out []ID
	for i := range o {
		for name, a := range now[i] {
			if a > before[i][name] {
				out = append(out, ID(i))
				break
			}
		}
	}
	return out
}
