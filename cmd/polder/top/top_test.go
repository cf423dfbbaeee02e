package top

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/vt"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// house is two tables, the second inside the first, and what was done to them.
type house struct {
	mu    sync.Mutex
	rooms []Row
	fail  error
	done  []string
}

func (h *house) config() Config {
	things := Kind{Name: "things", Columns: []Column{{Head: "THING"}, {Head: "SIZE"}, {Head: "AGE", Time: true}}}
	things.Load = func(_ context.Context, s Scope) (Table, error) {
		return Table{Rows: []Row{
			{ID: "a", Cells: []string{"lamp in " + s.ID, "500m", "2m"}}, {ID: "b", Cells: []string{"bed", "2Ki", "30s"}}, {ID: "c", Cells: []string{"cup", "-", "-"}},
		}, More: "there are more: look closer"}, nil
	}
	things.Texts = []Text{{Key: "d", Name: "story", Tail: true, Load: func(_ context.Context, id string) ([]string, error) {
		var out []string
		for i := range 40 {
			out = append(out, fmt.Sprintf("line %d of %s", i, id))
		}
		return out, nil
	}}}
	rooms := Kind{Name: "rooms", Enter: "things", Columns: []Column{{Head: "ROOM"}, {Head: "STATE"}, {Head: "SIZE"}, {Head: "COLOUR", Wide: true}}}
	rooms.Load = func(_ context.Context, s Scope) (Table, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return Table{Rows: h.rooms, Facets: []string{"floor", "wall"}}, h.fail
	}
	rooms.Acts = []Act{{Key: "x", Name: "paint", Ask: func(r Row) string { return "Paint " + r.ID + "?" }, Do: func(_ context.Context, id string) (string, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.done = append(h.done, id)
		return id + " is painted", nil
	}}}
	return Config{
		Title: "House", Kinds: []Kind{rooms, things}, Shades: map[string]string{"open": "32"},
		Summary: func(context.Context) (Summary, error) {
			return Summary{Bars: []Bar{{Name: "space", Used: 0.75, Borrowed: 0.25, Text: "three quarters"}}, Facts: []string{"2 rooms", "3 things"}}, nil
		},
		Now: func() time.Time { return time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC) },
	}
}

func newHouse() *house {
	return &house{rooms: []Row{
		{ID: "h", Cells: []string{"house", "open", "30", "red"}}, {ID: "h/k", Cells: []string{"├─ kitchen", "shut", "12", "white"}, Flat: "house/kitchen"},
		{ID: "h/b", Cells: []string{"└─ bath", "open", "4", "blue"}, Flat: "house/bath"},
	}}
}

// play presses keys on a model without a terminal: every command that follows is carried out, but those that wait.
func play(t *testing.T, m *model, keys ...string) {
	t.Helper()
	follow(m, m.Init())
	for _, k := range keys {
		msg := tea.KeyPressMsg{Text: k, Code: []rune(k)[0]}
		if code, ok := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "backspace": tea.KeyBackspace}[k]; ok {
			msg = tea.KeyPressMsg{Code: code}
		}
		follow(m, m.key(msg))
	}
}

// follow carries out a command. What it answers may lead to another; ticks would, and are left out.
func follow(m *model, cmd tea.Cmd) {
	for cmd != nil {
		msg := cmd()
		switch msg := msg.(type) {
		case read:
			m.take(msg)
			return
		case nil, tea.QuitMsg:
			return
		default:
			_, cmd = m.Update(msg)
		}
	}
}

// TestScreens compares screens after some keys with files in testdata.
func TestScreens(t *testing.T) {
	for name, keys := range map[string]string{
		"first": "", "filter": "/ b a t h enter", "sorted": "s s s", "wide": "w tab j", "enter": "j enter", "back": "j enter esc", "text": "j enter j d", "help": "?",
		"command": ": t h", "opened": ": t h i n enter", "unknown": ": z enter", "question": "j x", "done": "j x y", "left": "j x n", "second": "2", "by-age": "2 s s s S",
		"nothing": "/ z z",
	} {
		t.Run(name, func(t *testing.T) {
			m := newModel(t.Context(), newHouse().config())
			m.width, m.height = 64, 20
			play(t, m, strings.Fields(keys)...)
			golden(t, name, onTerminal(t, m))
		})
	}
}

// onTerminal is what a terminal of the model's size shows of it.
func onTerminal(t *testing.T, m *model) string {
	t.Helper()
	term := vt.NewEmulator(m.width, m.height)
	if _, err := term.WriteString(strings.ReplaceAll(m.View().Content, "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(term.String(), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " \r")
	}
	if len(lines) != m.height {
		t.Errorf("%d lines on a screen of %d", len(lines), m.height)
	}
	return strings.Join(lines, "\n") + "\n"
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestCursorStaysOnItsRow: rows come and go around it; where its own row goes, it stays on the line.
func TestCursorStaysOnItsRow(t *testing.T) {
	h := newHouse()
	m := newModel(t.Context(), h.config())
	play(t, m, "j")
	h.rooms = append([]Row{{ID: "new", Cells: []string{"attic"}}}, h.rooms...)
	follow(m, m.read())
	if row, _ := m.screen().row(); row.ID != "h/k" {
		t.Errorf("the cursor is on %q", row.ID)
	}
	h.rooms = h.rooms[:1]
	follow(m, m.read())
	if row, _ := m.screen().row(); row.ID != "new" {
		t.Errorf("the cursor is on %q", row.ID)
	}
	h.rooms = nil
	follow(m, m.read())
	play(t, m, "j", "enter", "x", "d", "G")
}

// TestTroubleKeepsTheTable: what was read last stays, with the reason.
func TestTroubleKeepsTheTable(t *testing.T) {
	h := newHouse()
	m := newModel(t.Context(), h.config())
	play(t, m)
	h.fail = errors.New("nobody answers\x1b[31m")
	follow(m, m.read())
	if got := onTerminal(t, m); !strings.Contains(got, "kitchen") || !strings.Contains(got, "As of 12:00:00; trying again: nobody answers") {
		t.Error(got)
	}
}

// TestSmallTerminal: no size is too small to draw.
func TestSmallTerminal(t *testing.T) {
	m := newModel(t.Context(), newHouse().config())
	play(t, m, "j")
	for w := 1; w < 90; w += 4 {
		for h := 1; h < 30; h++ {
			m.width, m.height = w, h
			if n := strings.Count(m.draw(), "\n") + 1; n > h {
				t.Errorf("%d lines on a screen of %d", n, h)
			}
		}
	}
}

func TestNumber(t *testing.T) {
	for _, c := range []struct {
		cell  string
		times bool
		want  float64
		ok    bool
	}{
		{"12", false, 12, true}, {"500m", false, 0.5, true}, {"4Gi", false, 4 << 30, true}, {"49.5", false, 49.5, true},
		{"5m", true, 300, true}, {"1h30m", true, 5400, true}, {"in 20s", true, 20, true}, {"20s ago", true, -20, true}, {"1m5s", true, 65, true},
		{"", false, 0, false}, {"-", false, 0, false}, {"node-1", false, 0, false}, {"cpu=1", false, 0, false}, {"5x", true, 0, false},
	} {
		if got, ok := number(c.cell, c.times); got != c.want || ok != c.ok {
			t.Errorf("number(%q) = %v, %v; want %v, %v", c.cell, got, ok, c.want, c.ok)
		}
	}
}

// TestRun drives the whole program on a virtual terminal: it takes the other screen, shows the table, obeys keys, and gives
// the terminal back.
func TestRun(t *testing.T) {
	defer goleak.VerifyNone(t)
	h := newHouse()
	term := vt.NewSafeEmulator(70, 20)
	keys, press := io.Pipe()
	defer press.Close()
	ended := make(chan error, 1)
	go func() { ended <- run(t.Context(), h.config(), keys, term, tea.WithWindowSize(70, 20)) }()
	go func() { _, _ = io.Copy(io.Discard, term) }() // what the terminal answers to questions
	defer term.Close()
	see := func(what string) {
		t.Helper()
		for !strings.Contains(term.String(), what) {
			select {
			case err := <-ended:
				t.Fatalf("ended with %v before %q was seen on\n%s", err, what, term.String())
			case <-t.Context().Done():
				t.Fatalf("%q is not on\n%s", what, term.String())
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	see("kitchen")
	if _, err := io.WriteString(press, "j"); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(press, "x")
	see("Paint h/k? y/n")
	_, _ = io.WriteString(press, "y")
	see("h/k is painted")
	_, _ = io.WriteString(press, "q")
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if term.IsAltScreen() {
		t.Error("the terminal was not given back")
	}
}
