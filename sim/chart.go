package sim

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"
)

// chart is one plot over time, drawn as SVG. Colours are classes, so that the page decides about light and dark.
type chart struct {
	width, height float64
	at            []time.Time
	zone          *time.Location
	top           float64
	b             strings.Builder
}

// Room around the plot for labels.
const (
	chartLeft   = 54.0
	chartBottom = 24.0
	chartTop    = 10.0
	chartRight  = 10.0
)

// newChart starts a plot with values from 0 to top.
func newChart(width, height float64, at []time.Time, zone *time.Location, top float64) *chart {
	c := &chart{width: width, height: height, at: at, zone: zone, top: niceAbove(top)}
	fmt.Fprintf(&c.b, `<svg viewBox="0 0 %g %g" role="img" preserveAspectRatio="none">`, width, height)
	return c
}

func (c *chart) x(i int) float64 {
	return chartLeft + (c.width-chartLeft-chartRight)*float64(i)/float64(max(1, len(c.at)-1))
}

func (c *chart) xOf(t time.Time) float64 {
	first, last := c.at[0], c.at[len(c.at)-1]
	share := float64(t.Sub(first)) / float64(max(1, last.Sub(first)))
	return chartLeft + (c.width-chartLeft-chartRight)*min(1, max(0, share))
}

func (c *chart) y(v float64) float64 {
	return c.height - chartBottom - (c.height-chartBottom-chartTop)*v/c.top
}

// bands shade the times in which windows were open.
func (c *chart) bands(of []Opening) {
	for _, o := range of {
		x := c.xOf(o.From)
		fmt.Fprintf(&c.b, `<rect class="window" x="%.1f" y="%g" width="%.1f" height="%g"><title>window %s</title></rect>`, x, chartTop,
			max(1, c.xOf(o.To)-x), c.height-chartBottom-chartTop, template.HTMLEscapeString(o.Name))
	}
}

// edges mark above everything where windows open and close, with their names.
func (c *chart) edges(of []Opening) {
	for _, o := range of {
		from, to := c.xOf(o.From), c.xOf(o.To)
		fmt.Fprintf(&c.b, `<path class="edge" d="M%.1f %gV%g M%.1f %gV%g"/>`, from, chartTop, c.height-chartBottom, to, chartTop, c.height-chartBottom)
		if to-from > 6*float64(len(o.Name)) {
			fmt.Fprintf(&c.b, `<text class="tick name" x="%.1f" y="%g">%s</text>`, from+5, chartTop+13, template.HTMLEscapeString(o.Name))
		}
	}
}

// area fills between two lines.
func (c *chart) area(class string, low, high []float64) {
	var p strings.Builder
	for i, v := range high {
		fmt.Fprintf(&p, "%.1f,%.1f ", c.x(i), c.y(v))
	}
	for i := len(low) - 1; i >= 0; i-- {
		fmt.Fprintf(&p, "%.1f,%.1f ", c.x(i), c.y(low[i]))
	}
	fmt.Fprintf(&c.b, `<polygon class="%s" points="%s"/>`, class, strings.TrimSpace(p.String()))
}

// line draws a line; as steps, for what changes at once.
func (c *chart) line(class string, values []float64, steps bool) {
	var p strings.Builder
	for i, v := range values {
		if i > 0 && steps {
			fmt.Fprintf(&p, "%.1f,%.1f ", c.x(i), c.y(values[i-1]))
		}
		fmt.Fprintf(&p, "%.1f,%.1f ", c.x(i), c.y(v))
	}
	fmt.Fprintf(&c.b, `<polyline class="%s" points="%s"/>`, class, strings.TrimSpace(p.String()))
}

// axes draws the grid with its labels; unit turns a value into text.
func (c *chart) axes(unit func(float64) string) {
	for i := range 5 {
		v := c.top * float64(i) / 4
		fmt.Fprintf(&c.b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/><text class="tick" x="%g" y="%.1f" text-anchor="end">%s</text>`,
			chartLeft, c.width-chartRight, c.y(v), c.y(v), chartLeft-6, c.y(v)+4, unit(v))
	}
	for i, t := range c.ticks() {
		anchor := "middle"
		if i == 0 && c.xOf(t) < chartLeft+20 {
			anchor = "start"
		}
		fmt.Fprintf(&c.b, `<text class="tick" x="%.1f" y="%g" text-anchor="%s">%s</text>`, c.xOf(t), c.height-6, anchor, c.stamp(t))
	}
}

// tickSteps are the distances between labels of time that people like.
var tickSteps = []time.Duration{
	time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour,
	12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour, 14 * 24 * time.Hour, 30 * 24 * time.Hour, 60 * 24 * time.Hour,
}

// ticks are instants on round local times, some six of them.
func (c *chart) ticks() []time.Time {
	first, last := c.at[0].In(c.zone), c.at[len(c.at)-1]
	step := tickSteps[len(tickSteps)-1]
	for _, s := range tickSteps {
		if last.Sub(first)/s <= 7 {
			step = s
			break
		}
	}
	midnight := time.Date(first.Year(), first.Month(), first.Day(), 0, 0, 0, 0, c.zone)
	var out []time.Time
	for t := midnight; !t.After(last); t = t.Add(step) {
		if !t.Before(first) && c.xOf(t) < c.width-chartRight-14 {
			out = append(out, t)
		}
	}
	return out
}

func (c *chart) stamp(t time.Time) string {
	if last := c.at[len(c.at)-1]; last.Sub(c.at[0]) > 4*24*time.Hour {
		return t.In(c.zone).Format("2 Jan")
	}
	return t.In(c.zone).Format("15:04")
}

func (c *chart) svg() template.HTML {
	return template.HTML(c.b.String() + "</svg>") //nolint:gosec // numbers, and names that were escaped
}

// niceAbove is the next round number.
func niceAbove(v float64) float64 {
	if v <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10} {
		if v <= m*unit*1.0000001 {
			return m * unit
		}
	}
	return 10 * unit
}

// Short writes a number with two or three digits that count: 16k, 12, 0.4, and bytes from a gibibyte on as 1.5Gi.
func Short(v float64) string { return si(v) }

func si(v float64) string {
	for _, u := range []struct {
		of   float64
		name string
	}{{1 << 50, "Pi"}, {1 << 40, "Ti"}, {1 << 30, "Gi"}} {
		if v >= u.of {
			return trimZero(fmt.Sprintf("%.1f", v/u.of)) + u.name
		}
	}
	switch {
	case v >= 1e6:
		return trimZero(fmt.Sprintf("%.1f", v/1e6)) + "M"
	case v >= 1e4:
		return trimZero(fmt.Sprintf("%.1f", v/1e3)) + "k"
	case v >= 10 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	}
	return trimZero(fmt.Sprintf("%.2f", v))
}

func trimZero(s string) string { return strings.TrimSuffix(strings.TrimRight(s, "0"), ".") }

// plus adds two lines.
func plus(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] + b[i]
	}
	return out
}

func most(lines ...[]float64) float64 {
	top := 0.0
	for _, l := range lines {
		for _, v := range l {
			top = max(top, v)
		}
	}
	return top
}
