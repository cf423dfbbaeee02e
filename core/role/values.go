package role

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"polder.dev/polder/core/resource"
)

// Duration is a length of time written as Go writes it ("45s", "1h30m"), without trailing zero units.
type Duration time.Duration

// MaxDuration bounds every duration of a plan, so that sums of a few cannot overflow.
const MaxDuration = Duration(366 * 24 * time.Hour)

// ParseDuration reads "45s" or "1h30m". It refuses negative values and values above [MaxDuration].
func ParseDuration(s string) (Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("duration %q: write a number with a unit, such as 45s, 10m or 1h30m", s)
	case d < 0:
		return 0, fmt.Errorf("duration %q is negative", s)
	case Duration(d) > MaxDuration:
		return 0, fmt.Errorf("duration %q is longer than %s", s, MaxDuration)
	}
	return Duration(d), nil
}

// String writes d as [ParseDuration] reads it.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText writes d as [Duration.String] does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads d as [ParseDuration] does.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDuration(string(text))
	return err
}

// Percent is a share in thousandths of a percent: 100% is 100000.
type Percent int64

// Whole is 100%.
const Whole Percent = 100_000

// ParsePercent reads "50%" or "12.5%", to three decimals.
func ParsePercent(s string) (Percent, error) {
	num, ok := strings.CutSuffix(s, "%")
	a, err := resource.ParseAmount(num, 1000)
	if !ok || err != nil || strings.Trim(num, "0123456789.") != "" || a > resource.Amount(1000*Whole) {
		return 0, fmt.Errorf("percentage %q: write it as 50%% or 12.5%%", s)
	}
	return Percent(a), nil
}

// String writes p as [ParsePercent] reads it.
func (p Percent) String() string { return resource.Amount(p).Format(1000) + "%" }

// Of returns p of a, rounded down.
func (p Percent) Of(a resource.Amount) resource.Amount { return a.MulDiv(int64(p), int64(Whole)) }

// MarshalText writes p as [Percent.String] does.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads p as [ParsePercent] does.
func (p *Percent) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePercent(string(text))
	return err
}

// Share is how much of something: amounts for the kinds in Amounts, for the others Percent of the guarantee or, when that
// is nil, the default of the field. In writing it is either a percentage or resources.
type Share struct {
	Percent *Percent
	Amounts resource.Resources
}

// MarshalJSON writes the percentage as text, or the amounts as an object.
func (s Share) MarshalJSON() ([]byte, error) {
	if s.Percent == nil {
		return s.Amounts.MarshalJSON()
	}
	if len(s.Amounts) > 0 {
		return nil, errors.New("a share is a percentage or resources, not both")
	}
	return json.Marshal(*s.Percent)
}

// UnmarshalJSON reads "50%" or {"cpu": 2}.
func (s *Share) UnmarshalJSON(data []byte) error {
	*s = Share{}
	if len(data) > 0 && data[0] == '{' {
		return s.Amounts.UnmarshalJSON(data)
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("%s: write a percentage such as 50%% or resources such as {cpu: 2}", data)
	}
	p, err := ParsePercent(text)
	s.Percent = &p
	return err
}

// amounts returns the amounts of a share that may be absent.
func (s *Share) amounts() resource.Resources {
	if s == nil {
		return nil
	}
	return s.Amounts
}

// of returns the amount of the named resource given its guarantee; ok is false when the share does not say.
func (s *Share) of(name string, guarantee resource.Amount) (a resource.Amount, ok bool) {
	if s == nil {
		return 0, false
	}
	if a, ok := s.Amounts[name]; ok {
		return a, true
	}
	if s.Percent == nil {
		return 0, false
	}
	return s.Percent.Of(guarantee), true
}

// over lays s on top of what is below it: a percentage replaces all, amounts replace theirs.
func (s *Share) over(below *Share) *Share {
	if s == nil {
		return below
	}
	if below == nil || s.Percent != nil {
		return s
	}
	return &Share{Percent: below.Percent, Amounts: mergeResources(below.Amounts, s.Amounts)}
}

// Weight is a positive number in thousandths: 1.5 is 1500.
type Weight int64

// ParseWeight reads "3" or "0.5", to three decimals and at most a million.
func ParseWeight(s string) (Weight, error) {
	a, err := resource.ParseAmount(s, 1000)
	if err != nil || strings.Trim(s, "0123456789.") != "" || a <= 0 || a > 1_000_000_000 {
		return 0, fmt.Errorf("weight %s: write a number above 0 and at most 1000000, such as 3 or 0.5", s)
	}
	return Weight(a), nil
}

// String writes w as [ParseWeight] reads it.
func (w Weight) String() string { return resource.Amount(w).Format(1000) }

// MarshalJSON writes w as a number.
func (w Weight) MarshalJSON() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalJSON reads a number, or one in quotes.
func (w *Weight) UnmarshalJSON(data []byte) (err error) {
	*w, err = ParseWeight(strings.Trim(string(data), `"`))
	return err
}

// Lead is how long before a guarantee rises reclaiming starts. The zero value is auto: as long as the plan needs to
// serve the raised roles, no longer.
type Lead struct {
	Fixed bool     // For counts; otherwise auto
	For   Duration // 0 with Fixed turns leading off
}

// MarshalText writes "auto" or the duration.
func (l Lead) MarshalText() ([]byte, error) {
	if !l.Fixed {
		return []byte("auto"), nil
	}
	return l.For.MarshalText()
}

// UnmarshalText reads "auto" or a duration.
func (l *Lead) UnmarshalText(text []byte) (err error) {
	*l = Lead{}
	if string(text) == "auto" {
		return nil
	}
	l.Fixed = true
	if l.For, err = ParseDuration(string(text)); err != nil {
		return fmt.Errorf("%w; or write auto", err)
	}
	return nil
}

// Rebalance says whether running borrowers may be moved for the sake of fairness.
type Rebalance string

// The settings of Rebalance; "" is not written.
const (
	RebalanceOff  Rebalance = "off"
	RebalanceFair Rebalance = "fair"
)
