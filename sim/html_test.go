package sim

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// TestPageNeedsNothing checks that a report is one page: nothing is loaded, and the report itself can be read out of it.
func TestPageNeedsNothing(t *testing.T) {
	s := load(t, "rack-loss")
	s.Title = `</script><b>"&`
	r, err := Run(context.Background(), s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	if m := regexp.MustCompile(`(?i)(src|href)=|url\(|@import|https?:`).FindString(text); m != "" {
		t.Errorf("the page refers to something else: %s", m)
	}
	if strings.Count(text, "</script>") != 1 || strings.Contains(text, "<b>\"") {
		t.Error("a title can break out of its place")
	}
	_, data, _ := strings.Cut(text, `<script type="application/json" id="report">`)
	data, _, _ = strings.Cut(data, "</script>")
	var again Report
	if err := json.Unmarshal([]byte(data), &again); err != nil || again.Trace != r.Trace || len(again.Plot.At) != len(r.Plot.At) {
		t.Errorf("the report in the page: %v", err)
	}
	if got := strings.Count(text, "<svg"); got < 2+2*(len(r.Roles)-1) {
		t.Errorf("%d plots for %d roles", got, len(r.Roles))
	}
}
