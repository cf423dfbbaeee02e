package console

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestLending follows a lease that is asked back: the preview of a plan says of whom and by when, the notice counts down on an open
// page, with who it is for, and its outcome stands beside it when it is over.
func TestLending(t *testing.T) {
	p := up(t, "Ctrl-C stops", "--runtime", "process", "--agents", "1")
	p.polder("ask", "submit", "--name", "batch", "--role", "offline", "--count", "2", "--cpu", "0.1", "--", "sleep", "1000")
	b := p.open(t, true)
	b.size(1440, 1000, "light")
	b.visit("/tasks?role=offline")
	b.until("both run", func() bool { return strings.Count(b.text("main .state"), "running") == 2 })

	b.visit("/plan?view=Edit")
	var plan string
	b.until("the plan is there", func() bool { b.eval(`document.querySelector("#yaml")?.value ?? ""`, &plan); return plan != "" })
	tight := strings.Replace(plan, "offline: {", "offline: {limit: {cpu: 100m}, ", 1)
	if tight == plan {
		t.Fatalf("the first plan says nothing of offline:\n%s", plan)
	}
	b.fill("#yaml", tight)
	b.press("Preview")
	b.sees("[aria-labelledby=effect] h3", "1 task would get notice")
	b.until("it says of whom, and by when", func() bool {
		return regexp.MustCompile(`batch-\S+\s+offline\s+0\.1 cpu.*by \d\d:\d\d:\d\d`).MatchString(strings.ReplaceAll(b.text("[aria-labelledby=effect] table:last-of-type"), "100m", "0.1"))
	})

	file := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(file, []byte(tight), 0o600); err != nil {
		t.Fatal(err)
	}
	b.visit("/lending")
	b.sees("main", "Nobody is asked to leave")
	b.sees("header.top .state", "live")
	p.polder("plan", "apply", "-f", file, "--yes")
	var found []string
	b.until("it counts down", func() bool {
		found = regexp.MustCompile(`(?s)\d+s.*(batch-\S+).*offline.*open`).FindStringSubmatch(b.text("[aria-label='Notices running']"))
		return found != nil
	})
	p.polder("notice", "done", found[1])
	b.until("its outcome is there", func() bool {
		return regexp.MustCompile(`(?s)left.*batch-.*15s`).MatchString(b.text("[aria-label='Notices that are over']"))
	})
	b.sees("main", "Nobody is asked to leave")
}

// TestHeatAndCalendar: nodes are coloured by whatever dimension is chosen and open where they are clicked; a stretch of the
// calendar opens the tree as it is then.
func TestHeatAndCalendar(t *testing.T) {
	p := up(t, "have joined", "--simulate", "20")
	b := p.open(t, true)
	b.size(1440, 1000, "light")
	b.visit("/nodes?by=memory")
	b.sees("[aria-label='Heat map']", "no memory used")
	b.press("tasks")
	b.sees("[aria-label='Heat map']", "no task")
	b.press("state")
	b.sees("[aria-label='Heat map']", "cordoned")
	var at []float64
	b.eval(`(() => { const r = document.querySelector("canvas").getBoundingClientRect(); return [r.left + 5, r.top + 5] })()`, &at)
	b.do(chromedp.MouseClickXY(at[0], at[1]))
	b.sees("h1", "sim-1")

	b.visit("/plan?view=Calendar")
	b.click(`document.querySelector(".lane a")`)
	b.sees("[aria-label=Instant]", "Open windows: night")
	var query string
	b.eval(`location.search`, &query)
	if !strings.Contains(query, "at=") {
		t.Errorf("the instant is not in the address: %s", query)
	}
}

// TestTimesInReasons: an instant in a sentence of the server is shown as this machine's time, and says all of itself under the mouse.
func TestTimesInReasons(t *testing.T) {
	p := up(t, "Ctrl-C stops", "--runtime", "process", "--agents", "1")
	opens := time.Now().UTC().Add(72 * time.Hour).Truncate(time.Minute)
	plan := strings.Replace(p.polder("plan", "get"), "offline: {", "offline: {limit: {cpu: 100m}, ", 1) + fmt.Sprintf(`
windows:
  - name: later
    when: {from: %q, to: %q, tz: UTC}
    set:
      offline: {limit: {cpu: 1}}
`, opens.Format("2006-01-02T15:04"), opens.Add(time.Hour).Format("2006-01-02T15:04"))
	file := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(file, []byte(plan), 0o600); err != nil {
		t.Fatal(err)
	}
	p.polder("plan", "apply", "-f", file, "--yes")
	p.polder("ask", "submit", "--name", "much", "--role", "offline", "--count", "3", "--cpu", "0.1", "--", "sleep", "1000")
	b := p.open(t, true)
	b.size(1440, 1000, "light")
	for _, page := range []string{"/queue", "/"} {
		b.visit(page)
		b.sees("main", opens.Local().Format("at 2 Jan 2006, 15:04:05 window"))
		var full string
		b.eval(`document.querySelector("main time[title]").title`, &full)
		if full != opens.Format(time.RFC3339) || strings.Contains(b.text("main"), full) {
			t.Errorf("%s: the time is %q in the title, and the page says:\n%s", page, full, b.text("main"))
		}
	}
	b.visit("/queue")
	b.sees("main td.why", "the next of 2 expected by")
}
