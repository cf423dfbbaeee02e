package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
)

func load(t *testing.T, name string) *Scenario {
	t.Helper()
	data, err := ShippedText(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestShipped plays every scenario that comes with Polder: each states what it expects.
func TestShipped(t *testing.T) {
	for _, name := range Shipped() {
		t.Run(name, func(t *testing.T) {
			r, err := Run(context.Background(), load(t, name), Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Findings {
				if !f.Held {
					t.Errorf("%s: found %s at %s, want at least %q and at most %q", f.Name, f.Found, f.At, f.Least, f.Most)
				}
			}
			for _, v := range r.Violations {
				t.Error(v)
			}
			checkLedger(t, r)
			if testing.Verbose() {
				short := *r
				short.Plot = Plot{}
				text, _ := json.MarshalIndent(short, "", " ")
				t.Logf("%s", text)
			}
		})
	}
}

// TestSameSeedSameTrace plays a scenario twice.
func TestSameSeedSameTrace(t *testing.T) {
	var traces [3]bytes.Buffer
	for i, seed := range []uint64{7, 7, 8} {
		s := load(t, "rack-loss")
		if _, err := Run(context.Background(), s, Options{Seed: seed, Trace: &traces[i]}); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(traces[0].Bytes(), traces[1].Bytes()) {
		t.Error("the same seed gave two traces")
	}
	if bytes.Equal(traces[0].Bytes(), traces[2].Bytes()) {
		t.Error("another seed gave the same trace")
	}
}
