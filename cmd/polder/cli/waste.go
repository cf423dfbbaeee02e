package cli

import (
	"cmp"
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/waste"
)

func (a *app) wasteCmd() *cobra.Command {
	var (
		o     output
		since time.Duration
		kinds []string
	)
	cmd := &cobra.Command{
		Use: "waste [ROLE]", Short: "Say where the seconds of the pool went, and why some idled", Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.firstArg(roleNames),
		Long: `Say who used what over a time, and why nobody used the rest. Amounts are averages over the whole subtree, and

  GUARANTEE + BORROWED = USED + LENT + IDLE

  GUARANTEE  what its guarantee came to; the capacity, for the pool itself
  BORROWED   what its tasks held that its guarantee did not pay for
  USED       what its running tasks held
  LENT       what others held of its guarantee
  IDLE       what nobody used; WHY divides it by reason, and each second has one

The server remembers a day, and the last hour in steps of five minutes.`,
		Example: "  polder waste\n  polder waste corp/search --since 1h\n  polder waste --resource cpu -o wide\n  polder waste -o json",
	}
	o.register(cmd)
	cmd.Flags().DurationVar(&since, "since", 0, "how far to look back, as in 1h; 0 is since the server began")
	cmd.Flags().StringSliceVar(&kinds, "resource", nil, "only these `resources`, as in cpu,memory")
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		req := &polderv1.WasteRequest{Role: strings.TrimPrefix(strings.Join(args, ""), "/")}
		if since != 0 {
			req.Last = durationpb.New(since)
		}
		r, err := do(ctx, c.role.Waste, req)
		if err != nil {
			return err
		}
		if o.format != "table" && o.format != "wide" {
			return one(a.Out, o, rootName(req.Role), r, nil)
		}
		return a.printWaste(o, r, kinds)
	})
	return cmd
}

// printWaste prints the sentences and then the rows.
func (a *app) printWaste(o output, r *polderv1.WasteResponse, kinds []string) error {
	for _, s := range r.GetSummary() {
		fmt.Fprintln(a.Out, clean(sentence(s)))
	}
	fmt.Fprintln(a.Out)
	rows := slices.DeleteFunc(r.GetRows(), func(row *polderv1.WasteRow) bool {
		return len(kinds) > 0 && !slices.Contains(kinds, row.GetResource())
	})
	return list(a.Out, o, wasteView(r.GetTo().AsTime().Sub(r.GetFrom().AsTime())), rows, a.colour())
}

func wasteView(lasted time.Duration) view[*polderv1.WasteRow] {
	each := func(get func(*polderv1.WasteRow) string) func(*polderv1.WasteRow) string {
		return func(r *polderv1.WasteRow) string { return average(r.GetResource(), lasted, get(r)) }
	}
	exact := func(get func(*polderv1.WasteRow) string) func(*polderv1.WasteRow) string {
		return func(r *polderv1.WasteRow) string { return get(r) + " s" }
	}
	return view[*polderv1.WasteRow]{
		name: func(r *polderv1.WasteRow) string { return rootName(r.GetRole()) },
		columns: []column[*polderv1.WasteRow]{
			{head: "ROLE", cell: func(r *polderv1.WasteRow) string { return rootName(r.GetRole()) }},
			{head: "RESOURCE", cell: (*polderv1.WasteRow).GetResource},
			{head: "GUARANTEE", cell: each((*polderv1.WasteRow).GetGuarantee)},
			{head: "BORROWED", cell: each((*polderv1.WasteRow).GetBorrowed)},
			{head: "USED", cell: each((*polderv1.WasteRow).GetUsed)},
			{head: "LENT", cell: each((*polderv1.WasteRow).GetLent)},
			{head: "IDLE", cell: func(r *polderv1.WasteRow) string { return average(r.GetResource(), lasted, idleOf(r)...) }},
			{head: "HAD", wide: true, cell: exact((*polderv1.WasteRow).GetGuarantee)},
			{head: "HELD", wide: true, cell: exact((*polderv1.WasteRow).GetUsed)},
			{head: "WHY", cell: func(r *polderv1.WasteRow) string { return whyIdle(r, lasted) }},
		},
	}
}

// idleOf lists a row's idle quantities in the order of their reasons.
func idleOf(r *polderv1.WasteRow) []string {
	var out []string
	for _, reason := range waste.Reasons() {
		if q, ok := r.GetIdle()[reason.String()]; ok {
			out = append(out, q)
		}
	}
	return out
}

// whyIdle writes the reasons with what each comes to on average, the greatest first; what rounds to nothing is left out.
func whyIdle(r *polderv1.WasteRow, lasted time.Duration) string {
	type part struct {
		amount resource.Amount
		text   string
	}
	var parts []part
	for _, reason := range waste.Reasons() {
		if a := mean(r.GetResource(), lasted, r.GetIdle()[reason.String()]); a > 0 {
			parts = append(parts, part{a, resource.FormatValue(r.GetResource(), a) + " " + reason.Text()})
		}
	}
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(b.amount, a.amount) })
	var out []string
	for _, p := range parts {
		out = append(out, p.text)
	}
	return strings.Join(out, ", ")
}

// average writes sums of unit-seconds as an amount; "-" is nothing.
func average(name string, lasted time.Duration, quantities ...string) string {
	if a := mean(name, lasted, quantities...); a > 0 {
		return resource.FormatValue(name, a)
	}
	return none
}

// mean turns sums of unit-seconds into the amount that stood on average, rounded for people.
func mean(name string, lasted time.Duration, quantities ...string) resource.Amount {
	sum := new(big.Rat)
	for _, q := range quantities {
		if x, ok := new(big.Rat).SetString(q); ok {
			sum.Add(sum, x)
		}
	}
	if lasted <= 0 {
		return 0
	}
	_, kind := resource.SplitName(name)
	sum.Mul(sum, big.NewRat(resource.Scale(kind)*int64(time.Second), int64(lasted)))
	whole, _ := sum.Float64()
	return waste.Round(name, resource.Amount(whole+0.5))
}
