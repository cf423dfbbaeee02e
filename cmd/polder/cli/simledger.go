package cli

import (
	"fmt"
	"strings"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/sim"
)

// printLedger says where the hours of the first resource went, and of the others what idled.
func (a *app) printLedger(r *sim.Report) error {
	fmt.Fprintln(a.Out)
	for _, row := range r.Ledger.Pool() {
		fmt.Fprintf(a.Out, "%s.\n", row.Why)
	}
	if r.Ledger.Leaderless != "" {
		fmt.Fprintf(a.Out, "For %s there was no leader to keep the book.\n", r.Ledger.Leaderless)
	}
	if len(r.Pool) == 0 {
		return nil
	}
	fmt.Fprintln(a.Out)
	var rows [][]string
	for _, row := range r.Ledger.Of(r.Pool[0].Resource) {
		cells := []string{rootName(row.Role)}
		for _, e := range append(row.Sources(), append(row.Uses(), row.Idled())...) {
			cells = append(cells, hours(row.Resource, e.Hours))
		}
		rows = append(rows, append(cells, whyHours(&row)))
	}
	heads := []string{"ROLE", strings.ToUpper(r.Pool[0].Resource) + " HOURS: GUARANTEE", "+ BORROWED", "= USED", "+ LENT", "+ IDLE", "WHY"}
	return table(a.Out, output{}, heads, rows, a.colour())
}

// whyHours writes why hours were idle, the greatest part first.
func whyHours(row *sim.LedgerRow) string {
	var out []string
	for _, e := range row.Reasons() {
		if text := hours(row.Resource, e.Hours); text != none {
			out = append(out, text+" "+e.Text)
		}
	}
	return strings.Join(out, ", ")
}

// hours writes hours of one for people; what rounds to nothing is "-".
func hours(name string, h float64) string {
	_, kind := resource.SplitName(name)
	if resource.Scale(kind) > 1 && h < 0.05 || h == 0 {
		return none
	}
	if h < 1000 {
		return fmt.Sprintf("%.1f", h)
	}
	return sim.Short(h)
}
