//go:build chaos

package main

import (
	"testing"
	"time"
)

// TestChaos is a short story; "make chaos" tells a long one.
func TestChaos(t *testing.T) {
	v, err := play(t.Context(), t.Output(), options{notices: 60, seed: uint64(time.Now().UnixNano()), work: 10 * time.Second, patient: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if v.bad() {
		t.Error("what must not happen has happened; see above")
	}
}
