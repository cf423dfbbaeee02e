package resource

import (
	"slices"
	"strings"
)

// Vector is amounts indexed by [Kind], of one pool. Kinds beyond its length count as zero, so a vector made before a new
// kind was interned stays right. Methods whose names say what changes work in place; the others allocate.
type Vector []Amount

// At returns the amount of kind i, zero beyond the end.
func (v Vector) At(i int) Amount {
	if i < len(v) {
		return v[i]
	}
	return 0
}

// Zeros returns so many vectors of n kinds, nothing of each, in one piece of memory: none can grow into the next.
func Zeros(rows, n int) []Vector {
	out, flat := make([]Vector, rows), make(Vector, rows*n)
	for i := range out {
		out[i] = flat[i*n : (i+1)*n : (i+1)*n]
	}
	return out
}

// Clone returns a copy of length n or len(v), whichever is longer.
func (v Vector) Clone(n int) Vector {
	out := make(Vector, max(n, len(v)))
	copy(out, v)
	return out
}

// Inc adds w to v in place; v is at least as long as w.
func (v Vector) Inc(w Vector) {
	for i, x := range w {
		v[i] = v[i].Add(x)
	}
}

// Dec subtracts w from v in place; v is at least as long as w.
func (v Vector) Dec(w Vector) {
	for i, x := range w {
		v[i] = v[i].Sub(x)
	}
}

// Plus returns v+w.
func (v Vector) Plus(w Vector) Vector {
	out := v.Clone(len(w))
	out.Inc(w)
	return out
}

// Minus returns v-w.
func (v Vector) Minus(w Vector) Vector {
	out := v.Clone(len(w))
	out.Dec(w)
	return out
}

// Fits reports whether v is at most w in every kind.
func (v Vector) Fits(w Vector) bool {
	for i := range max(len(v), len(w)) {
		if v.At(i) > w.At(i) {
			return false
		}
	}
	return true
}

// IsZero reports whether every amount is zero.
func (v Vector) IsZero() bool {
	for _, x := range v {
		if x != 0 {
			return false
		}
	}
	return true
}

// Negative returns the first kind with an amount below zero, or -1.
func (v Vector) Negative() Kind {
	return Kind(slices.IndexFunc(v, func(a Amount) bool { return a < 0 }))
}

// Equal reports whether v and w hold the same amounts, whatever their lengths.
func (v Vector) Equal(w Vector) bool {
	for i := range max(len(v), len(w)) {
		if v.At(i) != w.At(i) {
			return false
		}
	}
	return true
}

// Min returns the smaller amount kind by kind.
func (v Vector) Min(w Vector) Vector {
	return v.zip(w, func(a, b Amount) Amount { return min(a, b) })
}

// Max returns the larger amount kind by kind.
func (v Vector) Max(w Vector) Vector {
	return v.zip(w, func(a, b Amount) Amount { return max(a, b) })
}

func (v Vector) zip(w Vector, f func(a, b Amount) Amount) Vector {
	out := make(Vector, max(len(v), len(w)))
	for i := range out {
		out[i] = f(v.At(i), w.At(i))
	}
	return out
}

// Resources returns the non-zero amounts under their names in the pool.
func (v Vector) Resources(k *Kinds, pool string) Resources {
	out := Resources{}
	for i, a := range v {
		if a != 0 {
			out[JoinName(pool, k.names[i])] = a
		}
	}
	return out
}

// Text writes the non-zero amounts in kind order: "cpu=2,memory=4Gi"; "nothing" when all are zero.
func (v Vector) Text(k *Kinds, pool string) string {
	var parts []string
	for i, a := range v {
		if a != 0 {
			name := JoinName(pool, k.names[i])
			parts = append(parts, name+"="+FormatValue(name, a))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ",")
}
