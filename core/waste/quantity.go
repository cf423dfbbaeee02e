package waste

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"polder.dev/polder/core/resource"
)

// Quantity is an amount times a time, in base units × nanoseconds, exactly. It is never negative. The largest cluster stays far
// below its 128 bits for millions of years.
type Quantity struct{ hi, lo uint64 }

// Over returns what an amount adds up to in a time; nothing when either is below zero.
func Over(a resource.Amount, d time.Duration) Quantity {
	if a <= 0 || d <= 0 {
		return Quantity{}
	}
	hi, lo := bits.Mul64(uint64(a), uint64(d))
	return Quantity{hi, lo}
}

// IsZero reports whether q is nothing.
func (q Quantity) IsZero() bool { return q.hi|q.lo == 0 }

// Less reports whether q is less than r.
func (q Quantity) Less(r Quantity) bool { return q.hi < r.hi || q.hi == r.hi && q.lo < r.lo }

// Plus returns q+r.
func (q Quantity) Plus(r Quantity) Quantity {
	lo, carry := bits.Add64(q.lo, r.lo, 0)
	hi, _ := bits.Add64(q.hi, r.hi, carry)
	return Quantity{hi, lo}
}

// Minus returns q-r, nothing when r is more than q.
func (q Quantity) Minus(r Quantity) Quantity {
	if q.Less(r) {
		return Quantity{}
	}
	lo, borrow := bits.Sub64(q.lo, r.lo, 0)
	hi, _ := bits.Sub64(q.hi, r.hi, borrow)
	return Quantity{hi, lo}
}

func least(q, r Quantity) Quantity {
	if q.Less(r) {
		return q
	}
	return r
}

// part returns q·num/den rounded down, num being at most den and den not zero. Beyond 64 bits, num and den count by their leading
// ones: it is a proportion, whoever divides by it sees to it that nothing is lost.
func (q Quantity) part(num, den Quantity) Quantity {
	if drop := bits.Len64(den.hi); drop > 0 {
		num, den = num.shift(drop), den.shift(drop)
	}
	top, mid := bits.Mul64(q.hi, num.lo)
	carried, low := bits.Mul64(q.lo, num.lo)
	mid, carry := bits.Add64(mid, carried, 0)
	hi, rest := bits.Div64(top+carry, mid, den.lo)
	lo, _ := bits.Div64(rest, low, den.lo)
	return Quantity{hi, lo}
}

func (q Quantity) shift(n int) Quantity { return Quantity{q.hi >> n, q.lo>>n | q.hi<<(64-n)} }

// Share returns q/of, for people to read; nothing of nothing is 0.
func (q Quantity) Share(of Quantity) float64 {
	if of.IsZero() {
		return 0
	}
	return q.float() / of.float()
}

func (q Quantity) float() float64 { return math.Ldexp(float64(q.hi), 64) + float64(q.lo) }

// Mean returns the amount that stood for d on average, rounded to the nearest base unit.
func (q Quantity) Mean(d time.Duration) resource.Amount {
	if d <= 0 {
		return 0
	}
	q = q.Plus(Quantity{lo: uint64(d) / 2})
	if q.hi >= uint64(d) {
		return resource.Unlimited
	}
	mean, _ := bits.Div64(q.hi, q.lo, uint64(d))
	if mean > math.MaxInt64 {
		return resource.Unlimited
	}
	return resource.Amount(mean)
}

// Seconds returns q in whole units × seconds of a kind with that many base units in one whole ([resource.Scale]), for gauges and
// people; [Quantity.Text] is exact.
func (q Quantity) Seconds(scale int64) float64 { return q.float() / float64(scale) / 1e9 }

// Text writes q exactly as a decimal number of whole units × seconds of a kind with that many base units in one whole.
func (q Quantity) Text(scale int64) string {
	unit := uint64(scale) * uint64(time.Second) // a power of ten for both scales there are
	hi, rest := q.hi/unit, q.hi%unit
	lo, frac := bits.Div64(rest, q.lo, unit)
	whole := digits(hi, lo)
	if frac == 0 {
		return whole
	}
	decimals := strconv.FormatUint(unit+frac, 10)[1:] // the leading one keeps the zeros
	return whole + "." + strings.TrimRight(decimals, "0")
}

// digits writes hi·2⁶⁴+lo.
func digits(hi, lo uint64) string {
	const billion = 1e18
	if hi == 0 {
		return strconv.FormatUint(lo, 10)
	}
	top, rest := hi/billion, hi%billion
	low, tail := bits.Div64(rest, lo, billion)
	return digits(top, low) + strconv.FormatUint(billion+tail, 10)[1:]
}
