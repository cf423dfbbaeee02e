package sim

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
)

// TestRandom plays a few clusters drawn by chance; "make seeds" plays ten thousand.
func TestRandom(t *testing.T) {
	sum, err := RunRandom(context.Background(), 1_000_000, 15, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range sum.Failed {
		t.Errorf("seed %d: %v %v", f.Seed, f.Findings, f.Violations)
	}
	if sum.Seeds != 15 || sum.Notices == 0 || sum.Faults == 0 {
		t.Errorf("%d seeds with %d notices and %d faults", sum.Seeds, sum.Notices, sum.Faults)
	}
}

// TestRandomKept plays again the random clusters that found something once; each file says what.
func TestRandomKept(t *testing.T) {
	files, _ := filepath.Glob("testdata/random/*.yaml")
	if len(files) == 0 {
		t.Fatal("there are no files")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		r, err := Run(context.Background(), s, Options{CheckEvery: 1})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Held() {
			t.Errorf("%s: %v %v", file, r.Findings, r.Violations)
		}
	}
}

// TestRandomReadsBack checks that a random scenario is the same when its text is read again.
func TestRandomReadsBack(t *testing.T) {
	for seed := range uint64(50) {
		a, err := RandomText(seed)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := RandomText(seed); err != nil || !bytes.Equal(a, b) {
			t.Errorf("seed %d is drawn differently twice: %v", seed, err)
		}
		if _, err := Parse(a); err != nil {
			t.Errorf("seed %d cannot be read back: %v", seed, err)
		}
	}
}
