package server

import (
	"testing"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// TestUsed: what tasks use is what their own node's agent said last, until its session is over.
func TestUsed(t *testing.T) {
	u := newUsed()
	first, second := &session{node: "n1"}, &session{node: "n1"}
	beat := func(cpu float64) *polderv1.Heartbeat {
		return &polderv1.Heartbeat{Usage: map[string]*polderv1.TaskUsage{"a.0": {CpuSeconds: cpu}}}
	}
	want := func(why, node string, cpu float64) {
		t.Helper()
		if got := u.of(node, "a.0").GetCpuSeconds(); got != cpu {
			t.Errorf("%s: %v, want %v", why, got, cpu)
		}
	}
	want("nobody has said anything", "n1", 0)
	u.said(first, beat(1))
	u.said(first, beat(2))
	want("the last heartbeat counts", "n1", 2)
	want("another node says nothing of it", "n2", 0)
	u.said(second, beat(3))
	u.over(first)
	want("the session that took over speaks", "n1", 3)
	u.over(second)
	want("it is over", "n1", 0)
}
