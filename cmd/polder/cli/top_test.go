package cli

import (
	"testing"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// TestTopIdle: what nobody uses of the first two kinds the pool has, and nothing where more is used than is there.
func TestTopIdle(t *testing.T) {
	type amounts = map[string]string
	for _, c := range []struct {
		whole, used amounts
		want        string
	}{
		{nil, nil, ""},
		{amounts{"cpu": "16"}, nil, "16 cpu"},
		{amounts{"cpu": "16", "memory": "64Gi", "gpu": "2"}, amounts{"cpu": "3500m", "memory": "4Gi"}, "12.5 cpu, 60Gi memory"},
		{amounts{"cpu": "2", "memory": "4Gi"}, amounts{"cpu": "3", "memory": "4Gi"}, "0 cpu, 0 memory"},
	} {
		if got := topIdle(&polderv1.RoleStatus{Entitlement: c.whole, Usage: c.used}); got != c.want {
			t.Errorf("of %v, used %v: idle %q, want %q", c.whole, c.used, got, c.want)
		}
	}
}
