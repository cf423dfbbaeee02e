package top

import (
	"slices"
	"strings"
	"unicode"

	tea "charm.land/bubbletea/v2"
)

// Clean replaces what could steer a terminal or break a table: text from a server may come from anybody.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, s)
}

// key does what a key means now.
func (m *model) key(k tea.KeyPressMsg) tea.Cmd {
	name := k.String()
	if name == "ctrl+c" {
		return tea.Quit
	}
	switch m.mode {
	case command, filtering:
		return m.typing(k, name)
	case asking:
		return m.answer(name)
	case helping:
		m.mode = looking
		return nil
	}
	return m.look(name)
}

// typing edits the line after ":" or "/".
func (m *model) typing(k tea.KeyPressMsg, name string) tea.Cmd {
	switch name {
	case "enter":
		return m.entered()
	case "esc":
		m.mode = looking
		return m.filterBy("")
	case "backspace":
		if m.input == "" {
			m.mode = looking
			return nil
		}
		r := []rune(m.input)
		return m.typed(string(r[:len(r)-1]))
	case "ctrl+u":
		return m.typed("")
	case "tab":
		if kind, ok := m.cfg.kind(m.input); ok && m.mode == command {
			return m.typed(kind.Name)
		}
		return nil
	}
	return m.typed(m.input + Clean(k.Text))
}

// typed is the line as it is now; a filter works while it is typed.
func (m *model) typed(line string) tea.Cmd {
	m.input = line
	if m.mode == filtering {
		return m.filterBy(line)
	}
	return nil
}

func (m *model) filterBy(words string) tea.Cmd {
	if s := m.screen(); s.text == nil && (m.mode == filtering || words == "") {
		s.filter = words
		s.arrange()
	}
	return nil
}

// entered ends the line. A command is the name of a table, or q.
func (m *model) entered() tea.Cmd {
	was := m.mode
	m.mode = looking
	if was == filtering {
		return nil
	}
	word := strings.TrimSpace(m.input)
	switch kind, ok := m.cfg.kind(word); {
	case word == "q" || word == "q!" || word == "quit":
		return tea.Quit
	case ok:
		return m.open(kind)
	case word != "":
		m.notice = "There is no table " + word + ": " + m.names()
	}
	return nil
}

func (m *model) names() string {
	out := make([]string, len(m.cfg.Kinds))
	for i, k := range m.cfg.Kinds {
		out[i] = k.Name
	}
	return strings.Join(out, ", ")
}

// open starts over with a table.
func (m *model) open(kind *Kind) tea.Cmd {
	m.screens = nil
	return m.push(&screen{kind: kind})
}

// answer ends a question: y does it, anything else does not.
func (m *model) answer(name string) tea.Cmd {
	act, id := m.act, m.actRow.ID
	m.mode, m.act = looking, nil
	if name != "y" {
		m.notice = "Left as it was."
		return nil
	}
	m.notice = act.Name + " …"
	return func() tea.Msg {
		text, err := act.Do(m.ctx, id)
		return done{Clean(text), err}
	}
}

// look is a key while a table or a text is looked at.
func (m *model) look(name string) tea.Cmd {
	s := m.screen()
	page := m.room()
	if by, ok := map[string]int{
		"j": 1, "down": 1, "k": -1, "up": -1, "pgdown": page, "ctrl+f": page, "space": page, "pgup": -page, "ctrl+b": -page,
		"g": -1 << 30, "home": -1 << 30, "G": 1 << 30, "end": 1 << 30,
	}[name]; ok {
		s.move(by, page)
		return nil
	}
	switch name {
	case "q":
		return tea.Quit
	case ":":
		m.mode, m.input, m.notice = command, "", ""
	case "/":
		if s.text == nil {
			m.mode, m.input, m.notice = filtering, s.filter, ""
		}
	case "?":
		m.mode = helping
	case "esc":
		if s.filter != "" {
			return m.filterBy("")
		}
		return m.pop()
	case "enter":
		return m.enter()
	default:
		return m.lookTable(name)
	}
	return nil
}

// lookTable is a key that only tables have.
func (m *model) lookTable(name string) tea.Cmd {
	s := m.screen()
	if len(name) == 1 && name[0] >= '1' && int(name[0]-'1') < len(m.cfg.Kinds) {
		return m.open(&m.cfg.Kinds[name[0]-'1'])
	}
	if s.text != nil {
		return nil
	}
	switch name {
	case "s":
		s.nextSort(m.wide)
	case "S":
		s.down = !s.down
		s.arrange()
	case "w":
		m.wide = !m.wide
	case "tab":
		s.nextFacet()
		return m.read()
	default:
		return m.onRow(name)
	}
	return nil
}

// enter goes into the row: its table, or what there is to read about it.
func (m *model) enter() tea.Cmd {
	s := m.screen()
	row, ok := s.row()
	if !ok {
		return nil
	}
	if kind, ok := m.cfg.kind(s.kind.Enter); ok {
		return m.push(&screen{kind: kind, scope: Scope{Kind: s.kind.Name, ID: row.ID}})
	}
	if len(s.kind.Texts) == 0 {
		return nil
	}
	return m.push(&screen{kind: s.kind, scope: Scope{ID: row.ID}, text: &s.kind.Texts[0]})
}

// onRow is a key of the kind: a text or an act.
func (m *model) onRow(name string) tea.Cmd {
	s := m.screen()
	row, ok := s.row()
	if !ok {
		return nil
	}
	if i := slices.IndexFunc(s.kind.Texts, func(t Text) bool { return t.Key == name }); i >= 0 {
		return m.push(&screen{kind: s.kind, scope: Scope{ID: row.ID}, text: &s.kind.Texts[i]})
	}
	if i := slices.IndexFunc(s.kind.Acts, func(a Act) bool { return a.Key == name }); i >= 0 {
		m.mode, m.act, m.actRow, m.notice = asking, &s.kind.Acts[i], row, ""
	}
	return nil
}
