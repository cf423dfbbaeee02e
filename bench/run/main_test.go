package main

import (
	"os"
	"strings"
	"testing"

	"polder.dev/polder/bench"
)

// TestRefusedRunFails: what the referee objects to is in the table that is written, and makes the program fail.
func TestRefusedRunFails(t *testing.T) {
	table := t.TempDir() + "/table.md"
	good := bench.Result{Workload: "W1 fill", Case: "wide", Units: 1, Unit: "placement"}
	if err := write([]bench.Result{good}, table, ""); err != nil {
		t.Errorf("a good run fails: %v", err)
	}
	bad := good
	bad.Faults = []string{"machine n1: 9 of cpu used, it has 8"}
	if err := write([]bench.Result{good, bad}, table, ""); err == nil || !strings.Contains(err.Error(), "machine n1") {
		t.Errorf("the error of a refused run is %v, it should name the fault", err)
	}
	if data, err := os.ReadFile(table); err != nil || !strings.Contains(string(data), "REFUSED") {
		t.Errorf("%v; the table is\n%s", err, data)
	}
}
