package console

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pages are all there are, each with a word it must say in a simulated pool.
var pages = []struct{ path, says string }{
	{"/", "research/vision"},
	{"/roles", "corp"},
	{"/roles/research/vision", "How long it waits"},
	{"/plan", "research/vision"},
	{"/plan?view=Calendar", "night"},
	{"/plan?view=Edit", "What it would do"},
	{"/plan?view=History", "Revisions"},
	{"/lending", "Notices running"},
	{"/nodes", "sim-2"},
	{"/nodes/sim-2", "What it has"},
	{"/tasks", "research"},
	{"/queue", "What would help"},
	{"/frameworks", "Nothing is on offer"},
	{"/events", "TaskStarted"},
	{"/events?view=Audit", "user:simulation"},
	{"/access", "What may I do?"},
	{"/doors", "requests a second"},
}

// TestPages opens every page, light and dark, wide and narrow: it says what it is about, fits the window, and axe finds no serious
// fault.
func TestPages(t *testing.T) {
	axe, err := os.ReadFile("../../web/ui/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	p := up(t, "have joined", "--simulate", "80")
	b := p.open(t, true)
	for _, look := range []struct {
		width, height int64
		scheme        string
	}{{1440, 1000, "light"}, {360, 740, "dark"}, {360, 740, "light"}, {3200, 1800, "dark"}} {
		b.size(look.width, look.height, look.scheme)
		for _, page := range pages {
			name := fmt.Sprintf("%s at %d, %s", page.path, look.width, look.scheme)
			b.visit(page.path)
			b.sees("main", page.says)
			b.until(name+" is live", func() bool { return b.text("header.top .state") == "live" })
			var wide int64
			b.eval(`document.documentElement.scrollWidth`, &wide) // innerWidth grows with the page where a phone is imitated
			if wide > look.width {
				t.Errorf("%s is %d pixels wide", name, wide)
			}
			for _, fault := range b.faults(string(axe)) {
				t.Errorf("%s: %s", name, fault)
			}
			b.shot(fmt.Sprintf("%d-%s-%s", look.width, look.scheme, strings.Trim(page.path, "/")))
		}
	}
}

// faults are what axe calls serious or worse.
func (b *tab) faults(axe string) []string {
	b.Helper()
	b.eval(axe+"; 0", nil)
	b.eval(`window.faults = undefined; axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], resultTypes: ["violations"]}).then(r => {
		window.faults = r.violations.filter(v => v.impact == "serious" || v.impact == "critical").map(v => v.id + ": " + v.help + ": " + v.nodes.slice(0, 3).map(n => n.html + " (" + n.failureSummary + ")").join("; "))
	}); 0`, nil)
	var out []string
	b.until("axe is done", func() bool {
		var done bool
		b.eval(`window.faults !== undefined`, &done)
		return done
	})
	b.eval(`window.faults`, &out)
	return out
}

// TestUnderTheMouse: what is chosen, and what is to be pressed first, can be read while the mouse is on it.
func TestUnderTheMouse(t *testing.T) {
	axe, err := os.ReadFile("../../web/ui/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	b := up(t, "have joined", "--simulate", "5").open(t, true)
	for _, scheme := range []string{"light", "dark"} {
		b.size(1440, 1000, scheme)
		for path, selector := range map[string]string{"/": "main [aria-pressed=true]", "/plan?view=Edit": "main .primary", "/events": "main button"} {
			b.visit(path)
			b.click(`document.querySelector(` + quote(selector) + `)`)
			b.until("the mouse is on it", func() bool {
				var on bool
				b.eval(`document.querySelector(`+quote(selector)+`).matches(":hover")`, &on)
				return on
			})
			for _, fault := range b.faults(string(axe)) {
				t.Errorf("%s on %s, %s: %s", selector, path, scheme, fault)
			}
		}
	}
}

// TestFirstScreen: who borrows most, why tasks wait, and where the idle part is are on the first screen, without scrolling.
func TestFirstScreen(t *testing.T) {
	b := up(t, "have joined", "--simulate", "80").open(t, true)
	b.size(1440, 900, "light")
	for _, id := range []string{"borrowers", "waits", "where", "waste"} {
		b.until(id+" is in view", func() bool {
			var bottom float64
			b.eval(`document.getElementById("`+id+`")?.closest("section").querySelector(":is(a.row, li, p)")?.getBoundingClientRect().bottom ?? 9999`, &bottom)
			return bottom < 900
		})
	}
}

// TestRolesInView: of many roles those in view are drawn when all change; the others are when they come into view, also by keyboard.
func TestRolesInView(t *testing.T) {
	p := up(t, "Ctrl-C stops", "--runtime", "process", "--agents", "1")
	var more strings.Builder
	more.WriteString("roles:\n  a: {guarantee: {cpu: 1}}\n")
	for i := range 100 {
		fmt.Fprintf(&more, "  a/r-%02d: {}\n", i)
	}
	file := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(p.polder("plan", "get"), "roles:\n", more.String(), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	p.polder("plan", "apply", "-f", file, "--yes")
	b := p.open(t, true)
	b.size(1440, 1000, "light")
	b.visit("/roles")
	row := func(path string) string {
		var text string
		b.eval(`document.querySelector("main a[href='/roles/`+path+`']")?.closest("tr").innerText ?? ""`, &text)
		return text
	}
	b.until("the last role is there", func() bool { return strings.Contains(row("a/r-99"), "r-99") })
	p.polder("ask", "submit", "--name", "far", "--role", "a/r-99", "--cpu", "0.1", "--", "sleep", "1000")
	b.until("the upper role uses it", func() bool { return strings.Contains(row("a"), "0.1 of 1") })
	if strings.Contains(row("a/r-99"), "0.1") {
		t.Error("a row far out of view is drawn")
	}
	b.eval(`document.querySelector("main a[href='/roles/a/r-99']").focus()`, nil)
	b.until("it is drawn where it has the focus", func() bool { return strings.Contains(row("a/r-99"), "0.1") })
}

// TestDoors: every door is there, on or off, and a framework that sits on its offers is seen with them.
func TestDoors(t *testing.T) {
	p := up(t, "Ctrl-C stops", "--runtime", "process", "--agents", "2", "--mesos", "127.0.0.1:0", "--docker", "")
	b := p.open(t, true)
	b.size(1440, 1000, "light")
	b.visit("/frameworks")
	b.sees("main", "No scheduler is connected")
	p.subscribe("analytics", "offline")
	b.sees("main tbody", "analytics")
	b.sees("main tbody", "connected")
	b.sees("[aria-label=Offers]", "node-1")
	b.sees("[aria-label=Offers]", "all of it") // offline is guaranteed nothing
	b.size(360, 740, "dark")
	b.sees("main tbody", "analytics")
	b.shot("frameworks")
	b.visit("/doors")
	for door, says := range map[string]string{"native": "requests a second", "mesos": "polder door env mesos", "docker": "polder door env docker", "kubernetes": "Why it is off"} {
		b.sees("[aria-labelledby=door-"+door+"]", says)
	}
	b.shot("doors")
}

// subscribe connects a framework to the Mesos door, which takes what it is offered and does nothing with it until the test is over.
func (p *pool) subscribe(name, role string) {
	p.t.Helper()
	address, err := os.ReadFile(filepath.Join(p.dir, "mesos.addr"))
	if err != nil {
		p.t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(p.dir, "admin.token"))
	if err != nil {
		p.t.Fatal(err)
	}
	call := fmt.Sprintf(`{"type": "SUBSCRIBE", "subscribe": {"framework_info": {"user": "root", "name": %q, "roles": [%q],
		"capabilities": [{"type": "MULTI_ROLE"}, {"type": "REVOCABLE_RESOURCES"}]}}}`, name, role)
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, "http://"+strings.TrimSpace(string(address))+"/api/v1/scheduler", strings.NewReader(call))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("admin", strings.TrimSpace(string(token)))
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		p.t.Fatalf("subscribing: %v %v", res, err)
	}
	p.t.Cleanup(func() { res.Body.Close() })
}

// TestKeys: everything can be reached without a mouse.
func TestKeys(t *testing.T) {
	p := up(t, "have joined", "--simulate", "5")
	b := p.open(t, true)
	for _, page := range []struct{ key, title string }{{"r", "Roles"}, {"p", "Plan"}, {"l", "Lending"}, {"n", "Nodes"}, {"t", "Tasks"}, {"q", "Queue"}, {"f", "Frameworks"}, {"e", "Events"}, {"a", "Access"}, {"d", "Doors"}, {"o", "Overview"}} {
		b.keys("g" + page.key)
		b.sees("h1", page.title)
	}
	b.keys("?")
	b.sees("dialog", "Keys")
	b.keys("\x1b")
	b.until("the list of keys is gone", func() bool { return b.text("dialog") == "" })
	b.keys("/")
	b.until("the search has the focus", func() bool {
		var is bool
		b.eval(`document.activeElement.placeholder?.startsWith("Role")`, &is)
		return is
	})
	b.keys("research/vis")
	b.sees("#found", "research/vision")
	b.keys("\r")
	b.sees("h1", "vision")
}
