package traffic

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// What a door's state can be.
const (
	On   = "on"
	Off  = "off"
	Away = "away"
)

const (
	awayAfter = 30 * time.Second // of silence
	keepHeard = 8                // doors that are programs of their own
)

// doorName is what a door that reports itself may be called.
var doorName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// Closed puts a door into the book that nobody opened, with why and how to open it. It is shown until a door of its name is there.
func (b *Book) Closed(name, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.off = append(b.off, &polderv1.Door{Name: name, State: Off, Off: why})
}

// Heard takes the report of a door that is a program of its own. What it says is tidied and bounded; a name that a door of this
// process has, and more programs than one book has room for, are refused.
func (b *Book) Heard(d *polderv1.Door, now time.Time) error {
	if !doorName.MatchString(d.GetName()) {
		return fmt.Errorf("door.name: %q is not the name of a door; it has small letters, digits and hyphens, 32 at most", tidy(d.GetName()))
	}
	if d.Requests < 0 || d.Refused < 0 || d.Refused > d.Requests || !(d.Rate >= 0) {
		return errors.New("door: requests, refused and rate are counts; refused is a part of requests")
	}
	d = tidied(d)
	d.State, d.Seen, d.Off = On, timestamppb.New(now), ""
	b.mu.Lock()
	defer b.mu.Unlock()
	if d.Name == "native" || slices.ContainsFunc(b.doors, func(c *Counter) bool { return c.name == d.Name }) {
		return fmt.Errorf("door.name: %s is a door of the server itself; report under another name", d.Name)
	}
	b.heard = slices.DeleteFunc(b.heard, func(old *polderv1.Door) bool { return old.Name != d.Name && gone(old, now) })
	switch i := named(b.heard, d.Name); {
	case i >= 0:
		b.heard[i] = d
	case len(b.heard) == keepHeard:
		return fmt.Errorf("door: %d doors report themselves already; stop one, and ask again when it is forgotten", keepHeard)
	default:
		b.heard = append(b.heard, d)
	}
	return nil
}

// forgetAfter is how long a door that says nothing is shown as away.
const forgetAfter = time.Hour

func gone(d *polderv1.Door, now time.Time) bool { return now.Sub(d.Seen.AsTime()) > forgetAfter }

// aged is a report as it is some time later.
func aged(d *polderv1.Door, now time.Time) *polderv1.Door {
	if now.Sub(d.Seen.AsTime()) <= awayAfter {
		return d
	}
	d = proto.CloneOf(d)
	d.State, d.Rate = Away, 0
	return d
}

// tidied is a report with its texts on one line, and no more of them than a door of this process would have.
func tidied(d *polderv1.Door) *polderv1.Door {
	out := &polderv1.Door{Name: d.Name, Address: tidy(d.Address), Since: d.Since, Requests: d.Requests, Refused: d.Refused, Rate: d.Rate}
	for _, r := range d.Refusals[:min(len(d.Refusals), keepKinds)] {
		out.Refusals = append(out.Refusals, &polderv1.RefusedCall{Call: tidy(r.GetCall()), Status: tidy(r.GetStatus()), Count: r.GetCount(), Last: r.GetLast(), Message: tidy(r.GetMessage())})
	}
	return out
}

func named(doors []*polderv1.Door, name string) int {
	return slices.IndexFunc(doors, func(d *polderv1.Door) bool { return d.Name == name })
}
