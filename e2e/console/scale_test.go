//go:build scale

package console

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"
)

var (
	nodes   = flag.Int("nodes", 10_000, "simulated nodes")
	small   = flag.Int("small", 60_000, "small tasks beside those of the simulated teams")
	at      = flag.String("at", "", "address of a pool that is as large already; -dir is its directory")
	dir     = flag.String("dir", "", "see -at")
	minutes = flag.Int("minutes", 10, "how long memory is looked at")
)

// TestScale measures the console before a large pool, and judges nothing: a loaded machine says more about itself than about the
// pages. The main thread's own time is what to compare.
func TestScale(t *testing.T) {
	p := &pool{t: t, dir: *dir, addr: *at}
	if *at == "" {
		p = up(t, "have joined", "--simulate", fmt.Sprint(*nodes))
		p.polder("ask", "submit", "--name", "small", "--role", "research/vision", "--count", fmt.Sprint(*small), "--cpu", "0.1", "--memory", "100Mi", "--", "sleep", "100000")
	}
	b := p.open(t, true)
	b.size(1440, 1000, "light")
	b.do(performance.Enable())
	b.until("the small tasks run", func() bool { return b.running() > *small })
	t.Logf("%d nodes, %d tasks run", *nodes, b.running())
	for _, page := range []struct{ path, says string }{{"/", "research/vision"}, {"/roles", "vision"}, {"/nodes", "sim-1"}, {"/tasks", "research"}, {"/queue", "of"}, {"/lending", "Notices running"}, {"/events", "Task"}} {
		b.paint(page.path, page.says)
	}
	for _, path := range []string{"/", "/nodes", "/tasks", "/events"} {
		b.visit(path)
		b.sees("header.top .state", "live")
		b.flow(path, 20*time.Second)
	}
	for _, path := range []string{"/", "/nodes"} {
		b.visit(path)
		b.sees("header.top .state", "live")
		for i := range *minutes + 1 {
			t.Logf("%s after %d minutes: %.1f MB of heap in use", path, i, b.heap())
			time.Sleep(time.Minute)
		}
	}
}

// running is how many tasks of all roles run, by the API.
func (b *tab) running() int {
	var n int
	b.evalAsync(`fetch("/console/api/polder.v1.RoleService/Get", {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"}).then(r => r.json()).then(r => r.running ?? 0)`, &n)
	return n
}

func (b *tab) evalAsync(script string, out any) {
	b.Helper()
	b.eval(`window.answer = undefined; `+script+`.then(v => window.answer = v); 0`, nil)
	b.until("an answer", func() bool {
		var is bool
		b.eval(`window.answer !== undefined`, &is)
		return is
	})
	b.eval(`window.answer`, out)
}

// paint loads a page three times and says when something was drawn, when it said what it is about, and what the main thread did
// until then.
func (b *tab) paint(path, says string) {
	b.Helper()
	var first, full, busy []float64
	for range 3 {
		b.do(chromedp.Navigate("about:blank"))
		before := b.metric("TaskDuration")
		start := time.Now()
		b.visit(path)
		b.sees("main", says)
		full = append(full, time.Since(start).Seconds())
		busy = append(busy, b.metric("TaskDuration")-before)
		var at float64
		b.until("something is drawn", func() bool {
			b.eval(`performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0`, &at)
			return at > 0
		})
		first = append(first, at/1000)
	}
	b.Logf("%s: first paint %.2f s, what it is about %.2f s, main thread %.2f s (best of three; all: %.2f, %.2f, %.2f)", path, slices.Min(first), slices.Min(full), slices.Min(busy), first, full, busy)
}

// flow counts for a while what comes in, the frames between, and what the main thread does.
func (b *tab) flow(path string, d time.Duration) {
	b.Helper()
	b.eval(`window.frames_ = []; window.long = 0; new PerformanceObserver(l => window.long += l.getEntries().length).observe({type: "longtask"});
		(function next(t) { window.frames_.push(t); requestAnimationFrame(next) })(performance.now()); 0`, nil)
	names := []string{"TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration"}
	before := map[string]float64{}
	for _, n := range names {
		before[n] = b.metric(n)
	}
	events := b.events()
	time.Sleep(d)
	var gaps []float64
	b.eval(`window.frames_.slice(1).map((t, i) => t - window.frames_[i])`, &gaps)
	slices.Sort(gaps)
	var long int
	b.eval(`window.long`, &long)
	s := d.Seconds()
	var text []string
	for _, n := range names {
		text = append(text, fmt.Sprintf("%s %.1f %%", strings.TrimSuffix(n, "Duration"), 100*(b.metric(n)-before[n])/s))
	}
	b.Logf("%s: %.0f events a second in the pool, %.0f frames a second, gaps p50 %.0f ms p99 %.0f ms max %.0f ms, %d long tasks; of the main thread's time: %s",
		path, float64(b.events()-events)/s, float64(len(gaps))/s, gaps[len(gaps)/2], gaps[len(gaps)*99/100], gaps[len(gaps)-1], long, strings.Join(text, ", "))
}

// events is the revision of the pool: every change has one.
func (b *tab) events() int {
	var n int
	b.evalAsync(`fetch("/console/api/polder.v1.RoleService/List", {method: "POST", headers: {"Content-Type": "application/json"}, body: '{"pageSize":1}'}).then(r => r.json()).then(r => Number(r.revision))`, &n)
	return n
}

func (b *tab) metric(name string) (out float64) {
	b.Helper()
	var all []*performance.Metric
	b.do(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		all, err = performance.GetMetrics().Do(ctx)
		return err
	}))
	for _, m := range all {
		if m.Name == name {
			return m.Value
		}
	}
	b.Fatalf("the browser measures no %s", name)
	return 0
}

// heap is what is in use after everything else was collected, in MB.
func (b *tab) heap() float64 {
	b.do(heapprofiler.CollectGarbage(), heapprofiler.CollectGarbage())
	return b.metric("JSHeapUsedSize") / 1e6
}
