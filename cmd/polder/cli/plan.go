package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
)

func (a *app) planCmd() *cobra.Command {
	cmd := a.noun("plan", "Read and change the plan: the role tree and its calendar", "  polder plan get > plan.yaml\n  polder plan preview -f plan.yaml\n  polder plan apply -f plan.yaml",
		a.planGetCmd(), a.planValidateCmd(), a.planPreviewCmd(), a.planDiffCmd(), a.planApplyCmd(), a.planShowCmd(), a.planHistoryCmd(), a.planVerifyCmd(), a.planReplayCmd())
	cmd.Long = planLong
	return cmd
}

const planLong = `Read and change the plan: the role tree and its calendar. A plan is one YAML document:

  roles     path: guarantee, unit, limit, weight, priority, lend, borrow, reclaimGrace, lendGrace, minRuntime
  windows   name, when (from and to, daily, weekly or monthly; tz), lead, warm, rebalance, set: path: the fields of a role
  pools     name, selector: attribute: value
  cluster   reclaimDelay, rebalance, tolerance

Only roles is required, and every field in it may be left out. docs/plan.md says what each means, with an example.`

// planFile adds the flag that names a plan and returns how to read it.
func (a *app) planFile(cmd *cobra.Command) func() (string, error) {
	file := cmd.Flags().StringP("file", "f", "", "`file` with the plan in YAML; - is standard input (required)")
	return func() (string, error) {
		if *file == "" {
			return "", usageError(cmd, errors.New("which plan? Give -f FILE"))
		}
		r, err := a.open(*file)
		if err != nil {
			return "", err
		}
		defer r.Close()
		data, err := io.ReadAll(r)
		if err == nil && !utf8.Valid(data) {
			err = fail(exitUsage, "Save it as UTF-8 text.", "%s is not UTF-8", *file)
		}
		return string(data), err
	}
}

func (a *app) planGetCmd() *cobra.Command {
	var revision int64
	cmd := &cobra.Command{
		Use: "get", Short: "Print the plan in force as YAML", Args: cobra.NoArgs,
		Example: "  polder plan get > plan.yaml\n  polder plan get --revision 3",
	}
	cmd.Flags().Int64Var(&revision, "revision", 0, "an older `revision`; 0 is the newest")
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		r, err := do(ctx, c.plan.Get, &polderv1.PlanServiceGetRequest{Revision: revision})
		if err != nil {
			return err
		}
		_, err = io.WriteString(a.Out, r.GetYaml())
		return err
	})
	return cmd
}

func (a *app) planValidateCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "validate -f FILE", Short: "Check a plan without changing anything", Args: cobra.NoArgs,
		Example: "  polder plan validate -f plan.yaml",
	}
	read := a.planFile(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		text, err := read()
		if err != nil {
			return err
		}
		r, err := do(ctx, c.plan.Validate, &polderv1.ValidateRequest{Plan: text})
		if err != nil {
			return err
		}
		if err := a.problems(r.GetProblems()); err != nil {
			return err
		}
		fmt.Fprintln(a.Out, "the plan is good")
		return nil
	})
	return cmd
}

// problems prints what is wrong with a plan; fatal ones are an error.
func (a *app) problems(all []*polderv1.PlanProblem) error {
	fatal := 0
	for _, p := range all {
		kind := "warning"
		if p.GetFatal() {
			kind = "error"
			fatal++
		}
		where := p.GetPath()
		if p.GetLine() > 0 {
			where = fmt.Sprintf("line %d, %s", p.GetLine(), where)
		}
		fmt.Fprintf(a.Err, "%s: %s: %s\n", kind, clean(where), clean(p.GetMessage()))
	}
	switch fatal {
	case 0:
		return nil
	case 1:
		return fail(exitUsage, "Correct it and try again.", "the plan has an error")
	}
	return fail(exitUsage, "Correct them and try again.", "the plan has %d errors", fatal)
}

func (a *app) planPreviewCmd() *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use: "preview (-f FILE | --at INSTANT)", Short: "Say what a plan would change, and who would be asked to leave", Args: cobra.NoArgs,
		Long: `Say what a plan would change, and who would be asked to leave, without changing anything. With --at it is looked at an instant to come,
with the windows open then: what roles have then that they do not have now, and who would have to be gone by then if what runs and what
waits is the same. Without -f it is the plan in force.`,
		Example: "  polder plan preview -f plan.yaml\n  polder plan preview --at 2026-11-11T00:00\n  polder plan preview -f plan.yaml --at +8h",
	}
	read := a.planFile(cmd)
	cmd.Flag("file").Usage = "`file` with the plan in YAML; - is standard input (default with --at: the plan in force)"
	cmd.Flags().StringVar(&at, "at", "", "`instant`: 2026-11-11T00:00 (local), 2026-11-10T16:00:00Z, or from now as in +8h (default now)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		instant, err := a.instant(at)
		if err != nil {
			return usageError(cmd, err)
		}
		return a.call(func(ctx context.Context, c *client, _ []string) error {
			req := &polderv1.PreviewRequest{At: instant}
			if instant == nil || cmd.Flags().Changed("file") {
				var err error
				if req.Plan, err = read(); err != nil {
					return err
				}
			}
			_, err := a.preview(ctx, c, req)
			return err
		})(cmd, args)
	}
	return cmd
}

// preview prints what the plan would change and returns the answer.
func (a *app) preview(ctx context.Context, c *client, req *polderv1.PreviewRequest) (*polderv1.PreviewResponse, error) {
	r, err := do(ctx, c.plan.Preview, req)
	if err != nil {
		return nil, err
	}
	if err := a.problems(r.GetProblems()); err != nil {
		return nil, err
	}
	if req.At != nil {
		fmt.Fprintf(a.Out, "at %s, windows open: %s\n", stamp(req.GetAt()), clean(cmp.Or(strings.Join(r.GetWindows(), ", "), "none")))
	}
	if err := a.planChanges(r.GetChanges()); err != nil {
		return nil, err
	}
	if len(r.GetNotices()) == 0 {
		fmt.Fprintln(a.Out, "nobody would be asked to leave")
		return r, nil
	}
	fmt.Fprintf(a.Out, "\n%s would be asked to leave:\n", taskCount(int32(len(r.GetNotices()))))
	return r, list(a.Out, output{format: "table"}, a.noticeView(), r.GetNotices(), a.colour())
}

func (a *app) planChanges(changes []*polderv1.PlanChange) error {
	if len(changes) == 0 {
		fmt.Fprintln(a.Out, "no role changes")
		return nil
	}
	return list(a.Out, output{format: "table"}, changeView(), changes, a.colour())
}

func changeView() view[*polderv1.PlanChange] {
	return view[*polderv1.PlanChange]{
		name: func(c *polderv1.PlanChange) string { return c.GetPath() + " " + c.GetField() },
		columns: []column[*polderv1.PlanChange]{
			{head: "ROLE", cell: func(c *polderv1.PlanChange) string { return rootName(c.GetPath()) }},
			{head: "FIELD", cell: (*polderv1.PlanChange).GetField},
			{head: "FROM", cell: (*polderv1.PlanChange).GetFrom},
			{head: "TO", cell: (*polderv1.PlanChange).GetTo},
		},
	}
}

// applyOptions are the flags of "plan apply".
type applyOptions struct {
	base         int64
	comment      string
	sure, dryRun bool
}

func (a *app) planApplyCmd() *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "Make a plan the one in force", Args: cobra.NoArgs,
		Long: `Make a plan the one in force, after showing what it changes. It is applied only on top of the revision it was shown
against: when somebody else was faster the command exits with 5 and nothing has changed.`,
		Example: "  polder plan apply -f plan.yaml\n  polder plan apply -f plan.yaml --base-revision 7 --yes --comment 'more for search'",
	}
	read := a.planFile(cmd)
	f := cmd.Flags()
	f.Int64Var(&o.base, "base-revision", -1, "`revision` the change was made from (default the newest)")
	f.StringVar(&o.comment, "comment", "", "`text` kept in the history")
	f.BoolVar(&o.sure, "yes", false, "do not ask")
	f.BoolVar(&o.dryRun, "dry-run", false, "only show what would change")
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		text, err := read()
		if err != nil {
			return err
		}
		return a.apply(ctx, c, o, text)
	})
	return cmd
}

func (a *app) apply(ctx context.Context, c *client, o applyOptions, text string) error {
	p, err := a.preview(ctx, c, &polderv1.PreviewRequest{Plan: text})
	if err != nil || o.dryRun {
		return err
	}
	if o.base < 0 {
		o.base = p.GetBaseRevision()
	}
	if err := a.confirm(ctx, o.sure, fmt.Sprintf("Apply this on top of revision %d?", o.base)); err != nil {
		return err
	}
	r, err := do(ctx, c.plan.Apply, &polderv1.ApplyRequest{Plan: text, BaseRevision: o.base, Comment: o.comment})
	if conflict(err) {
		return fail(exitConflict, "See what changed with \"polder plan history\", bring it into your file, and apply again.",
			"the plan is not at revision %d any more; nothing was changed", o.base)
	}
	if err != nil {
		return err
	}
	if err := a.problems(r.GetWarnings()); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "applied as revision %d\n", r.GetRevision().GetRevision())
	return nil
}

func (a *app) planDiffCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "diff (-f FILE | REVISION [REVISION])", Short: "Compare plans", Args: cobra.MaximumNArgs(2),
		Long:    "Compare a file with the plan in force, role by role; or one revision with the newest, or two revisions, line by line.",
		Example: "  polder plan diff -f plan.yaml\n  polder plan diff 6\n  polder plan diff 3 6",
	}
	read := a.planFile(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		if len(args) > 0 {
			return a.diffRevisions(ctx, c, cmd, args)
		}
		text, err := read()
		if err != nil {
			return err
		}
		r, err := do(ctx, c.plan.Preview, &polderv1.PreviewRequest{Plan: text})
		if err != nil {
			return err
		}
		if err := a.problems(r.GetProblems()); err != nil {
			return err
		}
		return a.planChanges(r.GetChanges())
	})
	return cmd
}

func (a *app) diffRevisions(ctx context.Context, c *client, cmd *cobra.Command, args []string) error {
	var texts []string
	for _, arg := range append(args, "0")[:2] {
		var n int64
		if _, err := fmt.Sscanf(arg+"\n", "%d\n", &n); err != nil || n < 0 {
			return usageError(cmd, fmt.Errorf("revision %q is not a number", arg))
		}
		r, err := do(ctx, c.plan.Get, &polderv1.PlanServiceGetRequest{Revision: n})
		if err != nil {
			return err
		}
		texts = append(texts, strings.TrimSuffix(r.GetYaml(), "\n"))
	}
	for _, line := range diffLines(strings.Split(texts[0], "\n"), strings.Split(texts[1], "\n")) {
		fmt.Fprintln(a.Out, line)
	}
	return nil
}

func (a *app) planShowCmd() *cobra.Command {
	var (
		o  output
		at string
	)
	cmd := &cobra.Command{
		Use: "show", Short: "Print the role tree as it is in force at an instant", Args: cobra.NoArgs,
		Long:    "Print the role tree as it is, was or will be in force at an instant, with the calendar windows open then.",
		Example: "  polder plan show\n  polder plan show --at 2026-11-11T00:00\n  polder plan show --at +8h",
	}
	cmd.Flags().StringVar(&at, "at", "", "`instant`: 2026-11-11T00:00 (local), 2026-11-10T16:00:00Z, or from now as in +8h (default now)")
	o.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		instant, err := a.instant(at)
		if err != nil {
			return usageError(cmd, err)
		}
		return a.call(func(ctx context.Context, c *client, _ []string) error {
			r, err := do(ctx, c.plan.Show, &polderv1.ShowRequest{At: instant})
			if err != nil {
				return err
			}
			return a.printPlan(o, r)
		})(cmd, args)
	}
	return cmd
}

// instant reads what --at accepts; empty is nil, which the server takes as now.
func (a *app) instant(text string) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil
	}
	if d, err := time.ParseDuration(text); err == nil && strings.HasPrefix(text, "+") {
		return timestamppb.New(a.now().Add(d)), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return timestamppb.New(t), nil
		}
	}
	return nil, fmt.Errorf("--at %q: write 2026-11-11T00:00, 2026-11-10T16:00:00Z or +8h", text)
}

func (a *app) printPlan(o output, r *polderv1.ShowResponse) error {
	switch o.format {
	case "json", "yaml":
		return one(a.Out, o, "", r, nil)
	case "name":
		return list(a.Out, o, effectiveView(), r.GetRoles(), false)
	}
	fmt.Fprintf(a.Out, "in force at %s", stamp(r.GetAt()))
	if len(r.GetWindows()) > 0 {
		fmt.Fprintf(a.Out, ", windows open: %s", clean(strings.Join(r.GetWindows(), ", ")))
	}
	if r.GetNextChange() != nil {
		fmt.Fprintf(a.Out, ", changes at %s", stamp(r.GetNextChange()))
	}
	fmt.Fprintln(a.Out)
	return list(a.Out, o, effectiveView(), r.GetRoles(), a.colour())
}

func effectiveView() view[*polderv1.EffectiveRole] {
	type e = *polderv1.EffectiveRole
	path := func(e e) string { return rootName(e.GetPath()) }
	return view[e]{path, []column[e]{
		{head: "ROLE", cell: path},
		{head: "GUARANTEE", cell: func(e e) string { return amounts(e.GetGuarantee()) }},
		{head: "LIMIT", cell: func(e e) string { return amounts(e.GetLimit()) }},
		{head: "LEND", wide: true, cell: func(e e) string { return amounts(e.GetLend()) }},
		{head: "BORROW", wide: true, cell: func(e e) string { return amounts(e.GetBorrow()) }},
		{head: "WARM", wide: true, cell: func(e e) string { return amounts(e.GetWarm()) }},
		{head: "PRIORITY", cell: func(e e) string { return count(e.GetPriority()) }},
		{head: "WEIGHT", cell: func(e e) string { return fmt.Sprintf("%g", e.GetWeight()) }},
		{head: "NOTICE", cell: func(e e) string { return span(e.GetReclaimGrace()) }},
		{head: "LENDS TO", cell: func(e e) string { return span(e.GetLendGrace()) }},
		{head: "MIN RUN", wide: true, cell: func(e e) string { return span(e.GetMinRuntime()) }},
		{head: "T", cell: func(e e) string { return span(e.GetReclaimBound()) }},
	}}
}

func (a *app) planHistoryCmd() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use: "history", Short: "List past revisions of the plan, newest first", Args: cobra.NoArgs,
		Example: "  polder plan history\n  polder plan history -o json",
	}
	l.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		return showList(ctx, a, l, revisionView(), func(ctx context.Context) ([]*polderv1.PlanRevision, error) {
			all, _, err := pages(ctx, func(ctx context.Context, token string) (page[*polderv1.PlanRevision], error) {
				r, err := do(ctx, c.plan.History, &polderv1.HistoryRequest{PageSize: pageSize, PageToken: token})
				return page[*polderv1.PlanRevision]{items: r.GetRevisions(), next: r.GetNextPageToken()}, err
			})
			return all, err
		})
	})
	return cmd
}

func revisionView() view[*polderv1.PlanRevision] {
	type r = *polderv1.PlanRevision
	number := func(r r) string { return count(r.GetRevision()) }
	return view[r]{number, []column[r]{
		{head: "REVISION", cell: number},
		{head: "APPLIED", cell: func(r r) string { return stamp(r.GetApplied()) }},
		{head: "BY", cell: (*polderv1.PlanRevision).GetAppliedBy},
		{head: "COMMENT", cell: (*polderv1.PlanRevision).GetComment},
	}}
}
