package top

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
)

// TestWrap: a long line goes on below, as far in as what it says begins.
func TestWrap(t *testing.T) {
	s := &screen{read: []string{
		"Role:          corp/reports",
		"Why it waits:  its role is at its limit: needs 1",
		"  - 64 waiting, 0 with a lease, 0 failed",
		"",
		strings.Repeat("x", 70),
	}}
	s.wrap(30)
	want := []string{
		"Role:          corp/reports",
		"Why it waits:  its role is at",
		"               its limit:",
		"               needs 1",
		"  - 64 waiting, 0 with a",
		"    lease, 0 failed",
		"",
		strings.Repeat("x", 30), strings.Repeat("x", 30), strings.Repeat("x", 10),
	}
	if d := cmp.Diff(want, s.lines); d != "" {
		t.Error("(-want +got)\n" + d)
	}
}

// TestSaid: where there is no room for a bar and all words, there are fewer words.
func TestSaid(t *testing.T) {
	b := Bar{Used: 0.5, Text: "10008Gi of 12800Gi used (78 %), most by research/vision: 3600Gi", Brief: "78 % used, most by research/vision: 3600Gi"}
	for width, want := range map[int]int{120: 30, 80: 29, 60: 12} {
		m := &model{width: width}
		drawn, words, _ := strings.Cut(ansi.Strip(m.said(b)), " ")
		if n := ansi.StringWidth(drawn); n != want {
			t.Errorf("at %d the bar is %d wide, want %d", width, n, want)
		}
		if brief := words == b.Brief; brief != (width < 100) {
			t.Errorf("at %d it says %q", width, words)
		}
	}
}
