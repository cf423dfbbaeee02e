package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// Result is what one run of a workload came to.
type Result struct {
	Workload, Case string
	Agents, Roles  int
	Cost
	Units  int    // how much was done
	Unit   string // one of it
	Bytes  uint64 `json:",omitempty"` // memory at rest
	Note   string
	Faults []string `json:",omitempty"` // what the referee objects to
}

// Per is the CPU time of one unit.
func (r Result) Per() time.Duration {
	if r.Units == 0 {
		return 0
	}
	return r.CPU / time.Duration(r.Units)
}

// Rate is the units done in a second of CPU time; nothing for a run that the referee objects to.
func (r Result) Rate() float64 {
	if r.CPU <= 0 || len(r.Faults) > 0 {
		return 0
	}
	return float64(r.Units) / r.CPU.Seconds()
}

func (r *Result) judge(s *Stage) {
	r.Faults = append(r.Faults, Judge(s.market.Nodes, s.market.Plan, s.now, s.Tasks())...)
}

// WriteMarkdown writes results as one table, with the share of the bound where one is given.
func WriteMarkdown(w io.Writer, results []Result) {
	fmt.Fprintln(w, "| workload | case | agents | roles | CPU per unit | units/CPU-s | of bound | CPU | wall | units | memory | notes |")
	fmt.Fprintln(w, "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|")
	for _, r := range results {
		note := r.Note
		if len(r.Faults) > 0 {
			note = "**REFUSED by the referee:** " + strings.Join(r.Faults[:min(3, len(r.Faults))], "; ")
		}
		fmt.Fprintf(w, "| %s | %s | %d | %d | %s | %s | %s | %s | %s | %d %s | %s | %s |\n", r.Workload, r.Case, r.Agents, r.Roles, r.perUnit(), count(r.Rate()),
			shareOfBound(r, results), short(r.CPU), short(r.Wall), r.Units, r.Unit, memory(r.Bytes), note)
	}
}

// perUnit is the CPU time of one unit in words; nothing for what took none.
func (r Result) perUnit() string {
	switch {
	case r.CPU == 0:
		return ""
	case r.Per() == 0:
		return "under 1 ns"
	}
	return short(r.Per())
}

// WriteJSON writes results for programs.
func WriteJSON(w io.Writer, results []Result) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(results)
}

func short(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d)
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.2f µs", float64(d)/float64(time.Microsecond))
	case d < time.Millisecond:
		return fmt.Sprintf("%.1f µs", float64(d)/float64(time.Microsecond))
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < 10*time.Second:
		return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func count(x float64) string {
	if x >= 1e4 {
		return fmt.Sprintf("%.0fk", x/1000)
	}
	return fmt.Sprintf("%.0f", x)
}

func percent(x float64) string {
	if x < 0.1 {
		return fmt.Sprintf("%.2g %%", 100*x)
	}
	return fmt.Sprintf("%.0f %%", 100*x)
}

func memory(b uint64) string {
	if b == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f MiB", float64(b)/(1<<20))
}
