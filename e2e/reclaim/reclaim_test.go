package main

import "testing"

// TestReclaim takes a few places back each way. It says nothing about time: that is for a machine of its own.
func TestReclaim(t *testing.T) {
	for _, conduct := range []string{"done", "term"} {
		t.Run(conduct, func(t *testing.T) {
			if err := measure(t.Context(), t.Output(), options{n: 3, conduct: conduct, runtime: "process"}); err != nil {
				t.Fatal(err)
			}
		})
	}
}
