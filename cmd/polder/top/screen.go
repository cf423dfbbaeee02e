package top

import (
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// screen is one table or text somebody looks at. Screens lie on each other; esc takes the upmost away.
type screen struct {
	kind  *Kind
	scope Scope

	table  Table
	shown  []Row // filtered and sorted
	loaded bool
	id     string // the row under the cursor
	at     int    // its line
	first  int    // the line at the top of the window
	filter string
	sort   int // column + 1; 0 is the rows' own order
	down   bool
	widths []int // of columns, never shrinking, so that columns do not jump

	text  *Text    // not nil: a text about the row scope.ID
	read  []string // as it was read
	lines []string // of it, as they fit into the window
	end   bool     // the text's end is in the window and stays there
}

// arrange filters and sorts, and puts the cursor back on its row; where that is gone, it stays on its line.
func (s *screen) arrange() {
	s.shown = s.table.Rows
	if s.filter != "" {
		s.shown = slices.DeleteFunc(slices.Clone(s.shown), func(r Row) bool { return !matches(r, s.filter) })
	}
	if s.sort > 0 {
		s.shown = sorted(s.shown, s.sort-1, s.kind.Columns[s.sort-1], s.down)
	}
	if i := slices.IndexFunc(s.shown, func(r Row) bool { return r.ID == s.id }); i >= 0 {
		s.at = i
	}
	s.move(0, 0)
}

// flat reports whether rows are out of their own order, so that a branch of a tree would say nothing.
func (s *screen) flat() bool { return s.sort > 0 || s.filter != "" }

// move moves the cursor, or a text's window of the given height, by lines.
func (s *screen) move(lines, height int) {
	if s.text != nil {
		s.first = max(0, min(s.first+lines, len(s.lines)-height))
		s.end = s.first >= len(s.lines)-height
		return
	}
	s.at = max(0, min(s.at+lines, len(s.shown)-1))
	if s.at < len(s.shown) {
		s.id = s.shown[s.at].ID
	}
}

// row is the row under the cursor; false if there is none.
func (s *screen) row() (Row, bool) {
	if s.text != nil || s.at >= len(s.shown) {
		return Row{}, false
	}
	return s.shown[s.at], true
}

// window returns the lines between which a window of the given height shows, with the cursor inside.
func (s *screen) window(height int) (from, to int) {
	n := len(s.shown)
	if s.text != nil {
		n = len(s.lines)
		if s.end {
			s.first = n - height
		}
	} else {
		s.first = min(s.first, s.at)
		s.first = max(s.first, s.at-height+1)
	}
	s.first = max(0, min(s.first, n-height))
	return s.first, min(n, s.first+height)
}

// wrap breaks a text's lines where the window ends; what goes on below is as far in as its beginning, or as the value of a field.
func (s *screen) wrap(width int) {
	s.lines = s.lines[:0]
	for _, l := range s.read {
		at := len(l) - len(strings.TrimLeft(l, " -"))
		if name, value, ok := strings.Cut(l, ":  "); ok {
			at = len(name) + len(l[len(name):]) - len(strings.TrimLeft(value, " "))
		}
		in := strings.Repeat(" ", min(at, width/2))
		first, rest, more := strings.Cut(ansi.Wrap(l, width, ""), "\n")
		s.lines = append(s.lines, first)
		if more {
			rest = strings.ReplaceAll(rest, "\n", " ")
			for part := range strings.SplitSeq(ansi.Wrap(strings.TrimLeft(rest, " "), width-len(in), ""), "\n") {
				s.lines = append(s.lines, in+part)
			}
		}
	}
}

// nextSort goes to the next shown column, after the last one back to the rows' own order.
func (s *screen) nextSort(wide bool) {
	for s.sort++; s.sort <= len(s.kind.Columns); s.sort++ {
		if c := s.kind.Columns[s.sort-1]; !c.Facet && (wide || !c.Wide) {
			s.down = s.sort > 1
			s.arrange()
			return
		}
	}
	s.sort, s.down = 0, false
	s.arrange()
}

// nextFacet asks for the other side of the table.
func (s *screen) nextFacet() {
	if n := len(s.table.Facets); n > 1 {
		now := max(0, slices.Index(s.table.Facets, s.scope.Facet))
		s.scope.Facet = s.table.Facets[(now+1)%n]
	}
}
