package top

import (
	"context"
	"time"
)

// Config is what there is to look at.
type Config struct {
	// Title stands at the top left.
	Title string
	// Kinds are the tables, in the order of the keys 1, 2, …; the first is shown at first.
	Kinds []Kind
	// Start names the kind to start with; empty is the first.
	Start string
	// Summary is read with every table. It stands above it.
	Summary func(ctx context.Context) (Summary, error)
	// Every is the pause between two reads; zero is a second.
	Every time.Duration
	// Shades are colours of whole cells, as SGR parameters by the cell's text: "running": "32".
	Shades map[string]string
	// Now is the clock; nil is [time.Now].
	Now func() time.Time
}

// Summary is the state of everything in a few lines.
type Summary struct {
	Bars []Bar
	// Facts stand side by side below the bars.
	Facts []string
}

// Bar is how much of something is used. Shares are between 0 and 1, one after the other on the bar.
type Bar struct {
	Name           string
	Used, Borrowed float64
	// Text says it in words, and Brief in fewer for a narrow screen; empty is the same.
	Text, Brief string
}

// Kind is one sort of thing.
type Kind struct {
	// Name is what ":" calls it, in the plural; any beginning of it will do.
	Name    string
	Columns []Column
	// Load reads the table. It may leave rows out, and says so in [Table].
	Load func(ctx context.Context, scope Scope) (Table, error)
	// Enter names the kind whose table, scoped to a row of this one, enter shows. Empty is the first text.
	Enter string
	// Texts are what may be read about one row.
	Texts []Text
	// Acts are what may be done to one row.
	Acts []Act
}

// Column is one column of a table.
type Column struct {
	Head string
	// Wide columns are shown after "w".
	Wide bool
	// Facet columns name the facet, which stands above the table on a screen: they are only for where there is none.
	Facet bool
	// Time says that the letters of a cell are units of time: 5m are minutes, not thousandths.
	Time bool
}

// Scope narrows a table.
type Scope struct {
	// Kind and ID say which row the table was entered through; empty is everything.
	Kind, ID string
	// Facet is one of the table's facets; empty is the first.
	Facet string
}

// Table is what was read. Cells hold no control characters: what comes from others must be cleaned before.
type Table struct {
	Rows []Row
	// Facets are the sides the table has, one of which is shown; tab goes to the next.
	Facets []string
	// More says why rows are missing, and what to do to see them; empty when all are there.
	More string
}

// Row is one line. ID stays the same from read to read.
type Row struct {
	ID    string
	Cells []string
	// Flat replaces the first cell when rows are not in their own order or some are filtered out, as a path does for a branch
	// of a tree. Empty is the cell itself.
	Flat string
}

// Text is something to read about a row.
type Text struct {
	Key, Name string
	// Load reads it. Lines hold no control characters.
	Load func(ctx context.Context, id string) ([]string, error)
	// Tail starts at the end and stays there.
	Tail bool
}

// Act is something to do to a row, after a question.
type Act struct {
	Key, Name string
	// Ask is the question; it names the effect.
	Ask func(row Row) string
	// Do does it and says what came of it.
	Do func(ctx context.Context, id string) (string, error)
}

// kind finds the kind that a word begins; false if there is none.
func (c *Config) kind(word string) (*Kind, bool) {
	for i := range c.Kinds {
		if k := &c.Kinds[i]; word != "" && len(word) <= len(k.Name) && k.Name[:len(word)] == word {
			return k, true
		}
	}
	return nil, false
}
