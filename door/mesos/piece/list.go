package piece

import "slices"

// Item is something that a [List] has the text of. It stays the same item, by ==, while that text changes.
type Item interface {
	comparable
	// AppendText appends its JSON.
	AppendText(dst []byte) []byte
}

// perShelf is how many items lie on one shelf, and so are copied when one of them changes.
const perShelf = 128

// List is a list of items. Its zero value is empty. The order is the one in which they were added, but that room left by what was removed
// is used again.
type List[T Item] struct {
	shelves []*Shelf[T]
	open    *Shelf[T]   // the one that is being filled
	roomy   []*Shelf[T] // others that are at most half full
	n       int
}

// Shelf holds some items of a list, and is where an item is found again.
type Shelf[T Item] struct {
	list  *List[T]
	items []T
	spans []span // of each item's text in data
	data  []byte // what was given out last, with the texts that still stand
	whole bool   // data is the text of all items
}

// span is where a text lies; of none that stands both ends are zero.
type span struct{ from, to int }

// Len is how many items there are.
func (l *List[T]) Len() int { return l.n }

// Add adds an item, which must not be on the list, and returns its shelf.
func (l *List[T]) Add(x T) *Shelf[T] {
	if l.open == nil || len(l.open.items) == perShelf {
		l.next()
	}
	s := l.open
	s.items, s.spans, s.whole = append(s.items, x), append(s.spans, span{}), false
	l.n++
	return s
}

// next finds a shelf with room.
func (l *List[T]) next() {
	if last := len(l.roomy) - 1; last >= 0 {
		l.open, l.roomy = l.roomy[last], l.roomy[:last]
		return
	}
	l.open = &Shelf[T]{list: l}
	l.shelves = append(l.shelves, l.open)
}

// Remove takes an item of this shelf off its list.
func (s *Shelf[T]) Remove(x T) {
	i := slices.Index(s.items, x)
	s.items, s.spans, s.whole = slices.Delete(s.items, i, i+1), slices.Delete(s.spans, i, i+1), false
	s.list.n--
	if len(s.items) == perShelf/2 && s != s.list.open {
		s.list.roomy = append(s.list.roomy, s)
	}
	if len(s.items) == 0 {
		s.items, s.spans, s.data = nil, nil, nil
	}
}

// Changed says that the text of an item of this shelf is another one from now on.
func (s *Shelf[T]) Changed(x T) {
	s.spans[slices.Index(s.items, x)], s.whole = span{}, false
}

// Text is the text of an item of this shelf. It is not to be written to.
func (s *Shelf[T]) Text(x T) []byte {
	if at := s.spans[slices.Index(s.items, x)]; at.to > 0 {
		return s.data[at.from:at.to:at.to]
	}
	return x.AppendText(nil)
}

// AppendPieces appends the list's text in pieces, each of some items with commas between them. They are not to be written to.
func (l *List[T]) AppendPieces(dst [][]byte) [][]byte {
	for _, s := range l.shelves {
		if len(s.items) == 0 {
			continue
		}
		if !s.whole {
			s.write()
		}
		dst = append(dst, s.data)
	}
	return dst
}

// write makes data anew, out of the texts that stand and those that are made now.
func (s *Shelf[T]) write() {
	old := s.data
	s.data = make([]byte, 0, len(old)+len(old)/8+256)
	for i, x := range s.items {
		if i > 0 {
			s.data = append(s.data, ',')
		}
		from := len(s.data)
		if at := s.spans[i]; at.to > 0 {
			s.data = append(s.data, old[at.from:at.to]...)
		} else {
			s.data = x.AppendText(s.data)
		}
		s.spans[i] = span{from, len(s.data)}
	}
	s.whole = true
}
