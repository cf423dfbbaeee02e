package sim

import (
	"cmp"
	"runtime"
	"slices"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Report is what a run found. It is the same for the same scenario and seed, but for Took.
type Report struct {
	Scenario string    `json:"scenario"`
	Title    string    `json:"title,omitempty"`
	About    string    `json:"about,omitempty"`
	Seed     uint64    `json:"seed"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	TZ       string    `json:"tz"`
	Notes    []string  `json:"notes,omitempty"` // what of a recording is not played
	Trace    string    `json:"trace"`           // digest of the trace

	Nodes  int `json:"nodes"`
	Events int `json:"events"` // the leader has taken
	Turns  int `json:"turns"`
	Faults int `json:"faults"`
	Checks int `json:"checks"` // of all invariants

	Findings   []Finding `json:"findings,omitempty"`
	Violations []string  `json:"violations,omitempty"` // the first of them
	Violated   int       `json:"violated"`
	Refused    int       `json:"refused,omitempty"`
	Refusals   []string  `json:"refusals,omitempty"`
	Claims     int       `json:"claims,omitempty"`
	Conflicts  int       `json:"conflicts,omitempty"`

	Pool   []PoolReport `json:"pool"`
	Roles  []RoleReport `json:"roles"` // the root first, then by path; at most [MaxRoles]
	More   int          `json:"moreRoles,omitempty"`
	Ledger Ledger       `json:"ledger"`
	Plot   Plot         `json:"plot"`

	Took Took `json:"took"`
}

// Took is what the run cost on this machine.
type Took struct {
	Wall   string `json:"wall"`
	Memory uint64 `json:"memory"` // bytes from the system
}

// Finding is how an expectation turned out.
type Finding struct {
	Name    string `json:"name"`
	Measure string `json:"measure"`
	Role    string `json:"role,omitempty"`
	Least   string `json:"least,omitempty"`
	Most    string `json:"most,omitempty"`
	Found   string `json:"found"`
	At      string `json:"at,omitempty"` // when it was worst
	Looked  int    `json:"looked"`       // how often
	Held    bool   `json:"held"`
}

// PoolReport is one resource of the machines over the run.
type PoolReport struct {
	Resource    string  `json:"resource"`
	Capacity    string  `json:"capacity"` // with all machines
	Utilisation float64 `json:"utilisation"`
	Hours       float64 `json:"hours"`    // held, in hours of one
	Owned       float64 `json:"owned"`    // of it, paid for by a guarantee of its own role or one above
	Borrowed    float64 `json:"borrowed"` // of it, the rest
	Idle        float64 `json:"idle"`     // not held
}

// RoleReport is one role over the run.
type RoleReport struct {
	Path      string             `json:"path"`
	T         string             `json:"t"` // at the end of the run
	Short     string             `json:"short"`
	BeyondT   int                `json:"beyondT"`
	Excused   int                `json:"excused"` // longer than T for lack of machines, or for fragmentation
	Started   int                `json:"started"`
	Succeeded int                `json:"succeeded"`
	Reclaimed int                `json:"reclaimed"`
	Lost      int                `json:"lost"`
	Notices   int                `json:"notices"`
	Full      int                `json:"fullNotices"` // tasks that used all of their notice
	Withdrawn int                `json:"withdrawn"`
	LostWork  string             `json:"lostWork"`
	ToFaults  string             `json:"lostToFaults"`
	WaitP50   float64            `json:"waitP50"` // seconds, from ask to lease
	WaitP99   float64            `json:"waitP99"`
	WaitMax   float64            `json:"waitMax"`
	Waits     []int              `json:"waits"` // starts by wait; see [WaitBounds]
	Hours     map[string]float64 `json:"hours"` // held, by resource
	Borrowed  map[string]float64 `json:"borrowed"`
}

// MaxRoles bounds the roles a report shows: those that used most.
const MaxRoles = 40

// WaitBounds are the upper ends of the classes of waits, in seconds; the last class has none.
var WaitBounds = []float64{0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 900, 3600}

// Plot is everything over time, at instants evenly apart.
type Plot struct {
	At       []time.Time          `json:"at"`
	Capacity map[string][]float64 `json:"capacity"` // by resource
	Waiting  []int                `json:"waiting"`
	Roles    map[string][]Line    `json:"roles"` // by path, a line for each resource
	Windows  []Opening            `json:"windows,omitempty"`
}

// Line is one resource of one role over time.
type Line struct {
	Resource  string    `json:"resource"`
	Guarantee []float64 `json:"guarantee"`
	Used      []float64 `json:"used"`
	Funded    []float64 `json:"funded"` // of it, what the role's own guarantees pay for
	Lent      []float64 `json:"lent"`
}

// Opening is a time in which a window was open.
type Opening struct {
	Name string    `json:"name"`
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Whole sums the pool up by kind of resource, whatever pool the machines are in.
func (r *Report) Whole() []PoolReport {
	var out []PoolReport
	for _, p := range r.Pool {
		_, p.Resource = resource.SplitName(p.Resource)
		i := slices.IndexFunc(out, func(o PoolReport) bool { return o.Resource == p.Resource })
		if i < 0 {
			out = append(out, PoolReport{Resource: p.Resource})
			i = len(out) - 1
		}
		o := &out[i]
		o.Hours, o.Owned, o.Borrowed, o.Idle = o.Hours+p.Hours, o.Owned+p.Owned, o.Borrowed+p.Borrowed, o.Idle+p.Idle
		o.Utilisation = ratio(o.Hours, o.Hours+o.Idle)
	}
	slices.SortFunc(out, func(a, b PoolReport) int { return cmp.Compare(a.Resource, b.Resource) })
	return out
}

// Held reports whether everything was as expected and nothing was violated.
func (r *Report) Held() bool {
	return r.Violated == 0 && !slices.ContainsFunc(r.Findings, func(f Finding) bool { return !f.Held })
}

func (r *run) report(took time.Duration) *Report {
	b := r.books
	for _, a := range b.roles {
		a.integrate(r.now)
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	out := &Report{
		Scenario: r.Name, Title: r.Title, About: r.About, Seed: r.seed, From: r.from, To: r.to, TZ: r.zone.String(), Notes: r.notes, Nodes: len(r.nodes),
		Events: r.out.events, Turns: r.checks.turns, Faults: b.faults, Checks: r.checks.done, Findings: r.probes.judged(),
		Refused: b.refusedN, Refusals: b.refusals, Claims: b.claims, Conflicts: b.conflicts,
		Took: Took{Wall: took.Round(time.Millisecond).String(), Memory: mem.Sys},
	}
	out.Violations, out.Violated, out.Trace = r.checks.violations, r.checks.count, r.out.sum()
	for i, name := range b.dims {
		out.Pool = append(out.Pool, b.poolReport(i, name))
	}
	shown := b.shown()
	out.More = b.named() - len(shown)
	out.Ledger = r.ledger(shown)
	out.Plot = r.plot(shown)
	for _, id := range shown {
		out.Roles = append(out.Roles, b.roleReport(b.roles[id]))
	}
	return out
}

func (b *books) poolReport(i int, name string) PoolReport {
	_, kind := resource.SplitName(name)
	scale := float64(resource.Scale(kind)) * 3600
	root := b.roles[role.Root]
	owned := 0.0
	for _, id := range b.tree.Roles[role.Root].Children {
		owned += b.roles[id].ownTime[i]
	}
	return PoolReport{
		Resource: name, Capacity: resource.FormatValue(kind, b.full[i]), Utilisation: ratio(b.usedTime[i], b.hadTime[i]),
		Hours: b.usedTime[i] / scale, Owned: owned / scale, Borrowed: (root.usedTime[i] - owned) / scale, Idle: (b.hadTime[i] - b.usedTime[i]) / scale,
	}
}

func (b *books) named() int {
	n := 0
	for _, a := range b.roles {
		if a.path == role.Display(a.path) {
			n++
		}
	}
	return n
}

// shown are the roles a report shows, in the tree's order: all, or those that started most.
func (b *books) shown() []role.ID {
	var ids []role.ID
	for id, a := range b.roles {
		if a.path == role.Display(a.path) {
			ids = append(ids, role.ID(id))
		}
	}
	if len(ids) > MaxRoles {
		slices.SortStableFunc(ids, func(x, y role.ID) int { return b.roles[y].Started - b.roles[x].Started })
		ids = ids[:MaxRoles]
		slices.Sort(ids)
	}
	return ids
}

func (b *books) roleReport(a *account) RoleReport {
	out := RoleReport{
		Path: a.path, T: a.bound.String(), Short: a.short.longest.Round(time.Millisecond).String(), BeyondT: a.short.beyond, Excused: max(0, a.short.long-a.short.beyond),
		Started: a.Started, Succeeded: a.Succeeded, Reclaimed: a.Reclaimed, Lost: a.Lost, Notices: a.Notices, Full: a.Full, Withdrawn: a.Withdrawn,
		LostWork: a.LostWork.Round(time.Millisecond).String(), ToFaults: a.LostFault.Round(time.Millisecond).String(),
		WaitP50: seconds(a.wait(50)), WaitP99: seconds(a.wait(99)), WaitMax: seconds(a.wait(100)),
		Waits: make([]int, len(WaitBounds)+1), Hours: map[string]float64{}, Borrowed: map[string]float64{},
	}
	for _, w := range a.waits {
		i, _ := slices.BinarySearch(WaitBounds, seconds(w))
		out.Waits[i]++
	}
	for i, name := range b.dims {
		_, kind := resource.SplitName(name)
		scale := float64(resource.Scale(kind)) * 3600
		out.Hours[name], out.Borrowed[name] = a.usedTime[i]/scale, (a.usedTime[i]-a.ownTime[i])/scale
	}
	return out
}

func (r *run) plot(shown []role.ID) Plot {
	p := r.probes
	out := Plot{At: p.when, Waiting: p.waits, Capacity: map[string][]float64{}, Roles: map[string][]Line{}, Windows: r.openings()}
	for i, name := range r.books.dims {
		_, kind := resource.SplitName(name)
		scale := float64(resource.Scale(kind))
		for _, has := range p.has {
			out.Capacity[name] = append(out.Capacity[name], float64(has[i])/scale)
		}
		for _, id := range shown {
			l := Line{Resource: name}
			for _, s := range p.roles[id] {
				l.Guarantee = append(l.Guarantee, float64(s.guarantee[i])/scale)
				l.Used = append(l.Used, float64(s.used[i])/scale)
				l.Funded = append(l.Funded, float64(s.funded[i])/scale)
				l.Lent = append(l.Lent, float64(s.lent[i])/scale)
			}
			path := r.books.roles[id].path
			out.Roles[path] = append(out.Roles[path], l)
		}
	}
	return out
}

// maxOpenings bounds how many openings of windows a plot marks.
const maxOpenings = 64

// openings are the times in which windows were open.
func (r *run) openings() []Opening {
	var out []Opening
	since := map[string]time.Time{}
	for _, w := range role.OpenWindows(&r.Plan, r.from) {
		since[w] = r.from
	}
	for at, more := role.NextChange(&r.Plan, r.from); more && at.Before(r.to) && len(out) < maxOpenings; at, more = role.NextChange(&r.Plan, at) {
		now := role.OpenWindows(&r.Plan, at)
		for _, w := range r.Plan.Windows {
			from, was := since[w.Name]
			is := slices.Contains(now, w.Name)
			if is && !was {
				since[w.Name] = at
			} else if was && !is {
				out = append(out, Opening{w.Name, from, at})
				delete(since, w.Name)
			}
		}
	}
	for _, w := range r.Plan.Windows {
		if from, ok := since[w.Name]; ok {
			out = append(out, Opening{w.Name, from, r.to})
		}
	}
	return out
}
