package role

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func mustWhen(t testing.TB, w When) schedule {
	t.Helper()
	s, err := parseWhen(w)
	if err != nil {
		t.Fatalf("%+v: %v", w, err)
	}
	return s
}

func TestScheduleTurns(t *testing.T) {
	for _, tc := range []struct {
		name string
		when When
		from string // UTC
		want string // the next openings
	}{
		{"date", When{From: "2026-11-10T20:00", To: "2026-11-12T02:00", TZ: "Asia/Shanghai"}, "2026-01-01T00:00", "11-10T12:00/11-11T18:00"},
		{"seconds", When{From: "2026-11-10T20:00:30", To: "2026-11-10T20:01"}, "2026-01-01T00:00", "11-10T20:00/11-10T20:01"},
		{"over midnight", When{Daily: "22:00-07:00", TZ: "Asia/Shanghai"}, "2026-03-28T20:00", "03-28T14:00/03-28T23:00 03-29T14:00/03-29T23:00"},
		{"end of day", When{Daily: "12:00-24:00"}, "2026-05-01T00:00", "05-01T12:00/05-02T00:00 05-02T12:00/05-03T00:00"},
		{"week", When{Weekly: "Mon 08:00-Fri 20:00", TZ: "Europe/Berlin"}, "2026-10-21T00:00", "10-19T06:00/10-23T18:00 10-26T07:00/10-30T19:00"},
		{"over the weekend", When{Weekly: "Fri 20:00-Mon 08:00"}, "2026-10-21T00:00", "10-23T20:00/10-26T08:00 10-30T20:00/11-02T08:00"},
		{"month", When{Monthly: "1 00:00-3 12:00"}, "2026-02-20T00:00", "03-01T00:00/03-03T12:00 04-01T00:00/04-03T12:00"},
		{"last day", When{Monthly: "31 00:00-31 24:00"}, "2026-02-01T00:00", "02-28T00:00/03-01T00:00 03-31T00:00/04-01T00:00"},
		{"over the month's end", When{Monthly: "28 12:00-2 00:00"}, "2026-02-10T00:00", "02-28T12:00/03-02T00:00 03-28T12:00/04-02T00:00"},
		{"short month closes a day early", When{Monthly: "31 00:00-30 00:00"}, "2026-02-10T00:00", "01-31T00:00/03-30T00:00 03-31T00:00/05-30T00:00"},
		{"skipped in short months", When{Monthly: "30 18:00-31 06:00"}, "2026-02-10T00:00", "03-30T18:00/03-31T06:00 05-30T18:00/05-31T06:00"},

		{"Berlin, start skipped", When{Daily: "02:30-05:00", TZ: "Europe/Berlin"}, "2026-03-29T00:00", "03-29T01:30/03-29T03:00 03-30T00:30/03-30T03:00"},
		{"Berlin, end skipped", When{Daily: "01:00-02:30", TZ: "Europe/Berlin"}, "2026-03-29T00:00", "03-29T00:00/03-29T01:30 03-29T23:00/03-30T00:30"},
		{"Berlin, turned inside out", When{Daily: "02:30-03:00", TZ: "Europe/Berlin"}, "2026-03-29T00:00", "03-30T00:30/03-30T01:00"},
		{"Berlin, start twice", When{Daily: "02:30-05:00", TZ: "Europe/Berlin"}, "2026-10-25T00:00", "10-25T00:30/10-25T04:00 10-26T01:30/10-26T04:00"},
		{"Berlin, end twice", When{Daily: "01:00-02:30", TZ: "Europe/Berlin"}, "2026-10-25T00:00", "10-24T23:00/10-25T00:30 10-26T00:00/10-26T01:30"},
		{"New York, start skipped", When{Daily: "02:30-05:00", TZ: "America/New_York"}, "2026-03-08T06:00", "03-08T07:30/03-08T09:00 03-09T06:30/03-09T09:00"},
		{"New York, start twice", When{Daily: "01:30-05:00", TZ: "America/New_York"}, "2026-11-01T05:00", "11-01T05:30/11-01T10:00 11-02T06:30/11-02T10:00"},
		{"New York, night of 23 hours", When{Daily: "22:00-07:00", TZ: "America/New_York"}, "2026-03-08T04:00", "03-08T03:00/03-08T11:00 03-09T02:00/03-09T11:00"},
		{"Lord Howe moves by half an hour", When{Daily: "02:15-05:00", TZ: "Australia/Lord_Howe"}, "2026-10-03T15:00", "10-03T15:45/10-03T18:00 10-04T15:15/10-04T18:00"},
		{"date skipped", When{From: "2026-03-29T02:30", To: "2026-03-29T03:31", TZ: "Europe/Berlin"}, "2026-03-29T00:00", "03-29T01:30/03-29T01:31"},
		{"date twice", When{From: "2026-10-25T02:30", To: "2026-10-25T03:00", TZ: "Europe/Berlin"}, "2026-10-25T00:00", "10-25T00:30/10-25T02:00"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			from, err := time.Parse("2006-01-02T15:04", tc.from)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range mustWhen(t, tc.when).near(from) {
				if o.end.After(from) && len(got) < 2 {
					got = append(got, o.start.UTC().Format("01-02T15:04")+"/"+o.end.UTC().Format("01-02T15:04"))
				}
			}
			if text := strings.Join(got, " "); !strings.HasPrefix(text, tc.want) {
				t.Errorf("openings %s, want %s", text, tc.want)
			}
		})
	}
}

func TestParseWhenRefuses(t *testing.T) {
	for _, tc := range []struct {
		when When
		want string
	}{
		{When{}, "exactly one of"},
		{When{Daily: "01:00-02:00", Weekly: "Mon 01:00-Tue 02:00"}, "exactly one of"},
		{When{From: "2026-11-10T20:00", Daily: "01:00-02:00"}, "exactly one of"},
		{When{From: "2026-11-10T20:00"}, `to: "": write a local time`},
		{When{To: "2026-11-10T20:00"}, `from: "": write a local time`},
		{When{From: "2026-11-10", To: "2026-11-11"}, `from: "2026-11-10": write a local time such as 2026-11-10T20:00`},
		{When{From: "2026-11-31T00:00", To: "2026-12-01T00:00"}, "write a local time"},
		{When{From: "2026-11-10T20:00", To: "2026-11-10T20:00"}, "is not after from"},
		{When{From: "2026-03-29T02:30", To: "2026-03-29T03:30", TZ: "Europe/Berlin"}, "is not after from"},
		{When{Daily: "01:00-02:00", TZ: "Europe/Bonn"}, `time zone "Europe/Bonn" is not known; use an IANA name`},
		{When{Daily: "01:00-02:00", TZ: "Local"}, `time zone "Local" is not known`},
		{When{Daily: "01:00-02:00", TZ: "../../etc/passwd"}, "is not known"},
		{When{Daily: "1:00-02:00"}, "write times of day as 22:00"},
		{When{Daily: "01:00"}, "write times of day as 22:00"},
		{When{Daily: "01:60-02:00"}, "write times of day as 22:00"},
		{When{Daily: "01:00-24:01"}, "write times of day as 22:00"},
		{When{Daily: "01:00-02:00-03:00"}, "write times of day as 22:00"},
		{When{Daily: "24:00-02:00"}, "only an end may be 24:00"},
		{When{Daily: "02:00-02:00"}, "never closes"},
		{When{Daily: "00:00-24:00"}, "never closes"},
		{When{Weekly: "Mon 00:00-Sun 24:00"}, "never closes"},
		{When{Weekly: "Monday 00:00-Tue 24:00"}, "write it as Mon 08:00-Fri 20:00"},
		{When{Weekly: "Mon-Tue"}, "write times of day"},
		{When{Monthly: "1 00:00-31 24:00"}, "never closes"},
		{When{Monthly: "0 00:00-3 00:00"}, "days from 1 to 31"},
		{When{Monthly: "1 00:00-32 00:00"}, "days from 1 to 31"},
	} {
		if _, err := parseWhen(tc.when); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: error %v, want %q", tc.when, err, tc.want)
		}
	}
}

// clock is what a clock on the wall of a time zone showed, minute by minute: the oracle for local times. It knows no
// offsets, only when each wall-clock minute was shown first.
type clock struct{ shown []int64 } // wall minute since clockStart to Unix minute, -1 when skipped

var clockStart = time.Date(2025, 11, 1, 0, 0, 0, 0, time.UTC)

const clockDays = 600 // into the summer of 2027

func watchClock(t testing.TB, zone string) clock {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	c := clock{make([]int64, clockDays*24*60)}
	for i := range c.shown {
		c.shown[i] = -1
	}
	first := clockStart.Add(-24 * time.Hour)
	for i := range (clockDays + 2) * 24 * 60 {
		now := first.Add(time.Duration(i) * time.Minute)
		l := now.In(loc)
		wall := time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
		if m := int(wall.Sub(clockStart) / time.Minute); m >= 0 && m < len(c.shown) && c.shown[m] < 0 {
			c.shown[m] = now.Unix() / 60
		}
	}
	return c
}

// at returns when the clock showed a minute of a day first; where it skipped it, when it showed the minute as much later
// as was skipped.
func (c clock) at(year int, month time.Month, day, minute int) int64 {
	m := int(time.Date(year, month, day, 0, minute, 0, 0, time.UTC).Sub(clockStart) / time.Minute)
	if c.shown[m] >= 0 {
		return c.shown[m]
	}
	before, after := m, m
	for c.shown[before] < 0 {
		before--
	}
	for c.shown[after] < 0 {
		after++
	}
	return c.shown[m+after-before-1]
}

// stretches lists every opening that begins from two months before to one after the day.
func (c clock) stretches(s schedule, day time.Time) [][2]int64 {
	var out [][2]int64
	add := func(from, to time.Time) {
		out = append(out, [2]int64{
			c.at(from.Year(), from.Month(), from.Day(), s.start.minute),
			c.at(to.Year(), to.Month(), to.Day(), s.end.minute),
		})
	}
	for d := day.AddDate(0, 0, -80); d.Before(day.AddDate(0, 0, 45)); d = d.AddDate(0, 0, 1) {
		last := func(t time.Time, mark int) time.Time { // the marked day of t's month, or its last
			end := time.Date(t.Year(), t.Month()+1, 0, 0, 0, 0, 0, time.UTC)
			return time.Date(t.Year(), t.Month(), min(mark+1, end.Day()), 0, 0, 0, 0, time.UTC)
		}
		wrap := 0
		if s.wraps {
			wrap = 1
		}
		switch {
		case s.period == daily:
			add(d, d.AddDate(0, 0, wrap))
		case s.period == weekly && d.Weekday() == time.Monday:
			add(d.AddDate(0, 0, s.start.day), d.AddDate(0, 0, s.end.day+7*wrap))
		case s.period == monthly && d.Day() == 1:
			add(last(d, s.start.day), last(d.AddDate(0, wrap, 0), s.end.day))
		}
	}
	return out
}

func TestSchedulesAgainstClock(t *testing.T) {
	zones := []string{"Europe/Berlin", "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe", "UTC"}
	clocks := map[string]clock{}
	for _, z := range zones {
		clocks[z] = watchClock(t, z)
	}
	// Days around which something odd happens, beside any day.
	odd := []string{"2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01", "2026-02-28", "2026-04-30"}
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom(zones).Draw(t, "zone")
		when := drawWhen(t, zone)
		s, err := parseWhen(when)
		if err != nil {
			t.Skip(err)
		}
		day := clockStart.AddDate(0, 0, rapid.IntRange(90, 500).Draw(t, "day"))
		if rapid.Bool().Draw(t, "odd") {
			day, _ = time.Parse(time.DateOnly, rapid.SampledFrom(odd).Draw(t, "oddDay"))
		}
		stretches := clocks[zone].stretches(s, day)
		p := &Plan{Windows: []Window{{Name: "w", When: when}}}
		from := day.Add(-12 * time.Hour)
		c := newCalendar(p)
		next, ok := NextChange(p, from)
		was := false
		for m := range 2 * 24 * 60 {
			now := from.Add(time.Duration(m) * time.Minute)
			want := false
			for _, o := range stretches {
				want = want || (now.Unix()/60 >= o[0] && now.Unix()/60 < o[1])
			}
			if got := c.open(now)[0]; got != want {
				t.Fatalf("%+v at %s: open is %v, the clock says %v", when, now, got, want)
			}
			if m > 0 && want != was {
				if !ok || !next.Equal(now) {
					t.Fatalf("%+v: next change %s, %v; the clock says %s", when, next, ok, now)
				}
				next, ok = NextChange(p, now)
			}
			if was = want; ok && !next.After(now) {
				t.Fatalf("%+v: next change %s is not after %s", when, next, now)
			}
		}
	})
}

func drawWhen(t *rapid.T, zone string) When {
	clock := func(name string, latest int) string {
		m := rapid.IntRange(0, latest).Draw(t, name)
		if rapid.Bool().Draw(t, name+" early") {
			m %= 4 * 60 // clocks change in the small hours
		}
		return fmt.Sprintf("%02d:%02d", m/60, m%60)
	}
	start, end := clock("start", 24*60-1), clock("end", 24*60)
	switch rapid.IntRange(0, 2).Draw(t, "period") {
	case 0:
		return When{Daily: start + "-" + end, TZ: zone}
	case 1:
		day := rapid.SampledFrom(weekdays)
		return When{Weekly: day.Draw(t, "first") + " " + start + "-" + day.Draw(t, "last") + " " + end, TZ: zone}
	}
	day := rapid.IntRange(1, 31)
	return When{Monthly: fmt.Sprintf("%d %s-%d %s", day.Draw(t, "first"), start, day.Draw(t, "last"), end), TZ: zone}
}
