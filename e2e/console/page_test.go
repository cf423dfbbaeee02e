package console

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// tab is a page in a browser of its own. What the page complains about fails the test.
type tab struct {
	*testing.T
	ctx context.Context
	p   *pool
}

// open opens a tab, logged in when ticket is set.
func (p *pool) open(t *testing.T, loggedIn bool) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("ignore-certificate-errors", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	if err := chromedp.Run(ctx); err != nil { // without a bound: the browser lives as long as this context
		t.Fatalf("%s does not start: %v", chromium, err)
	}
	b := &tab{t, ctx, p}
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("the page threw: %s", e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			if e.Entry.Source == log.SourceSecurity || strings.Contains(e.Entry.Text, "Content Security Policy") {
				t.Errorf("the browser complains: %s", e.Entry.Text)
			}
		case *page.EventJavascriptDialogOpening:
			t.Errorf("the page opened a dialog: %s", e.Message)
		}
	})
	b.do(log.Enable(), runtime.Enable())
	if loggedIn {
		b.load(p.polder("console"))
		b.sees("h1", "Overview")
	}
	return b
}

// do runs actions, each within patience.
func (b *tab) do(actions ...chromedp.Action) {
	b.Helper()
	for _, a := range actions {
		ctx, cancel := context.WithTimeout(b.ctx, patience)
		err := chromedp.Run(ctx, a)
		cancel()
		if err != nil {
			b.shot("failed")
			b.Fatalf("%T: %v\nthe page says:\n%s", a, err, b.text("body"))
		}
	}
}

func (b *tab) visit(path string) { b.Helper(); b.load(b.p.url(path)) }

// load opens an address, and again when nothing is drawn: a browser breaks off what it loads when the machine's networks change,
// which other tests see to.
func (b *tab) load(address string) {
	b.Helper()
	for range 3 {
		b.do(chromedp.Navigate(address))
		for end := time.Now().Add(patience / 3); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if strings.TrimSpace(b.text("body")) != "" {
				return
			}
		}
	}
}

// text is what a part of the page says now; empty when it is not there.
func (b *tab) text(selector string) string {
	var out string
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_ = chromedp.Run(ctx, chromedp.Evaluate(`[...document.querySelectorAll(`+quote(selector)+`)].map(e => e.innerText).join("\n")`, &out)) // empty then
	return out
}

// sees waits until a part of the page says something.
func (b *tab) sees(selector, want string) {
	b.Helper()
	b.until(selector+" says "+want, func() bool { return strings.Contains(b.text(selector), want) })
}

// until waits for something to become true.
func (b *tab) until(what string, is func() bool) {
	b.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			b.shot("failed")
			b.Fatalf("%s: not so; the page says:\n%s", what, b.text("body"))
		}
	}
}

// press clicks, with the mouse, the first button or link that says a text and can be seen.
func (b *tab) press(label string) {
	b.Helper()
	b.click(`[...document.querySelectorAll("button, a, summary, [role=option]")].find(e => e.innerText.trim() == ` + quote(label) + ` && e.offsetParent)`)
}

// click clicks what a script finds, once it is there and nothing covers it.
func (b *tab) click(find string) {
	b.Helper()
	var at []float64
	b.until("there is "+find, func() bool {
		b.eval(`(() => { const e = `+find+`; if (!e || e.disabled) return [];
			e.scrollIntoView({block: "center"}); const r = e.getBoundingClientRect(), x = r.x + r.width/2, y = r.y + r.height/2;
			return e.contains(document.elementFromPoint(x, y)) ? [x, y] : [] })()`, &at)
		return len(at) == 2
	})
	b.do(chromedp.MouseClickXY(at[0], at[1]))
}

// fill types a text into a field in place of what is there.
func (b *tab) fill(selector, text string) {
	b.Helper()
	b.click(`document.querySelector(` + quote(selector) + `)`)
	b.eval(`document.activeElement.select()`, nil)
	b.do(input.InsertText(text))
}

// keys presses keys, wherever the focus is.
func (b *tab) keys(keys string) { b.Helper(); b.do(chromedp.KeyEvent(keys)) }

func (b *tab) eval(script string, out any) { b.Helper(); b.do(chromedp.Evaluate(script, out)) }

// size makes the window so many pixels large, and the page light or dark.
func (b *tab) size(width, height int64, scheme string) {
	b.Helper()
	b.do(emulation.SetDeviceMetricsOverride(width, height, 1, width < 500),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
}

// shot keeps a picture of the page in the directory $POLDER_SHOTS, if there is one.
func (b *tab) shot(name string) {
	dir := os.Getenv("POLDER_SHOTS")
	if dir == "" {
		return
	}
	var png []byte
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Run(ctx, chromedp.CaptureScreenshot(&png)); err != nil {
		b.Logf("no picture %s: %v", name, err)
		return
	}
	if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(b.Name()+"-"+name, "/", "-")+".png"), png, 0o644); err != nil {
		b.Logf("no picture %s: %v", name, err)
	}
}

// quote writes a text as a string of JavaScript or XPath.
func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }
