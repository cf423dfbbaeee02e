package sim

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestSeeds plays again what found something once.
func TestSeeds(t *testing.T) {
	data, err := os.ReadFile("testdata/seeds.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		seed, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		r, err := Run(context.Background(), load(t, f[0]), Options{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Held() {
			t.Errorf("%s: %v %v", strings.TrimSpace(line), r.Findings, r.Violations)
		}
	}
}
