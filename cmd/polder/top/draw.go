package top

import (
	"cmp"
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// View draws everything.
func (m *model) View() tea.View {
	v := tea.NewView(m.draw())
	v.AltScreen = true
	v.WindowTitle = "polder top"
	return v
}

// draw is the screen's lines: head, name of the table, table, foot; exactly as many as there are.
func (m *model) draw() string {
	if m.height < 6 || m.width < 20 {
		return "too small"
	}
	lines := append(m.head(), m.heading())
	body := m.body()
	for len(body) < m.room()+1 {
		body = append(body, "")
	}
	lines = append(append(lines, body...), m.foot()...)
	for i, l := range lines {
		lines[i] = ansi.Truncate(l, m.width, "…")
	}
	return strings.Join(lines[:min(len(lines), m.height)], "\n")
}

// room is how many rows of a table fit below its heads.
func (m *model) room() int { return max(1, m.height-len(m.head())-1-1-len(m.foot())) }

func style(sgr, s string) string { return "\x1b[" + sgr + "m" + s + "\x1b[0m" }

// both puts one text at the left and one at the right end of the line.
func (m *model) both(left, right string) string {
	gap := m.width - ansi.StringWidth(left) - ansi.StringWidth(right) - 2
	if gap < 1 {
		return " " + left
	}
	return " " + left + strings.Repeat(" ", gap) + right + " "
}

// head is what stands above every table.
func (m *model) head() []string {
	when := "reading …"
	if !m.last.IsZero() {
		when = m.last.Format("15:04:05")
	}
	out := []string{m.both(style("1", Clean(m.cfg.Title)), style("2", when))}
	if m.height < 14 {
		return out
	}
	for _, b := range m.summary.Bars {
		out = append(out, " "+pad(Clean(b.Name), 7)+m.said(b))
	}
	if len(m.summary.Facts) > 0 {
		out = append(out, " "+Clean(strings.Join(m.summary.Facts, " · ")))
	}
	return append(out, "")
}

// said is a bar and its words: fewer of them where there is no room, and then a shorter bar.
func (m *model) said(b Bar) string {
	const widest, least = 30, 12
	room := m.width - 1 - 7 - 1 // without the margin, the name, and the space before the words
	text := Clean(b.Text)
	if b.Brief != "" && room-ansi.StringWidth(text) < least {
		text = Clean(b.Brief)
	}
	return bar(b, min(widest, max(least, room-ansi.StringWidth(text)))) + " " + text
}

// bar draws used, then borrowed, then the rest.
func bar(b Bar, width int) string {
	own := int(min(1, max(0, b.Used-b.Borrowed))*float64(width) + 0.5)
	all := max(own, int(min(1, max(0, b.Used))*float64(width)+0.5))
	return style("34", strings.Repeat("█", own)) + style("33", strings.Repeat("▓", all-own)) + style("2", strings.Repeat("░", width-all))
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-ansi.StringWidth(s)))
}

// heading names the table and says how much of it is shown.
func (m *model) heading() string {
	s := m.screen()
	name := s.kind.Name
	switch {
	case s.text != nil:
		name = s.text.Name + " of " + s.scope.ID
	case s.scope.ID != "":
		name += " of " + s.scope.ID
	}
	if s.text == nil && len(s.table.Facets) > 0 {
		name += ", " + cmp.Or(s.scope.Facet, s.table.Facets[0])
	}
	var count string
	switch {
	case !s.loaded:
		count = " · reading …"
	case s.text != nil:
		count = ""
	case s.filter != "":
		count = fmt.Sprintf(" · %d of %d with %q", len(s.shown), len(s.table.Rows), s.filter)
	default:
		count = fmt.Sprintf(" · %d", len(s.table.Rows))
	}
	if s.table.More != "" {
		count += " · " + s.table.More
	}
	return style("7", pad(" "+Clean(name+count), m.width))
}

// body is the table under its heads, the text, or the help.
func (m *model) body() []string {
	s := m.screen()
	if m.mode == helping {
		return m.help()
	}
	if s.text != nil {
		s.wrap(m.width - 2)
		from, to := s.window(m.room() + 1)
		out := make([]string, 0, to-from)
		for _, l := range s.lines[from:to] {
			out = append(out, " "+l)
		}
		return out
	}
	from, to := s.window(m.room())
	s.fit(s.shown[from:to])
	out := []string{m.headsOf(s)}
	for i, r := range s.shown[from:to] {
		out = append(out, m.line(s, r, from+i == s.at))
	}
	if s.loaded && len(s.shown) == 0 {
		out = append(out, style("2", " Nothing here."))
	}
	return out
}

// fit widens columns for rows; a column never shrinks while its screen is looked at.
func (s *screen) fit(rows []Row) {
	if s.widths == nil {
		s.widths = make([]int, len(s.kind.Columns))
	}
	for i, c := range s.kind.Columns {
		s.widths[i] = max(s.widths[i], ansi.StringWidth(c.Head))
		if s.sort == i+1 {
			s.widths[i] = max(s.widths[i], ansi.StringWidth(c.Head)+1) // for the arrow
		}
		for _, r := range rows {
			s.widths[i] = max(s.widths[i], min(60, ansi.StringWidth(s.cell(r, i))))
		}
	}
}

// shows reports whether a column is on the screen now.
func (m *model) shows(c Column) bool { return !c.Facet && (!c.Wide || m.wide) }

func (s *screen) cell(r Row, i int) string {
	if i == 0 && !s.flat() && len(r.Cells) > 0 {
		return r.Cells[0]
	}
	return cell(r, i)
}

func (m *model) headsOf(s *screen) string {
	var b strings.Builder
	for i, c := range s.kind.Columns {
		if !m.shows(c) {
			continue
		}
		head := c.Head
		if s.sort == i+1 {
			head += map[bool]string{true: "↓", false: "↑"}[s.down]
		}
		b.WriteString(" " + pad(head, s.widths[i]) + " ")
	}
	return style("2", strings.TrimRight(b.String(), " "))
}

func (m *model) line(s *screen, r Row, here bool) string {
	var b strings.Builder
	last := 0
	for i, c := range s.kind.Columns {
		if m.shows(c) {
			last = i
		}
	}
	for i, c := range s.kind.Columns {
		if !m.shows(c) {
			continue
		}
		text := s.cell(r, i)
		if i != last {
			text = ansi.Truncate(text, s.widths[i], "…")
		}
		space := strings.Repeat(" ", max(0, s.widths[i]-ansi.StringWidth(text))+1)
		if i == last {
			space = "" // or a line that is only cut in its blanks would look cut
		}
		if sgr, ok := m.cfg.Shades[text]; ok && !here {
			text = style(sgr, text)
		}
		b.WriteString(" " + text + space)
	}
	if here {
		return style("7", ansi.Truncate(pad(b.String(), m.width), m.width, "…"))
	}
	return b.String()
}

// foot is what is wrong or being typed, and the keys.
func (m *model) foot() []string {
	line := m.notice
	switch {
	case m.mode == command:
		line = ":" + m.input + style("7", " ") + style("2", "  "+m.names())
	case m.mode == filtering:
		line = "/" + m.input + style("7", " ")
	case m.mode == asking:
		var out []string
		for l := range strings.SplitSeq(ansi.Wrap(Clean(m.act.Ask(m.actRow))+" y/n", m.width-2, ""), "\n") {
			out = append(out, " "+style("1", l))
		}
		return append(out, style("2", " "+m.hints()))
	case m.trouble != nil:
		line = style("31", "As of "+m.since()+"; trying again: "+Clean(m.trouble.Error()))
	}
	return []string{" " + line, style("2", " "+m.hints())}
}

func (m *model) since() string {
	if m.last.IsZero() {
		return "never"
	}
	return m.last.Format("15:04:05")
}

func (m *model) hints() string {
	s := m.screen()
	if s.text != nil {
		return "esc back  j/k move  g/G ends  : tables  ? keys  q quit"
	}
	out := []string{"? keys", "q quit", ": tables", "/ filter", "enter into", "s sort"}
	if len(s.table.Facets) > 1 {
		out = append(out, "tab "+strings.Join(s.table.Facets, "/"))
	}
	for _, t := range s.kind.Texts {
		out = append(out, t.Key+" "+t.Name)
	}
	for _, a := range s.kind.Acts {
		out = append(out, a.Key+" "+a.Name)
	}
	return strings.Join(out, "  ")
}

func (m *model) help() []string {
	var names []string
	for _, k := range m.cfg.Kinds {
		names = append(names, ":"+k.Name)
	}
	out := []string{"  " + pad(fmt.Sprintf("1 to %d", len(names)), 10) + " " + strings.Join(names, " ")}
	for _, l := range [][2]string{
		{":", "another table, by the beginning of its name; :q quits"}, {"/", "only rows with all these words; esc shows all again"},
		{"enter", "what is inside or behind the row"}, {"esc", "back"},
		{"j k ↑ ↓", "next row, row before; space, pgup by screens; g G first and last"},
		{"s S", "sort by the next column; the other way round"}, {"tab", "the next resource"}, {"w", "more columns, or fewer"}, {"q", "quit"},
	} {
		out = append(out, "  "+pad(l[0], 10)+" "+l[1])
	}
	return append(out, m.keysOfRows()...)
}

// keysOfRows are the keys that do something with a row, each with the tables where it does.
func (m *model) keysOfRows() []string {
	var keys []string
	where := map[string][]string{}
	add := func(key, name, asks string, k Kind) {
		line := "  " + pad(key, 10) + " " + name + asks
		if where[line] == nil {
			keys = append(keys, line)
		}
		where[line] = append(where[line], k.Name)
	}
	for _, k := range m.cfg.Kinds {
		for _, t := range k.Texts {
			add(t.Key, t.Name, "", k)
		}
		var key, name []string
		for _, a := range k.Acts {
			key, name = append(key, a.Key), append(name, a.Name)
		}
		if len(key) > 0 {
			add(strings.Join(key, " "), strings.Join(name, ", "), ", after a question", k)
		}
	}
	for i, line := range keys {
		keys[i] = line + "; in " + strings.Join(where[line], ", ")
	}
	return keys
}
