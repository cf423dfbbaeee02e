package cluster

import (
	"strconv"
	"time"

	"polder.dev/polder/core/resource"
)

// wording is an amount as others read it. Whoever gets the resources does not change them.
type wording struct {
	of        resource.Vector
	resources resource.Resources
	words     string // empty before somebody asks for the text
}

// mostWorded is how many wordings are kept: leases mostly hold one of a few amounts.
const mostWorded = 512

// wordings are the amounts of a pool that were put in words, the last one at hand.
type wordings struct {
	last  *wording
	known map[string]*wording
	key   []byte // room for the key of one that is looked for
}

// put puts an amount of the pool in words.
func (p *pool) put(v resource.Vector) *wording {
	s := &p.worded
	if s.last != nil && s.last.of.Equal(v) {
		return s.last
	}
	s.key = s.key[:0]
	for _, a := range v {
		s.key = append(strconv.AppendInt(s.key, int64(a), 36), ' ')
	}
	w := s.known[string(s.key)]
	if w == nil {
		w = &wording{of: v.Clone(0), resources: v.Resources(p.c.kinds, p.name)}
		s.keep(w)
	}
	s.last = w
	return w
}

// keep notes a wording under the key, in the place of all others when there are too many.
func (s *wordings) keep(w *wording) {
	if s.known == nil || len(s.known) == mostWorded {
		s.known = map[string]*wording{}
	}
	s.known[string(s.key)] = w
}

// date is the instant that was put in words last: who is told in one decision mostly has the same time.
type date struct {
	at    time.Time
	words string
}

// text puts an instant in words.
func (d *date) text(at time.Time) string {
	if d.words == "" || !d.at.Equal(at) {
		d.at, d.words = at, at.UTC().Format(time.RFC3339)
	}
	return d.words
}

// text is the amount as people read it.
func (w *wording) text() string {
	if w.words == "" {
		w.words = w.resources.String()
	}
	return w.words
}
