package resource

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Amount is a quantity of one resource kind in that kind's base unit: thousandths for cpu, gpu and named scalars, bytes
// for memory and disk (see [Kinds.Scale]). Arithmetic saturates at [Unlimited] and at its negation instead of wrapping.
type Amount int64

// Unlimited is the amount that nothing exceeds. It absorbs: Unlimited plus or minus anything finite is Unlimited.
const Unlimited Amount = math.MaxInt64

// Milli is the number of base units in one whole cpu, gpu or named scalar.
const Milli Amount = 1000

// Add returns a+b, saturating. An Unlimited operand makes the sum Unlimited.
func (a Amount) Add(b Amount) Amount {
	if a == Unlimited || b == Unlimited {
		return Unlimited
	}
	s := a + b
	if a > 0 && b > 0 && s < 0 {
		return Unlimited
	}
	if a < 0 && b < 0 && s >= 0 {
		return -Unlimited
	}
	return max(s, -Unlimited)
}

// Sub returns a-b, saturating. Unlimited minus a finite amount is Unlimited and Unlimited minus itself is 0;
// anything else minus Unlimited is -Unlimited.
func (a Amount) Sub(b Amount) Amount {
	if a == Unlimited {
		if b == Unlimited {
			return 0
		}
		return Unlimited
	}
	if b == Unlimited {
		return -Unlimited
	}
	return a.Add(-b)
}

// MulDiv returns a·num/den rounded toward zero, computed in 128 bits and saturating. The operands are not negative and
// den is positive; Unlimited stays Unlimited unless num is zero.
func (a Amount) MulDiv(num, den int64) Amount {
	if a == Unlimited {
		if num == 0 {
			return 0
		}
		return Unlimited
	}
	hi, lo := bits.Mul64(uint64(a), uint64(num))
	if hi >= uint64(den) {
		return Unlimited
	}
	q, _ := bits.Div64(hi, lo, uint64(den))
	if q > math.MaxInt64 {
		return Unlimited
	}
	return Amount(q)
}

// suffixes are the unit suffixes an amount may carry, longest first so that "Mi" is found before "M".
var suffixes = []struct {
	text string
	mult int64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40}, {"Pi", 1 << 50},
	{"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"P", 1e15},
}

// ParseAmount reads a decimal quantity with an optional suffix (k M G T P, Ki Mi Gi Ti Pi, or m for thousandths) and
// returns it in base units of the given scale (base units per whole: 1000 or 1). "unlimited" is [Unlimited]. It refuses
// negative values, more precision than the scale holds, and values that do not fit.
func ParseAmount(s string, scale int64) (Amount, error) {
	text := strings.TrimSpace(s)
	if strings.EqualFold(text, "unlimited") {
		return Unlimited, nil
	}
	num, mult, div := text, scale, int64(1)
	if rest, ok := strings.CutSuffix(text, "m"); ok {
		num, div = rest, 1000
	} else {
		for _, u := range suffixes {
			if rest, ok := strings.CutSuffix(text, u.text); ok {
				num = rest
				if u.mult > math.MaxInt64/scale {
					return 0, fmt.Errorf("amount %q is too large", s)
				}
				mult = scale * u.mult
				break
			}
		}
	}
	return parseDecimal(s, num, mult, div)
}

// parseDecimal turns "12.5" times mult over div into an exact amount; whole names the full text in errors.
func parseDecimal(whole, num string, mult, div int64) (Amount, error) {
	intPart, frac, hasFrac := strings.Cut(num, ".")
	if !digits(intPart) || (hasFrac && !digits(frac)) {
		return 0, fmt.Errorf("amount %q is not a number such as 2, 0.5, 500m or 4Gi", whole)
	}
	frac = strings.TrimRight(frac, "0")
	if len(frac) > 9 {
		return 0, fmt.Errorf("amount %q is finer than can be counted", whole)
	}
	n, err := strconv.ParseInt(intPart+frac, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("amount %q is too large", whole)
	}
	for range frac {
		div *= 10
	}
	hi, lo := bits.Mul64(uint64(n), uint64(mult))
	if hi >= uint64(div) {
		return 0, fmt.Errorf("amount %q is too large", whole)
	}
	q, rem := bits.Div64(hi, lo, uint64(div))
	if rem != 0 {
		return 0, fmt.Errorf("amount %q is finer than can be counted", whole)
	}
	if q >= math.MaxInt64 {
		return 0, fmt.Errorf("amount %q is too large", whole)
	}
	return Amount(q), nil
}

func digits(s string) bool {
	if s == "" {
		return false
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// Format writes a in units of the scale: "2", "0.5" or "1500" for thousandths (scale 1000), the largest exact binary
// suffix for bytes (scale 1): "4Gi", "1536Mi". [ParseAmount] reads every non-negative result back unchanged.
func (a Amount) Format(scale int64) string {
	switch {
	case a == Unlimited:
		return "unlimited"
	case a < 0:
		return "-" + (-a).Format(scale)
	case scale == 1:
		return formatBytes(int64(a))
	}
	whole, frac := int64(a)/scale, int64(a)%scale
	if frac == 0 {
		return strconv.FormatInt(whole, 10)
	}
	return strconv.FormatInt(whole, 10) + "." + strings.TrimRight(fmt.Sprintf("%03d", frac), "0")
}

func formatBytes(n int64) string {
	for i := 4; i >= 0; i-- {
		if u := suffixes[i]; n != 0 && n%u.mult == 0 {
			return strconv.FormatInt(n/u.mult, 10) + u.text
		}
	}
	return strconv.FormatInt(n, 10)
}
