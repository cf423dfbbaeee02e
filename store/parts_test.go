package store

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestParts: what is put together is taken apart again; what is cut off in the middle of a part is refused.
func TestParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 0, 5).Draw(t, "parts")
		whole := AppendParts(nil, parts...)
		var one []byte
		for _, p := range parts {
			one = AppendPart(one, func(b []byte) []byte { return append(b, p...) })
		}
		if !bytes.Equal(one, whole) {
			t.Fatalf("one by one they are %q, together %q", one, whole)
		}
		got, err := Parts(whole)
		if err != nil || !slices.EqualFunc(got, parts, bytes.Equal) {
			t.Fatalf("%q, %v; want %q", got, err, parts)
		}
		cut := rapid.IntRange(0, len(whole)).Draw(t, "cut")
		got, err = Parts(whole[:cut])
		if err == nil && !bytes.Equal(AppendParts(nil, got...), whole[:cut]) {
			t.Fatalf("the first %d bytes of %q are %q", cut, whole, got)
		}
	})
}
