package traffic

import (
	"net/http"
	"slices"
	"sync"
	"time"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// Book is the doors of one server. The zero value is empty and ready.
type Book struct {
	mu     sync.Mutex // guards what follows
	doors  []*Counter
	takers []Frameworks
	off    []*polderv1.Door // in the order they were said to be
	heard  []*polderv1.Door // programs of their own, in the order they came
	gate   Gate
}

// Frameworks lists the frameworks of a door and what is on offer to them, of the roles that may says. It is called at any
// time and must not wait for a request.
type Frameworks func(may func(role string) bool) ([]*polderv1.Framework, []*polderv1.Offer)

// Add puts a door into the book.
func (b *Book) Add(c *Counter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.doors = append(b.doors, c)
}

// Offers puts a door that makes offers into the book.
func (b *Book) Offers(f Frameworks) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.takers = append(b.takers, f)
}

// Doors reports every door at an instant: those of this process in the order they were added, those that reported themselves, and
// then what is off.
func (b *Book) Doors(now time.Time) []*polderv1.Door {
	b.mu.Lock()
	doors, off := slices.Clone(b.doors), slices.Clone(b.off)
	var out []*polderv1.Door
	for _, d := range b.heard {
		out = append(out, aged(d, now))
	}
	b.mu.Unlock()
	var own []*polderv1.Door
	for _, d := range doors {
		own = append(own, d.Report())
	}
	out = append(own, out...)
	for _, d := range off {
		if named(out, d.Name) < 0 {
			out = append(out, d)
		}
	}
	return out
}

// Frameworks reports the frameworks of every door and their offers.
func (b *Book) Frameworks(may func(role string) bool) (frameworks []*polderv1.Framework, offers []*polderv1.Offer) {
	b.mu.Lock()
	takers := slices.Clone(b.takers)
	b.mu.Unlock()
	for _, list := range takers {
		f, o := list(may)
		frameworks, offers = append(frameworks, f...), append(offers, o...)
	}
	return frameworks, offers
}

// Gate serves what a task asks of a door through its node's agent. The node is certain; who the task is, its request must say.
type Gate func(node string, w http.ResponseWriter, r *http.Request)

// Opens says which door serves tasks.
func (b *Book) Opens(g Gate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gate = g
}

// Gate is how tasks are served, nil when no door does.
func (b *Book) Gate() Gate {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gate
}
