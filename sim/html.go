package sim

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"time"

	"polder.dev/polder/core/role"
)

//go:embed report.html
var pageText string

var pageTemplate = template.Must(template.New("report").Parse(pageText))

// HTML writes the report as one page that needs nothing else: plots are inline, and the page has the report as JSON in it.
func (r *Report) HTML() ([]byte, error) {
	zone, err := time.LoadLocation(r.TZ)
	if err != nil {
		return nil, err
	}
	p := page{Report: r, zone: zone}
	var b bytes.Buffer
	err = pageTemplate.Execute(&b, p)
	return b.Bytes(), err
}

// page is what the template shows.
type page struct {
	*Report
	zone *time.Location
}

// Span says when the run played.
func (p page) Span() string {
	return p.From.In(p.zone).Format("2 January 2006 15:04") + " to " + p.To.In(p.zone).Format("2 January 2006 15:04") + ", " + p.TZ
}

// Failed is how many expectations did not hold.
func (p page) Failed() int {
	n := 0
	for _, f := range p.Findings {
		if !f.Held {
			n++
		}
	}
	return n
}

// Whole is a plot of one resource of all machines.
func (p page) Whole(resource string) template.HTML {
	capacity := p.Plot.Capacity[resource]
	used, own := p.sum(resource)
	c := newChart(1080, 240, p.Plot.At, p.zone, most(capacity, used))
	c.bands(p.Plot.Windows)
	zero := make([]float64, len(used))
	c.area("own", zero, own)
	c.area("borrowed", own, used)
	c.axes(si)
	c.line("capacity", capacity, true)
	c.edges(p.Plot.Windows)
	return c.svg()
}

// sum is what all roles use of a resource, and what of it guarantees pay for.
func (p page) sum(resource string) (used, own []float64) {
	l, ok := p.lineOf("", resource)
	if !ok {
		none := make([]float64, len(p.Plot.At))
		return none, none
	}
	return l.Used, l.Funded
}

func (p page) lineOf(path, resource string) (Line, bool) {
	for _, l := range p.Plot.Roles[path] {
		if l.Resource == resource {
			return l, true
		}
	}
	return Line{}, false
}

// Waits is a plot of how many tasks waited.
func (p page) Waits() template.HTML {
	v := make([]float64, len(p.Plot.Waiting))
	for i, n := range p.Plot.Waiting {
		v[i] = float64(n)
	}
	c := newChart(1080, 130, p.Plot.At, p.zone, most(v))
	c.bands(p.Plot.Windows)
	c.area("waits", make([]float64, len(v)), v)
	c.axes(si)
	c.edges(p.Plot.Windows)
	return c.svg()
}

// First is the resource that is shown first.
func (p page) First() string {
	if len(p.Pool) == 0 {
		return ""
	}
	for _, x := range p.Pool {
		if x.Resource == "cpu" {
			return "cpu"
		}
	}
	return p.Pool[0].Resource
}

// Cards are the roles with a plot each: all but the root.
func (p page) Cards() []card {
	var out []card
	for _, r := range p.Roles {
		if r.Path != "" {
			out = append(out, card{RoleReport: r, page: p})
		}
	}
	return out
}

// card is one role.
type card struct {
	RoleReport
	page page
}

// Name is the role's path for people.
func (c card) Name() string { return role.Display(c.Path) }

// Chart is the role over time.
func (c card) Chart() template.HTML {
	l, ok := c.page.lineOf(c.Path, c.page.First())
	if !ok {
		return ""
	}
	ch := newChart(540, 190, c.page.Plot.At, c.page.zone, most(l.Used, l.Guarantee, plus(l.Used, l.Lent)))
	ch.bands(c.page.Plot.Windows)
	zero := make([]float64, len(l.Used))
	ch.area("own", zero, l.Funded)
	ch.area("borrowed", l.Funded, l.Used)
	ch.area("lent", l.Used, plus(l.Used, l.Lent))
	ch.axes(si)
	ch.line("guarantee", l.Guarantee, true)
	ch.edges(c.page.Plot.Windows)
	return ch.svg()
}

// Bars is how long starts waited, as bars.
func (c card) Bars() template.HTML {
	const width, height = 540.0, 92.0
	b := &bytes.Buffer{}
	fmt.Fprintf(b, `<svg viewBox="0 0 %g %g" role="img">`, width, height)
	top := 1
	for _, n := range c.Waits {
		top = max(top, n)
	}
	each := (width - chartLeft - chartRight) / float64(len(c.Waits))
	for i, n := range c.Waits {
		h := (height - 34) * float64(n) / float64(top)
		if n > 0 {
			h = max(h, 1.5)
		}
		x := chartLeft + each*float64(i)
		fmt.Fprintf(b, `<rect class="wait" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="2"><title>%d starts waited %s</title></rect>`, x+2, height-20-h, each-4, h, n, waitName(i))
		fmt.Fprintf(b, `<text class="tick" x="%.1f" y="%g" text-anchor="middle">%s</text>`, x+each/2, height-6, waitName(i))
		if n > 0 {
			fmt.Fprintf(b, `<text class="tick strong" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, x+each/2, height-24-h, si(float64(n)))
		}
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) //nolint:gosec // numbers only
}

// waitName is a class of waits, shortly.
func waitName(i int) string {
	short := func(s float64) string {
		switch {
		case s >= 3600:
			return fmt.Sprintf("%gh", s/3600)
		case s >= 60:
			return fmt.Sprintf("%gm", s/60)
		}
		return fmt.Sprintf("%gs", s)
	}
	if i == len(WaitBounds) {
		return ">" + short(WaitBounds[i-1])
	}
	return "≤" + short(WaitBounds[i])
}

// OfT is how much of what T promises the role needed at most, in per cent.
func (c card) OfT() int {
	t, err1 := time.ParseDuration(c.T)
	short, err2 := time.ParseDuration(c.Short)
	if err1 != nil || err2 != nil || t == 0 {
		return 0
	}
	return int(100 * short / t)
}

// Bar is OfT for a bar that ends at the whole.
func (c card) Bar() int { return min(100, c.OfT()) }

// P50 and P99 are waits for people.
func (c card) P50() string { return people(c.WaitP50) }

// P99 is the wait that one of a hundred starts exceeded.
func (c card) P99() string { return people(c.WaitP99) }

// Round drops digits of a duration that nobody reads.
func (p page) Round(text string) string {
	d, err := time.ParseDuration(text)
	if err != nil {
		return text
	}
	return people(d.Seconds())
}

func people(s float64) string {
	d := time.Duration(s * 1e9)
	switch {
	case d >= time.Hour:
		return d.Round(time.Minute).String()
	case d >= time.Minute:
		return d.Round(time.Second).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// Percent writes a share.
func (p page) Percent(v float64) string { return fmt.Sprintf("%.1f %%", v*100) }

// Number writes a number shortly.
func (p page) Number(v float64) string { return si(v) }

// Width is a share of a bar, in per cent.
func (p page) Width(x PoolReport, v float64) string {
	return fmt.Sprintf("%.2f%%", 100*ratio(v, x.Hours+x.Idle))
}
