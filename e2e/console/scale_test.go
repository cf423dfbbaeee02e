//go:build scale

package console

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/cdproto/profiler"
	"github.com/chromedp/chromedp"
)

var (
	minutes = flag.Int("minutes", 10, "how long the overview is left open; 0 leaves nothing open")
	only    = flag.String("only", "", "the address of the one page to measure, such as /roles")
	profile = flag.String("profile", "", "a directory for what the main thread did, for Chromium's developer tools")
)

// TestScale measures the console before a pool of 10,000 nodes and 100,000 tasks of which 50 things change every second. The pool
// is made up: a real one of that size on the same two cores would be measured instead. It judges nothing: the main thread's own time
// is what to compare, since a loaded machine drops frames whatever the page does.
func TestScale(t *testing.T) {
	p := before(t, crowded())
	b := p.open(t, false)
	b.size(1440, 1000, "light")
	b.visit("/")
	b.fill("#token", "anything")
	b.press("Log in")
	b.do(performance.Enable())
	for _, page := range []struct{ path, says string }{{"/", "Where the"}, {"/roles", "team-1"}, {"/nodes", "sim-1"}, {"/tasks", "job-0.0"}, {"/queue", "What would help"}, {"/lending", "Notices running"}, {"/events", "runs on"}} {
		if *only == "" || *only == page.path {
			b.paint(page.path, page.says)
		}
	}
	for _, path := range []string{"/", "/roles", "/nodes", "/tasks", "/lending", "/events"} {
		if *only != "" && *only != path {
			continue
		}
		b.visit(path)
		b.sees("header.top .state", "live")
		time.Sleep(3 * time.Second) // until everything is read
		b.flow(path, 20*time.Second)
		if *profile != "" {
			b.profile(path, 10*time.Second)
		}
	}
	if *minutes > 0 {
		b.remember("/nodes", min(5, *minutes))
		b.remember("/", *minutes) // it follows everything there is to follow
	}
}

// remember leaves a page open and says once a minute what it keeps.
func (b *tab) remember(path string, minutes int) {
	b.Helper()
	b.visit(path)
	b.sees("header.top .state", "live")
	for i := range minutes + 1 {
		b.Logf("%s after %d minutes: %.1f MB of heap in use", path, i, b.heap())
		if i < minutes {
			time.Sleep(time.Minute)
		}
	}
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

// flow looks for a while at the frames and at what the main thread does.
func (b *tab) flow(path string, d time.Duration) {
	b.Helper()
	b.eval(`window.frames_ = []; window.long = 0; new PerformanceObserver(l => window.long += l.getEntries().length).observe({type: "longtask"});
		(function next(t) { window.frames_.push(t); requestAnimationFrame(next) })(performance.now()); 0`, nil)
	names := []string{"TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration"}
	before := map[string]float64{}
	for _, n := range names {
		before[n] = b.metric(n)
	}
	time.Sleep(d)
	var gaps []float64
	b.eval(`window.frames_.slice(1).map((t, i) => t - window.frames_[i])`, &gaps)
	slices.Sort(gaps)
	var long int
	b.eval(`window.long`, &long)
	var text []string
	for _, n := range names {
		text = append(text, fmt.Sprintf("%s %.1f %%", strings.TrimSuffix(n, "Duration"), 100*(b.metric(n)-before[n])/d.Seconds()))
	}
	b.Logf("%s: %.0f frames a second, gaps p50 %.0f ms p99 %.0f ms max %.0f ms, %d long tasks; of the main thread's time: %s",
		path, float64(len(gaps))/d.Seconds(), gaps[len(gaps)/2], gaps[len(gaps)*99/100], gaps[len(gaps)-1], long, strings.Join(text, ", "))
}

// profile keeps what the main thread does for a while.
func (b *tab) profile(path string, d time.Duration) {
	b.Helper()
	b.do(profiler.Enable(), profiler.Start())
	time.Sleep(d)
	var p *profiler.Profile
	b.do(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		p, err = profiler.Stop().Do(ctx)
		return err
	}))
	data, err := json.Marshal(p)
	if err != nil {
		b.Fatal(err)
	}
	name := filepath.Join(*profile, "console"+strings.ReplaceAll(path, "/", "-")+".cpuprofile")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		b.Fatal(err)
	}
	b.Log("what the main thread did is in ", name)
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

// crowded is a server that makes up a large pool.
func crowded() http.Handler {
	mux := http.NewServeMux()
	m := &madeUp{began: time.Now()}
	m.register(mux)
	return mux
}

// page is the part of so many things that a request asks for, and the token of the next.
func pageOf(size int32, token string, all int) (from, to int, next string) {
	from, _ = strconv.Atoi(token) // one of ours, or none
	if size == 0 {
		size = 100
	}
	to = min(all, from+int(size))
	if to < all {
		next = strconv.Itoa(to)
	}
	return from, to, next
}
