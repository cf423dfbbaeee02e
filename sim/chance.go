package sim

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// stream is a source of chance of its own for one named part of a run, so that what one part draws does not change what
// another does.
func stream(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// Span is a length of time that may be drawn by chance. It is written "30s", "1s..5s" (any as likely), "exp 5m" (mean) or
// "lognormal 3m 2h" (median and 99th percentile).
type Span struct {
	text string
	law  law
	a, b time.Duration
}

type law int8

const (
	fixed law = iota
	uniform
	exponential
	lognormal
)

// Fixed is a span that is always d.
func Fixed(d time.Duration) Span { return Span{text: d.String(), a: d} }

// String writes the span as it is read.
func (s Span) String() string { return s.text }

// MarshalText writes the span as it is read.
func (s Span) MarshalText() ([]byte, error) { return []byte(s.text), nil }

// UnmarshalText reads a span.
func (s *Span) UnmarshalText(text []byte) error {
	out := Span{text: string(text)}
	words := strings.Fields(out.text)
	switch {
	case len(words) == 1 && strings.Contains(out.text, ".."):
		from, to, _ := strings.Cut(out.text, "..")
		out.law, words = uniform, []string{from, to}
	case len(words) == 2 && words[0] == "exp":
		out.law, words = exponential, words[1:]
	case len(words) == 3 && words[0] == "lognormal":
		out.law, words = lognormal, words[1:]
	case len(words) != 1:
		return badSpan(out.text)
	}
	for i, into := range []*time.Duration{&out.a, &out.b}[:len(words)] {
		d, err := time.ParseDuration(words[i])
		if err != nil || d < 0 {
			return badSpan(out.text)
		}
		*into = d
	}
	if out.b < out.a && (out.law == uniform || out.law == lognormal) {
		return fmt.Errorf("duration %q: the second must not be shorter than the first", out.text)
	}
	*s = out
	return nil
}

func badSpan(text string) error {
	return fmt.Errorf("duration %q: write 30s, 1s..5s, exp 5m (mean), or lognormal 3m 2h (median, 99th percentile)", text)
}

// draw takes one at random.
func (s Span) draw(r *rand.Rand) time.Duration {
	switch s.law {
	case uniform:
		return s.a + time.Duration(r.Int64N(int64(s.b-s.a)+1))
	case exponential:
		return clampSpan(float64(s.a) * r.ExpFloat64())
	case lognormal:
		sigma := math.Log(float64(max(1, s.b))/float64(max(1, s.a))) / 2.3263 // the 99th percentile of the normal law
		return clampSpan(float64(s.a) * math.Exp(sigma*r.NormFloat64()))
	}
	return s.a
}

// most is the longest that is likely.
func (s Span) most() time.Duration { return max(s.a, s.b) }

// clampSpan keeps a drawn time above nothing and below a year.
func clampSpan(ns float64) time.Duration {
	return time.Duration(min(max(ns, float64(time.Millisecond)), float64(365*24*time.Hour)))
}

// Number is a whole number that may be drawn by chance: "8", or "1..8".
type Number struct {
	text     string
	low, top int
}

// Exactly is a number that is always n.
func Exactly(n int) Number { return Number{strconv.Itoa(n), n, n} }

// String writes the number as it is read.
func (n Number) String() string { return n.text }

// MarshalText writes the number as it is read.
func (n Number) MarshalText() ([]byte, error) { return []byte(n.text), nil }

// UnmarshalText reads a number.
func (n *Number) UnmarshalText(text []byte) error {
	from, to, isRange := strings.Cut(string(text), "..")
	if !isRange {
		to = from
	}
	low, err := strconv.Atoi(from)
	top, err2 := strconv.Atoi(to)
	if err != nil || err2 != nil || low < 0 || top < low {
		return fmt.Errorf("number %q: write 8 or 1..8", text)
	}
	*n = Number{string(text), low, top}
	return nil
}

// draw takes one at random.
func (n Number) draw(r *rand.Rand) int { return n.low + r.IntN(n.top-n.low+1) }
