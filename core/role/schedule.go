package role

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // plans name time zones, and small machines have no zone files
)

// span is one opening of a window: start inclusive, end exclusive. The zero span is no opening.
type span struct{ start, end time.Time }

func (s span) holds(t time.Time) bool { return !t.Before(s.start) && t.Before(s.end) }

// period is how often a schedule comes round.
type period int

const (
	never period = iota
	once
	daily
	weekly
	monthly
)

// schedule is a [When] that has been read. The zero value never opens.
type schedule struct {
	period period
	loc    *time.Location
	only   span // of period once
	start  mark
	end    mark
	wraps  bool // the end is in the period after the start's
}

// mark is a wall-clock moment inside a period: the day, from 0, of the week (Monday) or month, and the minute of the day.
type mark struct{ day, minute int }

func (m mark) offset() int { return m.day*24*60 + m.minute }

// parseWhen reads a When. Errors say what to write instead.
func parseWhen(w When) (schedule, error) {
	loc, err := loadZone(w.TZ)
	if err != nil {
		return schedule{}, err
	}
	given := 0
	for _, s := range []string{w.From + w.To, w.Daily, w.Weekly, w.Monthly} {
		if s != "" {
			given++
		}
	}
	switch {
	case given != 1:
		return schedule{}, errors.New("give exactly one of from with to, daily, weekly or monthly")
	case w.Daily != "":
		return parseRecurring(loc, daily, 1, w.Daily, parseClock)
	case w.Weekly != "":
		return parseRecurring(loc, weekly, 7, w.Weekly, parseWeekMark)
	case w.Monthly != "":
		return parseRecurring(loc, monthly, 31, w.Monthly, parseMonthMark)
	}
	return parseOnce(loc, w.From, w.To)
}

// loadZone finds a time zone by its IANA name. "Local" is refused: a plan means the same on every machine.
func loadZone(name string) (*time.Location, error) {
	loc, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("time zone %q is not known; use an IANA name such as Europe/Berlin or UTC", name)
	}
	return loc, nil
}

func parseOnce(loc *time.Location, from, to string) (schedule, error) {
	start, err := parseLocal(loc, from)
	if err != nil {
		return schedule{}, fmt.Errorf("from: %w", err)
	}
	end, err := parseLocal(loc, to)
	if err != nil {
		return schedule{}, fmt.Errorf("to: %w", err)
	}
	if !end.After(start) {
		return schedule{}, fmt.Errorf("to (%s) is not after from (%s)", to, from)
	}
	return schedule{period: once, loc: loc, only: span{start, end}}, nil
}

func parseLocal(loc *time.Location, s string) (time.Time, error) {
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			return resolve(t, loc), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q: write a local time such as 2026-11-10T20:00", s)
}

// parseRecurring reads "start-end" with one parser for both marks; days is the length of the longest period.
func parseRecurring(loc *time.Location, p period, days int, text string, parse func(string) (mark, error)) (schedule, error) {
	from, to, _ := strings.Cut(text, "-")
	s := schedule{period: p, loc: loc}
	var errStart, errEnd error
	s.start, errStart = parse(strings.TrimSpace(from))
	s.end, errEnd = parse(strings.TrimSpace(to))
	switch {
	case errStart != nil:
		return schedule{}, fmt.Errorf("%q: %w", text, errStart)
	case errEnd != nil:
		return schedule{}, fmt.Errorf("%q: %w", text, errEnd)
	case s.start.minute == 24*60:
		return schedule{}, fmt.Errorf("%q: only an end may be 24:00", text)
	case s.start.offset() == s.end.offset()%(days*24*60):
		return schedule{}, fmt.Errorf("%q never closes; write what it sets under roles instead", text)
	}
	s.wraps = s.end.offset() <= s.start.offset()
	return s, nil
}

// parseClock reads "22:00"; hours and minutes have two digits.
func parseClock(s string) (mark, error) {
	h, errH := strconv.ParseUint(s[:min(2, len(s))], 10, 8)
	m, errM := strconv.ParseUint(s[min(3, len(s)):], 10, 8)
	if errH != nil || errM != nil || len(s) != 5 || s[2] != ':' || m > 59 || h*60+m > 24*60 {
		return mark{}, errors.New("write times of day as 22:00, from 00:00 to 24:00, and a '-' between start and end")
	}
	return mark{minute: int(h*60 + m)}, nil
}

var weekdays = []string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}

func parseWeekMark(s string) (mark, error) {
	name, clock, _ := strings.Cut(s, " ")
	day := slices.Index(weekdays, name)
	if day < 0 {
		return mark{}, errors.New("write it as Mon 08:00-Fri 20:00, days Mon Tue Wed Thu Fri Sat Sun")
	}
	m, err := parseClock(clock)
	m.day = day
	return m, err
}

func parseMonthMark(s string) (mark, error) {
	name, clock, _ := strings.Cut(s, " ")
	day, err := strconv.ParseUint(name, 10, 8)
	if err != nil || day < 1 || day > 31 {
		return mark{}, errors.New("write it as 1 00:00-3 12:00, days from 1 to 31")
	}
	m, err := parseClock(clock)
	m.day = int(day) - 1
	return m, err
}

// reach is how many periods to each side near looks. Openings of neighbouring periods touch at most once or twice in a
// row (short months, clock changes), so it holds every boundary next to the instant asked for.
const reach = 3

// near returns the openings in the periods around t in order, those that touch joined into one.
func (s schedule) near(t time.Time) []span {
	switch s.period {
	case never:
		return nil
	case once:
		return []span{s.only}
	}
	var out []span
	for n := -reach; n <= reach; n++ {
		out = appendSpan(out, s.occurrence(t, n))
	}
	return out
}

// appendSpan adds an opening that starts no earlier than those before it.
func appendSpan(out []span, o span) []span {
	if !o.end.After(o.start) {
		return out
	}
	if last := len(out) - 1; last >= 0 && !o.start.After(out[last].end) {
		if o.end.After(out[last].end) {
			out[last].end = o.end
		}
		return out
	}
	return append(out, o)
}

// occurrence returns the opening that starts in the nth period after the one that holds t; it may be empty.
func (s schedule) occurrence(t time.Time, n int) span {
	next := n
	if s.wraps {
		next++
	}
	return span{s.moment(t, n, s.start), s.moment(t, next, s.end)}
}

// moment returns when mark m comes in the nth period after the one that holds t.
func (s schedule) moment(t time.Time, n int, m mark) time.Time {
	year, month, day := t.In(s.loc).Date()
	switch s.period {
	case daily:
		day += n
	case weekly:
		sinceMonday := (int(t.In(s.loc).Weekday()) + 6) % 7
		day += 7*n - sinceMonday + m.day
	case monthly:
		month += time.Month(n)
		day = min(m.day+1, time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day())
	}
	return resolve(time.Date(year, month, day, 0, m.minute, 0, 0, time.UTC), s.loc)
}

// resolve returns the instant at which clocks in loc show what wall shows in UTC: the first of two, or moved forward by
// the gap where clocks skip it. [time.Date] leaves that choice open.
func resolve(wall time.Time, loc *time.Location) time.Time {
	before, after := offsetAt(wall.Add(-24*time.Hour), loc), offsetAt(wall.Add(24*time.Hour), loc)
	first, second := wall.Add(-before), wall.Add(-after)
	if offsetAt(first, loc) != before && offsetAt(second, loc) == after {
		return second.In(loc)
	}
	return first.In(loc)
}

func offsetAt(t time.Time, loc *time.Location) time.Duration {
	_, seconds := t.In(loc).Zone()
	return time.Duration(seconds) * time.Second
}
