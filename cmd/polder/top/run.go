package top

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"
)

// Run shows the view on a terminal until the person leaves it (nil) or ctx ends (its error).
func Run(ctx context.Context, cfg Config, in io.Reader, out io.Writer) error {
	return run(ctx, cfg, in, out)
}

func run(ctx context.Context, cfg Config, in io.Reader, out io.Writer, more ...tea.ProgramOption) error {
	ctx, cancel := context.WithCancel(ctx) // reads end with the view
	defer cancel()
	more = append(more, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler())
	_, err := tea.NewProgram(newModel(ctx, cfg), more...).Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// mode is what keys mean.
type mode int

const (
	looking   mode = iota
	command        // after ":"
	filtering      // after "/"
	asking         // a question about an act
	helping        // "?"
)

// model is the whole view, for bubbletea: a value that messages change and that draws itself.
type model struct {
	ctx context.Context
	cfg Config

	screens       []*screen
	summary       Summary
	width, height int
	wide          bool
	mode          mode
	input         string // what is being typed
	act           *Act   // what is being asked about
	actRow        Row
	notice        string // what came of the last act, or is wrong with the last key
	trouble       error  // why the last read failed
	last          time.Time
	reading       bool
	asked         int // number of the newest read; older answers are not for this screen
}

func newModel(ctx context.Context, cfg Config) *model {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Every <= 0 {
		cfg.Every = time.Second
	}
	first := &cfg.Kinds[0]
	if k, ok := cfg.kind(cfg.Start); ok {
		first = k
	}
	return &model{ctx: ctx, cfg: cfg, screens: []*screen{{kind: first}}, width: 80, height: 24}
}

// The messages.
type (
	tick struct{ asked int }
	read struct {
		asked   int
		table   Table
		lines   []string
		summary Summary
		err     error
		took    time.Duration
	}
	done struct {
		text string
		err  error
	}
)

// Init reads for the first time.
func (m *model) Init() tea.Cmd { return m.read() }

func (m *model) screen() *screen { return m.screens[len(m.screens)-1] }

// read reads what the upmost screen shows. What was asked before is not waited for.
func (m *model) read() tea.Cmd {
	m.asked++
	m.reading = true
	asked, ctx, cfg := m.asked, m.ctx, m.cfg
	s := m.screen()
	kind, scope, text := s.kind, s.scope, s.text
	return func() tea.Msg {
		start := time.Now()
		r := read{asked: asked}
		if text != nil {
			r.lines, r.err = text.Load(ctx, scope.ID)
		} else {
			r.table, r.err = kind.Load(ctx, scope)
		}
		if r.err == nil && cfg.Summary != nil {
			r.summary, r.err = cfg.Summary(ctx)
		}
		r.took = time.Since(start)
		return r
	}
}

// Update is told what happened.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m, m.key(msg)
	case tea.PasteMsg:
		if m.mode == command || m.mode == filtering {
			return m, m.typed(m.input + Clean(msg.Content))
		}
	case tick:
		if msg.asked == m.asked {
			return m, m.read()
		}
	case read:
		return m, m.take(msg)
	case done:
		m.notice = msg.text
		if msg.err != nil {
			m.notice = "Not done: " + Clean(msg.err.Error())
		}
		return m, m.read()
	}
	return m, nil
}

// take takes what was read and looks again later: after a long read later than after a short one.
func (m *model) take(r read) tea.Cmd {
	if r.asked != m.asked {
		return nil
	}
	m.reading = false
	m.trouble = r.err
	s := m.screen()
	if r.err == nil {
		m.last, m.summary = m.cfg.Now(), r.summary
		s.table, s.read = r.table, r.lines
		s.end = s.end || !s.loaded && s.text != nil && s.text.Tail
		s.loaded = true
		if s.text == nil {
			s.arrange()
		}
	}
	return m.later(max(m.cfg.Every, 4*r.took))
}

// later ticks after a while, and not at all when the view has ended.
func (m *model) later(d time.Duration) tea.Cmd {
	ctx, asked := m.ctx, m.asked
	return func() tea.Msg {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			return tick{asked}
		}
	}
}

// push shows another screen on top; pop goes back, from the last one nowhere.
func (m *model) push(s *screen) tea.Cmd {
	m.screens = append(m.screens, s)
	m.notice = ""
	return m.read()
}

func (m *model) pop() tea.Cmd {
	if len(m.screens) == 1 {
		return nil
	}
	m.screens = slices.Delete(m.screens, len(m.screens)-1, len(m.screens))
	m.notice = ""
	return m.read()
}
