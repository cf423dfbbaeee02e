package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Trace is work that was recorded somewhere, with the machines it ran on.
type Trace struct {
	Name  string
	Nodes []cluster.NodeInfo
	Tasks []TraceTask // by At
}

// TraceTask is an ask as it was recorded: Count tasks that run for Duration each once they have started.
type TraceTask struct {
	Name        string
	Role        string
	At          time.Duration   // since the trace began
	Duration    time.Duration   // 0 is for ever
	Durations   []time.Duration // of each task, instead; 0 is for ever
	Count       int             // 0 is 1
	Gang        bool
	Resources   resource.Resources
	Constraints []placement.Constraint
	Priority    int
	Pinned      bool
	Pool        string
	OnNotice    string // as in [Work]; "" is ignore
}

// traceStart is the first instant of a trace that only has seconds.
var traceStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// TraceOptions say how a trace is made a scenario.
type TraceOptions struct {
	Plan  *role.Plan    // nil: every role is guaranteed its share of the work, nine tenths of the machines together
	Skip  time.Duration // leave out what ended before, and begin there
	Share float64       // part of the nodes to keep, evenly; 0 is all
	Turn  time.Duration // 0 is 1s
}

// Scenario makes a scenario of a trace.
func (t *Trace) Scenario(o TraceOptions) (*Scenario, error) {
	nodes := keepNodes(t.Nodes, o.Share)
	tasks, last := t.after(o.Skip)
	if len(tasks) == 0 {
		return nil, fmt.Errorf("nothing of %s is left after %s", t.Name, o.Skip)
	}
	s := &Scenario{
		Name: shortName(t.Name), Title: "Trace " + shortName(t.Name), Start: traceStart.Add(o.Skip).Format(time.RFC3339), End: "+" + (last + time.Second).String(),
		About:  fmt.Sprintf("%d asks on %d nodes, as recorded.", len(tasks), len(nodes)),
		Leader: Leader{Turn: role.Duration(cmp.Or(o.Turn, time.Second))}, given: nodes, arrivals: tasks,
	}
	s.Plan = o.planFor(nodes, tasks)
	return s, s.Prepare()
}

func (o TraceOptions) planFor(nodes []cluster.NodeInfo, tasks []TraceTask) role.Plan {
	if o.Plan != nil {
		return *o.Plan
	}
	return sharePlan(nodes, tasks)
}

func shortName(file string) string {
	file = file[strings.LastIndexByte(file, '/')+1:]
	name, _, _ := strings.Cut(file, ".")
	return name
}

// keepNodes takes a share of the nodes of every shape, evenly over the list.
func keepNodes(nodes []cluster.NodeInfo, share float64) []cluster.NodeInfo {
	if share <= 0 || share >= 1 {
		return nodes
	}
	var out []cluster.NodeInfo
	seen := map[string]int{}
	for _, n := range nodes {
		k := n.Capacity.String() + n.Attributes["gpu-model"]
		if seen[k]++; int(float64(seen[k])*share) > int(float64(seen[k]-1)*share) {
			out = append(out, n)
		}
	}
	return out
}

// after cuts what was over before an instant off the tasks, and returns when the last of the rest ends at the earliest.
func (t *Trace) after(skip time.Duration) ([]TraceTask, time.Duration) {
	var out []TraceTask
	last := time.Duration(0)
	for _, x := range t.Tasks {
		if x.Duration > 0 && x.At+x.Duration <= skip {
			continue
		}
		if x.At < skip {
			if x.Duration > 0 {
				x.Duration -= skip - x.At
			}
			x.At = skip
		}
		x.At -= skip
		last = max(last, x.At+x.Duration)
		out = append(out, x)
	}
	return out, last
}

// sharePlan guarantees every role of a trace the share of the machines that its work has of all work, nine tenths together.
func sharePlan(nodes []cluster.NodeInfo, tasks []TraceTask) role.Plan {
	has, all, of := map[string]float64{}, map[string]float64{}, map[string]map[string]float64{}
	for _, n := range nodes {
		for kind, a := range n.Capacity {
			has[kind] += float64(a)
		}
	}
	for _, t := range tasks {
		if of[t.Role] == nil {
			of[t.Role] = map[string]float64{}
		}
		for kind, a := range t.Resources {
			work := float64(a) * t.Duration.Seconds() * float64(max(1, t.Count))
			of[t.Role][kind] += work
			all[kind] += work
		}
	}
	p := role.Plan{Roles: map[string]role.RoleSpec{}}
	for path, work := range of {
		g := resource.Resources{}
		for kind, w := range work {
			if a := resource.Amount(0.9 * has[kind] * w / all[kind]); a > 0 {
				g[kind] = a
			}
		}
		p.Roles[path] = role.RoleSpec{Guarantee: g}
	}
	return p
}

// startArrivals lets recorded asks arrive.
func (r *run) startArrivals() {
	works := map[string]*workload{}
	for i := range r.arrivals {
		t := &r.arrivals[i]
		key := t.Role + " " + t.OnNotice
		l := works[key]
		if l == nil {
			w := &Work{Name: "trace", Role: t.Role, Kind: "batch", OnNotice: t.OnNotice}
			w.defaults()
			l = &workload{run: r, Work: w, chance: stream(r.seed, "trace "+key)}
			works[key] = l
		}
		r.at(int64(t.At), normal, func() { l.arrived(t) })
	}
}

// arrived submits a recorded ask.
func (l *workload) arrived(t *TraceTask) {
	n := max(1, t.Count)
	j := l.job(n)
	if t.Durations != nil {
		j.duration = t.Durations
	} else if t.Duration > 0 {
		j.duration = slices.Repeat([]time.Duration{t.Duration}, n)
	}
	j.spec.ID, j.spec.Gang = t.Name, t.Gang
	j.spec.Shape.Resources, j.spec.Shape.Constraints, j.spec.Shape.Priority = t.Resources, t.Constraints, t.Priority
	j.spec.Shape.Pinned, j.spec.Shape.Pool = t.Pinned, t.Pool
	l.submit(j)
}
