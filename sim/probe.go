package sim

import (
	"fmt"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// samples is how many points a plot has.
const samples = 240

// probes look at a run at fixed instants: for the plots, and for what is expected of a moment.
type probes struct {
	*run
	when   []time.Time
	roles  [][]sample // by role, by instant
	has    [][]resource.Amount
	waits  []int
	expect []*outcome
}

// sample is one role at one instant.
type sample struct {
	used, funded, lent, guarantee []resource.Amount
}

// outcome is how an expectation turned out: its worst value so far.
type outcome struct {
	*Expectation
	m      measure
	dim    int
	name   string
	looked int
	worst  float64
	when   time.Time
	failed bool
}

func newProbes(r *run) *probes {
	p := &probes{run: r, roles: make([][]sample, len(r.books.roles))}
	for i := range samples + 1 {
		r.at(r.end/samples*int64(i), probe, p.sample)
	}
	for i := range r.Expect {
		p.watch(&r.Expect[i])
	}
	return p
}

// watch lets an expectation be looked at when it is due.
func (p *probes) watch(e *Expectation) {
	m, name, err := findMeasure(e.Measure)
	if err != nil {
		p.failed = err
		return
	}
	o := &outcome{Expectation: e, m: m, name: name, dim: p.books.dim[name]}
	p.expect = append(p.expect, o)
	if !m.moment {
		return // looked at in the end
	}
	for _, t := range p.moments(e.At) {
		p.run.at(p.since(t), probe, func() { o.look(p.books, p.time()) })
	}
}

// look compares the measure with its bounds.
func (o *outcome) look(b *books, now time.Time) {
	id, _ := b.tree.Lookup(o.Role)
	v := o.m.of(b, b.roles[id], o.dim)
	bad := false
	if o.Least != "" {
		least, _ := o.m.parse(o.Least, o.name)
		bad = v < least
		if o.looked == 0 || v < o.worst {
			o.worst, o.when = v, now
		}
	}
	if o.Most != "" {
		most, _ := o.m.parse(o.Most, o.name)
		bad = bad || v > most
		if o.Least == "" && (o.looked == 0 || v > o.worst) || v > most {
			o.worst, o.when = v, now
		}
	}
	o.failed = o.failed || bad
	o.looked++
}

// sample takes a point of every plot.
func (p *probes) sample() {
	p.when = append(p.when, p.time())
	p.has = append(p.has, append([]resource.Amount(nil), p.books.has...))
	p.waits = append(p.waits, p.books.waiting)
	lent := map[string]resource.Resources{}
	if p.c != nil {
		for _, v := range p.c.Roles() {
			lent[v.Path] = v.Lent
		}
	}
	for id, a := range p.books.roles {
		s := sample{used: clone(a.used), funded: clone(a.funded), guarantee: clone(a.guarantee), lent: make([]resource.Amount, len(a.used))}
		if a.path == role.Display(a.path) {
			for i, name := range p.books.dims {
				s.lent[i] = lent[a.path][name]
			}
		}
		p.roles[id] = append(p.roles[id], s)
	}
}

func clone(v []resource.Amount) []resource.Amount { return append([]resource.Amount(nil), v...) }

// judged completes the expectations of the whole run and says how each turned out.
func (p *probes) judged() []Finding {
	var out []Finding
	for _, o := range p.expect {
		if !o.m.moment {
			o.look(p.books, p.time())
		}
		f := Finding{Name: o.Expectation.Name, Measure: o.Measure, Role: o.Role, Least: o.Least, Most: o.Most, Looked: o.looked}
		f.Held = !o.failed && o.looked > 0
		f.Found = o.m.format(o.worst, o.name)
		if o.m.moment {
			f.At = o.when.In(p.zone).Format(time.RFC3339)
		}
		if o.looked == 0 {
			f.Found = "never looked at: no such moment in the run"
		}
		if f.Name == "" {
			f.Name = fmt.Sprintf("%s of %s", o.Measure, orAll(o.Role))
		}
		out = append(out, f)
	}
	return out
}

func orAll(path string) string {
	if path == "" {
		return "all roles"
	}
	return path
}
