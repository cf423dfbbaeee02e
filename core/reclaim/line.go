package reclaim

import (
	"iter"

	"polder.dev/polder/core/role"
)

// line is what may be asked back at a role, cheapest first, as of the start of a round and as far as the round has looked.
type line struct {
	seen []*Unit
	next func() *Unit // nil when everything has been seen
	head int          // everybody before is taken by a plan
}

// at returns number i of a line, nil beyond its end.
func (l *line) at(i int) *Unit {
	for len(l.seen) <= i {
		if l.next == nil {
			return nil
		}
		u := l.next()
		if u == nil {
			l.next = nil
			return nil
		}
		l.seen = append(l.seen, u)
	}
	return l.seen[i]
}

func (r *Round) line(f role.ID) *line {
	l := r.lines[f]
	if l == nil {
		l = &line{next: r.book.Cheapest(f)}
		r.lines[f] = l
	}
	return l
}

// units visits what may be asked back at a role, cheapest first, without those in front that plans have taken.
func (r *Round) units(f role.ID) iter.Seq[*Unit] {
	l := r.line(f)
	return func(yield func(*Unit) bool) {
		for i := l.head; ; i++ {
			if u := l.at(i); u == nil || !yield(u) {
				return
			}
		}
	}
}

// advance moves the heads of the lines past what plans have taken.
func (r *Round) advance() {
	for _, l := range r.lines {
		for l.head < len(l.seen) && l.seen[l.head].taken {
			l.head++
		}
	}
}
