package waste

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"polder.dev/polder/core/resource"
)

// Sentence says in one sentence what became of a row over a time: "10.2 % of 48 cpu idled in the last 1h: 6.1 % no demand, 4.1 % not
// lent". The parts add up to the whole.
func (r *Row) Sentence(lasted time.Duration) string {
	return r.sentence(lasted, "in the last "+span(lasted))
}

// SentenceOver is the same for a time that is not the last: "10.2 % of 48 cpu idled over 1h: ...".
func (r *Row) SentenceOver(lasted time.Duration) string {
	return r.sentence(lasted, "over "+span(lasted))
}

func (r *Row) sentence(lasted time.Duration, when string) string {
	missing := r.Idle[Missing]
	had, idle := r.Has().Minus(missing), r.Idled().Minus(missing)
	amount := resource.FormatValue(r.Resource, Round(r.Resource, had.Mean(lasted)))
	whole := tenths(idle, had)
	out := fmt.Sprintf("%s of %s %s idled %s", percent(whole), amount, r.Resource, when)
	if r.Role != "" {
		out = fmt.Sprintf("%s of the %s %s of %s idled %s", percent(whole), amount, r.Resource, r.Role, when)
	}
	if parts := r.parts(whole, had); len(parts) > 0 {
		out += ": " + strings.Join(parts, ", ")
	}
	if !missing.IsZero() {
		out += fmt.Sprintf("; another %s was guaranteed but nodes are missing for it", resource.FormatValue(r.Resource, Round(r.Resource, missing.Mean(lasted))))
	}
	return out
}

// parts writes the reasons, the greatest first, with percentages that add up to the whole: what rounding leaves goes to those it took
// most from.
func (r *Row) parts(whole int, had Quantity) []string {
	type part struct {
		Reason
		tenths int
		rest   float64
	}
	var parts []part
	for reason, q := range r.Idle {
		if reason != int(Missing) && !q.IsZero() {
			exact := q.Share(had) * 1000
			parts = append(parts, part{Reason(reason), int(exact), exact - float64(int(exact))})
			whole -= int(exact)
		}
	}
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(b.rest, a.rest) })
	for i := range parts {
		if i < whole {
			parts[i].tenths++
		}
	}
	slices.SortStableFunc(parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(b.tenths, a.tenths), cmp.Compare(a.Reason, b.Reason))
	})
	var out []string
	for _, p := range parts {
		if p.tenths > 0 {
			out = append(out, percent(p.tenths)+" "+p.Text())
		}
	}
	return out
}

func tenths(q, of Quantity) int { return int(q.Share(of)*1000 + 0.5) }

func percent(tenths int) string {
	if tenths%10 == 0 {
		return fmt.Sprintf("%d %%", tenths/10)
	}
	return fmt.Sprintf("%d.%d %%", tenths/10, tenths%10)
}

// Round drops digits nobody reads off an average: below a hundredth of a unit, or of the binary unit it is written in.
func Round(name string, a resource.Amount) resource.Amount {
	_, kind := resource.SplitName(name)
	step := resource.Amount(10)
	if resource.Scale(kind) == 1 {
		for step = 1; a/step >= 10<<10; step <<= 10 {
		}
	}
	return (a + step/2) / step * step
}

// span writes a time without what is zero at its end: "1h", "5m", "1h5m", "30s".
func span(d time.Duration) string {
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
