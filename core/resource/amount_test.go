package resource

import (
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// amounts draws every sort of amount: small, any, and those next to the ends.
func amounts() *rapid.Generator[Amount] {
	ends := []Amount{0, 1, Unlimited, Unlimited - 1, -Unlimited, -Unlimited + 1, Unlimited / 2, Unlimited/2 + 1}
	return rapid.OneOf(
		rapid.Map(rapid.Int64Range(-1000, 1000), func(i int64) Amount { return Amount(i) }),
		rapid.Map(rapid.Int64Range(-math.MaxInt64, math.MaxInt64), func(i int64) Amount { return Amount(i) }),
		rapid.SampledFrom(ends),
	)
}

// clamp brings an exact number into the range of amounts.
func clamp(n *big.Int) Amount {
	if limit := big.NewInt(int64(Unlimited)); n.CmpAbs(limit) >= 0 {
		return Amount(n.Sign()) * Unlimited
	}
	return Amount(n.Int64())
}

func TestArithmeticAgainstBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := amounts().Draw(t, "a"), amounts().Draw(t, "b")
		sum, difference := new(big.Int).Add(big.NewInt(int64(a)), big.NewInt(int64(b))), new(big.Int).Sub(big.NewInt(int64(a)), big.NewInt(int64(b)))
		wantSum, wantDifference := clamp(sum), clamp(difference)
		if a == Unlimited || b == Unlimited { // it absorbs
			wantSum = Unlimited
		}
		switch {
		case a == Unlimited && b != Unlimited:
			wantDifference = Unlimited
		case b == Unlimited && a != Unlimited:
			wantDifference = -Unlimited
		case b == -Unlimited:
			wantDifference = Unlimited
		}
		if got := a.Add(b); got != wantSum {
			t.Fatalf("%d + %d = %d, want %d", a, b, got, wantSum)
		}
		if got := a.Sub(b); got != wantDifference {
			t.Fatalf("%d - %d = %d, want %d", a, b, got, wantDifference)
		}
	})
}

func TestMulDivAgainstBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := max(0, amounts().Draw(t, "a"))
		num := rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64Range(0, math.MaxInt64)).Draw(t, "num")
		den := rapid.OneOf(rapid.Int64Range(1, 1000), rapid.Int64Range(1, math.MaxInt64)).Draw(t, "den")
		n := new(big.Int).Mul(big.NewInt(int64(a)), big.NewInt(num))
		want := clamp(n.Quo(n, big.NewInt(den)))
		if a == Unlimited && num > 0 {
			want = Unlimited
		}
		if got := a.MulDiv(num, den); got != want {
			t.Fatalf("%d * %d / %d = %d, want %d", a, num, den, got, want)
		}
	})
}

func TestParseAmount(t *testing.T) {
	for _, tc := range []struct {
		in    string
		scale int64
		want  Amount
	}{
		{"2", 1000, 2000}, {"0.5", 1000, 500}, {"500m", 1000, 500}, {"1.25", 1000, 1250}, {"2.500", 1000, 2500}, {" 3 ", 1000, 3000},
		{"1k", 1000, 1e6}, {"0", 1000, 0}, {"007", 1, 7}, {"unlimited", 1, Unlimited}, {"Unlimited", 1000, Unlimited},
		{"4Gi", 1, 4 << 30}, {"1.5Gi", 1, 3 << 29}, {"4G", 1, 4e9}, {"1000m", 1, 1}, {"0.5Ki", 1, 512}, {"80Ti", 1, 80 << 40}, {"2P", 1, 2e15},
		{"9223372036854775806", 1, Unlimited - 1}, {"0.000001k", 1000, 1},
	} {
		if got, err := ParseAmount(tc.in, tc.scale); err != nil || got != tc.want {
			t.Errorf("ParseAmount(%q, %d) = %d, %v; want %d", tc.in, tc.scale, got, err, tc.want)
		}
	}
}

func TestParseAmountRefuses(t *testing.T) {
	for _, tc := range []struct {
		in    string
		scale int64
		want  string
	}{
		{"", 1000, "is not a number"}, {"-1", 1000, "is not a number"}, {"+1", 1000, "is not a number"}, {"1e3", 1000, "is not a number"},
		{".5", 1000, "is not a number"}, {"5.", 1000, "is not a number"}, {"0x10", 1000, "is not a number"}, {"4 Gi", 1, "is not a number"},
		{"4GB", 1, "is not a number"}, {"4gi", 1, "is not a number"}, {"4KiMi", 1, "is not a number"}, {"m", 1000, "is not a number"}, {"٣", 1000, "is not a number"},
		{"0.0005", 1000, "finer than can be counted"}, {"0.5m", 1000, "finer"}, {"0.5", 1, "finer"}, {"1m", 1, "finer"}, {"0.0000000001Pi", 1, "finer"},
		{"9223372036854775807", 1, "too large"}, {"9223372036854776", 1000, "too large"}, {"8192Pi", 1, "too large"}, {"9Pi", 1000, "too large"}, {"99999999999999999999", 1, "too large"},
	} {
		if got, err := ParseAmount(tc.in, tc.scale); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("ParseAmount(%q, %d) = %d, %v; want error %q", tc.in, tc.scale, got, err, tc.want)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, tc := range []struct {
		a     Amount
		scale int64
		want  string
	}{
		{2000, 1000, "2"}, {500, 1000, "0.5"}, {1, 1000, "0.001"}, {1_500_000, 1000, "1500"}, {-1500, 1000, "-1.5"}, {0, 1000, "0"},
		{4 << 30, 1, "4Gi"}, {1536 << 20, 1, "1536Mi"}, {1000, 1, "1000"}, {0, 1, "0"}, {-1024, 1, "-1Ki"}, {1 << 60, 1, "1024Pi"},
		{Unlimited, 1, "unlimited"}, {-Unlimited, 1000, "-unlimited"},
	} {
		if got := tc.a.Format(tc.scale); got != tc.want {
			t.Errorf("%d in %d: %q, want %q", tc.a, tc.scale, got, tc.want)
		}
	}
}

func TestAmountRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := max(0, amounts().Draw(t, "a"))
		scale := rapid.SampledFrom([]int64{1, 1000}).Draw(t, "scale")
		if got, err := ParseAmount(a.Format(scale), scale); err != nil || got != a {
			t.Fatalf("%d is written %q and read %d, %v", a, a.Format(scale), got, err)
		}
	})
}

func FuzzParseAmount(f *testing.F) {
	for _, s := range []string{"2", "0.5", "500m", "4Gi", "unlimited", "1.5Ki", "9223372036854775806"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, bytes bool) {
		scale := int64(1000)
		if bytes {
			scale = 1
		}
		a, err := ParseAmount(s, scale)
		if err != nil {
			return
		}
		if a < 0 {
			t.Fatalf("%q is %d", s, a)
		}
		if again, err := ParseAmount(a.Format(scale), scale); err != nil || again != a {
			t.Fatalf("%q is %d, written %q, read %d, %v", s, a, a.Format(scale), again, err)
		}
	})
}
