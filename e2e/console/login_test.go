package console

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestLogin: strangers see nothing; a token and a link let in, the link once; logging out ends it.
func TestLogin(t *testing.T) {
	p := up(t, "have joined", "--simulate", "5")
	token, err := os.ReadFile(filepath.Join(p.dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	b := p.open(t, false)
	b.visit("/roles")
	b.sees("main", "Log in with your token")
	b.fill("#token", "polder_wrong")
	b.press("Log in")
	b.sees("[role=alert]", "token")
	b.fill("#token", strings.TrimSpace(string(token)))
	b.press("Log in")
	b.sees("h1", "Roles")
	b.sees("main", "vision")
	b.press("Log out")
	b.sees("main", "Log in with your token")
	b.visit("/")
	b.sees("main", "Log in with your token")

	link := p.polder("console")
	b.do(chromedp.Navigate(link))
	b.sees("h1", "Overview")
	other := p.open(t, false)
	other.do(chromedp.Navigate(link))
	other.sees("[role=alert]", "was used")
}

// TestSmall: everything the browser loads is at most 80 KB, packed.
func TestSmall(t *testing.T) {
	p := up(t, "have joined", "--simulate", "5")
	b := p.open(t, true)
	var names []string
	b.eval(`performance.getEntriesByType("resource").filter(e => e.name.includes("/assets/")).map(e => e.name)`, &names)
	total := 0
	client := &http.Client{Transport: insecure()}
	for _, name := range append(names, p.url("/")) {
		total += packedSize(t, client, name)
	}
	if len(names) < 2 || total > 80<<10 {
		t.Errorf("the console is %d bytes in %d files, want at most %d", total, len(names)+1, 80<<10)
	}
	t.Logf("%d bytes in %d files", total, len(names)+1)
}
