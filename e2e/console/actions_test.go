package console

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// TestActions does what people do, each after a question that names the effect.
func TestActions(t *testing.T) {
	p := up(t, "Ctrl-C stops", "--runtime", "process", "--agents", "2")
	p.polder("ask", "submit", "--name", "web", "--role", "offline", "--count", "2", "--cpu", "0.1", "--", "sh", "-c", "echo hello from the task; sleep 1000")
	b := p.open(t, true)

	b.visit("/tasks")
	b.sees("main", "web-")
	b.until("both run", func() bool { return strings.Count(b.text("main .state"), "running") == 2 })
	b.click(`document.querySelector("main a[href^='/tasks/web-']")`)
	b.sees("h1", "web-")
	b.press("Follow")
	b.sees("[role=log]", "hello from the task")
	b.terminal()
	b.press("Kill")
	b.sees("dialog", "Its ask does not start it again")
	b.press("Kill it")
	b.sees("dialog", "being stopped")
	b.press("Close")
	b.sees("h1 + .state", "killed")

	b.visit("/nodes/node-1")
	b.sees("h1", "node-1")
	b.press("Cordon")
	b.sees("dialog", "No new task starts on it")
	b.press("Cordon it")
	b.sees("dialog", "is cordoned")
	b.press("Close")
	b.sees("h1 + .state", "cordoned")
	b.press("Uncordon")
	b.press("Uncordon it")
	b.sees("dialog", "takes tasks again")
	b.press("Close")
	b.sees("h1 + .state", "ready")
	b.press("Drain")
	b.sees("dialog", "gets notice to leave")
	b.press("Drain it")
	b.sees("dialog", "is draining")
	b.press("Close")
	b.sees("h1 + .state", "draining")

	p.polder("ask", "submit", "--name", "stuck", "--role", "offline", "--cpu", "0.5", "--constraint", "slice==1", "--", "sleep", "1000")
	b.visit("/queue")
	b.sees("main", "stuck-")
	b.click(`document.querySelector("tbody button[aria-expanded=false]")`)
	b.until("the steps are there", func() bool { return b.text("tbody ul") != "" && !strings.Contains(b.text("tbody ul"), "reading") })
	b.click(`[...document.querySelectorAll("tbody button")].find(e => e.innerText.startsWith("Cancel"))`)
	b.press("Cancel the ask")
	b.sees("dialog", "withdrawn")
	b.press("Close")
	b.sees("main", "Nothing waits")
}

// terminal runs a shell in the task whose page is open: it has a terminal of the window's size, understands keys, draws what
// moves the cursor, and ends with its code.
func (b *tab) terminal() {
	b.Helper()
	b.press("Terminal")
	b.press("Open")
	b.until("the terminal has the focus", func() bool {
		var is bool
		b.eval(`document.activeElement.tagName == "TEXTAREA"`, &is)
		return is
	})
	b.keys("printf 'a\\rb'; tty; stty size; cat\r")
	b.sees(".box", "b/dev/")
	b.keys("typed\r")
	b.until("cat says it again", func() bool { return strings.Count(b.text(".box"), "typed") == 2 })
	b.shot("terminal")
	b.do(chromedp.KeyEvent("c", chromedp.KeyModifiers(input.ModifierCtrl)))
	b.until("the shell is back", func() bool { // it throws away what was typed before
		text := strings.TrimSpace(b.text(".box"))
		return strings.HasSuffix(text, "#") || strings.HasSuffix(text, "$")
	})
	b.keys("exit 7\r")
	b.sees("main", "It ended with code 7.")
}

// TestPlan: a plan is checked while it is typed, previewed, applied against the revision it was made from, and refused when that
// is old.
func TestPlan(t *testing.T) {
	p := up(t, "have joined", "--simulate", "5")
	b := p.open(t, true)
	b.visit("/plan?view=Edit")
	b.sees("h2", "Revision 1")
	var plan string
	b.until("the plan is there", func() bool { b.eval(`document.querySelector("#yaml")?.value ?? ""`, &plan); return plan != "" })
	b.fill("#yaml", plan+"\nnonsense: 1\n")
	b.sees("#effect ~ *", "nonsense")
	changed := strings.Replace(plan, "windows:", "  research/robots: {}\nwindows:", 1)
	b.fill("#yaml", changed)
	b.press("Preview")
	b.sees("tbody", "research/robots")
	b.fill("[aria-label=Comment]", `<img src=x onerror="document.title='pwned'">`)
	b.press("Apply")
	b.sees("dialog", "would get notice at once")
	b.press("Apply it")
	b.sees("dialog", "Revision 2 is in force")
	b.press("Close")
	b.visit("/plan?view=History")
	b.sees("tbody", "<img src=x")
	b.visit("/roles/research/robots")
	b.press("Show the history")
	b.sees("main", "+ {}")
	b.sees("main", "<img src=x")
	b.visit("/plan?view=Edit")
	b.sees("h2", "Revision 2")
	b.fill("#yaml", strings.Replace(changed, "research/robots", "research/robotics", 1))
	b.press("Preview")
	b.sees("tbody", "research/robotics")
	other := p.open(t, true)
	other.visit("/plan?view=Edit")
	other.sees("h2", "Revision 2")
	other.fill("#yaml", strings.Replace(changed, "research/robots", "research/planes", 1))
	other.press("Preview")
	other.sees("tbody", "research/planes")
	other.press("Apply")
	other.press("Apply it")
	other.sees("dialog", "Revision 3")
	b.press("Apply")
	b.press("Apply it")
	b.sees("dialog .bad", "Read the plan again")
}

// TestRights: somebody with few rights sees what they may, is told why not of the rest, and is out when the token is revoked.
func TestRights(t *testing.T) {
	p := up(t, "have joined", "--simulate", "30")
	p.access("user:ann", "view", "research/**")
	var made struct {
		Secret string
		Token  struct{ ID string }
	}
	if err := json.Unmarshal([]byte(p.polder("token", "create", "ann", "-o", "json")), &made); err != nil {
		t.Fatal(err)
	}
	b := p.open(t, false)
	b.visit("/roles")
	b.fill("#token", made.Secret)
	b.press("Log in")
	b.sees("main", "vision")
	if strings.Contains(b.text("main"), "reports") {
		t.Error("ann sees corp/reports")
	}
	b.visit("/nodes")
	b.sees("main .bad", "You may not see the nodes")
	b.visit("/tasks?role=research")
	b.click(`document.querySelector("main a[href^='/tasks/']")`)
	b.press("Kill")
	b.press("Kill it")
	b.sees("dialog .bad", "run")
	b.press("Leave it")
	b.press("Terminal")
	b.sees("main form", "may not exec")
	b.visit("/events?view=Audit")
	b.sees("main .bad", "admin")
	b.visit("/doors")
	b.sees("main .bad", "view")

	admin := p.open(t, true)
	admin.visit("/events?view=Audit&outcome=denied")
	admin.sees("main", "user:ann")
	admin.visit("/access")
	admin.press("Edit")
	admin.click(`document.querySelector("fieldset input[value=run]")`)
	admin.press("Save")
	admin.sees("dialog", "New: user:ann may run, view on research/**.")
	admin.press("Change it")
	admin.sees("dialog", "1 rule set")
	admin.press("Close")
	admin.sees("section", "view, run")
	admin.sees("main", made.Token.ID)
	admin.click(`[...document.querySelectorAll("tr")].find(e => e.innerText.includes("` + made.Token.ID + `")).querySelector("button")`)
	admin.sees("dialog", "is refused from the next request on")
	admin.press("Revoke it")
	admin.sees("dialog", "It is revoked")
	b.sees("main", "your session has ended")
}

// TestRestart: a page that was open while the server was away says so, then goes on by itself.
func TestRestart(t *testing.T) {
	p := up(t, "Ctrl-C stops", "--runtime", "process", "--agents", "1")
	b := p.open(t, true)
	b.visit("/roles")
	b.sees("main", "offline")
	b.sees("header.top .state", "live")
	addr := p.addr
	p.stop()
	b.sees("header.top .state", "server away")
	b.sees("main", "may be old")
	p.start(addr, "Ctrl-C stops")
	b.sees("header.top .state", "live")
	p.polder("ask", "submit", "--name", "after", "--role", "offline", "--cpu", "0.1", "--", "sleep", "1000")
	b.until("the running task is counted", func() bool { return strings.Contains(b.text("main tbody"), "0.1") })
}
