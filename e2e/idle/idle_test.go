package main

import (
	"testing"
	"time"
)

// TestIdle measures for a moment, so that the way it does so is kept working.
func TestIdle(t *testing.T) {
	if err := measure(t.Context(), t.Output(), options{tasks: 3, length: time.Second}); err != nil {
		t.Fatal(err)
	}
}
