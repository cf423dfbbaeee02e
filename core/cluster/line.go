package cluster

import "iter"

// line is the classes that wait for a pool, in order of arrival. Any of them may leave at any time, at the same cost however long the line
// is: when thousands of different tasks start in one decision, thousands leave.
type line struct{ first, last *class }

// standing is where a class stands.
type standing struct{ before, behind *class }

// join puts a class that is in no line at the end.
func (l *line) join(cl *class) {
	cl.standing = standing{before: l.last}
	if l.last == nil {
		l.first = cl
	} else {
		l.last.behind = cl
	}
	l.last = cl
}

// leave takes a class out of the line it is in.
func (l *line) leave(cl *class) {
	if cl.before == nil {
		l.first = cl.behind
	} else {
		cl.before.behind = cl.behind
	}
	if cl.behind == nil {
		l.last = cl.before
	} else {
		cl.behind.before = cl.before
	}
	cl.standing = standing{}
}

// all visits the classes in order. The one that is visited may leave meanwhile.
func (l *line) all() iter.Seq[*class] {
	return func(yield func(*class) bool) {
		for cl := l.first; cl != nil; {
			behind := cl.behind
			if !yield(cl) {
				return
			}
			cl = behind
		}
	}
}
