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

// TestSmall: what the browser loads to show the first page is at most 60 KB, packed; with everything that is fetched when it is
// opened, at most 80 KB.
func TestSmall(t *testing.T) {
	p := up(t, "have joined", "--simulate", "5")
	b := p.open(t, true)
	var names []string
	b.eval(`performance.getEntriesByType("resource").filter(e => e.name.includes("/assets/")).map(e => e.name)`, &names)
	client := &http.Client{Transport: insecure()}
	first := packedSize(t, client, p.url("/"))
	for _, name := range names {
		first += packedSize(t, client, name)
	}
	if len(names) < 2 || first > 60<<10 {
		t.Errorf("the first page is %d bytes in %d files, want at most %d", first, len(names)+1, 60<<10)
	}
	files, err := filepath.Glob("../../web/ui/dist/app/assets/*")
	if err != nil {
		t.Fatal(err)
	}
	all := packedSize(t, client, p.url("/"))
	for _, file := range files {
		all += packedSize(t, client, p.url("/console/assets/"+filepath.Base(file)))
	}
	if len(files) < len(names) || all > 80<<10 {
		t.Errorf("the console is %d bytes in %d files, want at most %d", all, len(files)+1, 80<<10)
	}
	t.Logf("%d bytes in %d files for the first page, %d in %d for all", first, len(names)+1, all, len(files)+1)
}
