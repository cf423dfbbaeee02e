package history

import (
	"slices"
	"sync"
	"time"
)

const (
	// Every is how often a sample is to be added.
	Every = 15 * time.Second
	// keep is how many samples are remembered.
	keep = 240
	// most is how many lines, one for each role and resource, are remembered.
	most = 20_000
)

// Figures are one role's in one resource at an instant, in whole units.
type Figures struct {
	Guarantee, Own, Borrowed, Lent, Demand float32
}

// Key names a line.
type Key struct{ Role, Resource string }

// Book is what is remembered. The zero value is empty and ready.
type Book struct {
	mu    sync.Mutex // guards what follows
	times []time.Time
	lines map[Key]*line
}

// line is a role's figures in one resource; the last belongs to the last time of the book.
type line struct {
	figures []Figures
	fresh   bool // was in the sample that is being added
}

// Add adds a sample of all roles. A line that is not in it ends and is forgotten; beyond the bound new lines are not begun.
func (b *Book) Add(now time.Time, sample func(yield func(Key, Figures) bool)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lines == nil {
		b.lines = map[Key]*line{}
	}
	b.times = last(append(b.times, now))
	for key, f := range sample {
		l := b.lines[key]
		if l == nil && len(b.lines) >= most {
			continue
		}
		if l == nil {
			l = &line{}
			b.lines[key] = l
		}
		l.figures, l.fresh = last(append(l.figures, f)), true
	}
	for key, l := range b.lines {
		if !l.fresh {
			delete(b.lines, key)
		}
		l.fresh = false
	}
}

// Line is what is remembered of a role in one resource, the oldest first: as many times as figures.
func (b *Book) Line(key Key) ([]time.Time, []Figures) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lines[key]
	if l == nil {
		return nil, nil
	}
	return slices.Clone(b.times[len(b.times)-len(l.figures):]), slices.Clone(l.figures)
}

// last keeps as many as are remembered.
func last[T any](all []T) []T {
	if len(all) <= keep {
		return all
	}
	copy(all, all[len(all)-keep:])
	return all[:keep]
}
