package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// auditOptions are the flags of audit.
type auditOptions struct {
	output
	role, who, outcome, find string
	since                    time.Duration
	most                     int
}

func (a *app) auditCmd() *cobra.Command {
	o := auditOptions{most: 100}
	cmd := &cobra.Command{
		Use: "audit", Short: "Print who changed what, and who was refused", Args: cobra.NoArgs,
		Long: `Print the audit trail of the server that answers, oldest first: the last --last entries that match. It is written before
anything is changed and outlives the server; every server of a cluster has its own. It takes the verb admin on the role, or on
the root for all of it.`,
		Example: "  polder audit\n  polder audit --outcome denied --since 24h\n  polder audit --role corp/search --who user:ann -o json",
	}
	f := cmd.Flags()
	f.StringVar(&o.role, "role", "", "only what concerns this `role` and those below it")
	f.StringVar(&o.who, "who", "", "only what this `caller` did, as in user:ann")
	f.Var(&choice{&o.outcome, []string{"", "allowed", "denied", "failed"}}, "outcome", "only with this `outcome`: allowed, denied or failed")
	f.StringVar(&o.find, "find", "", "only entries with this `word` in caller, object, role or reason")
	f.DurationVar(&o.since, "since", 0, "only the last `time`, as in 24h")
	f.IntVar(&o.most, "last", o.most, "most entries; 0 is all there are")
	a.completeFlag(cmd, "role", roleNames)
	complete(cmd, "outcome", "allowed", "denied", "failed")
	o.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.most < 0 || o.since < 0 {
			return usageError(cmd, errAtLeast("--last and --since", 0))
		}
		return a.call(func(ctx context.Context, c *client, _ []string) error {
			entries, err := a.audit(ctx, c, o)
			if err != nil {
				return err
			}
			return list(a.Out, o.output, auditView(), entries, a.colour())
		})(cmd, args)
	}
	return cmd
}

// audit reads the newest entries that match, and returns them oldest first.
func (a *app) audit(ctx context.Context, c *client, o auditOptions) ([]*polderv1.AuditEntry, error) {
	req := &polderv1.AuditServiceListRequest{Role: o.role, Who: o.who, Outcome: o.outcome, Find: o.find, PageSize: pageSize}
	if o.since > 0 {
		req.Since = timestamppb.New(a.now().Add(-o.since))
	}
	var out []*polderv1.AuditEntry
	for {
		if o.most > 0 {
			req.PageSize = int32(min(pageSize, o.most-len(out)))
		}
		r, err := do(ctx, c.audits.List, req)
		if err != nil {
			return nil, err
		}
		out = append(out, r.GetEntries()...)
		if req.PageToken = r.GetNextPageToken(); req.PageToken == "" || o.most > 0 && len(out) >= o.most {
			slices.Reverse(out)
			return out, nil
		}
	}
}

func auditView() view[*polderv1.AuditEntry] {
	type e = *polderv1.AuditEntry
	return view[e]{(*polderv1.AuditEntry).GetRequest, []column[e]{
		{head: "TIME", cell: func(e e) string { return stamp(e.GetTime()) }},
		{head: "WHO", cell: (*polderv1.AuditEntry).GetWho},
		{head: "VERB", cell: (*polderv1.AuditEntry).GetVerb},
		{head: "OBJECT", cell: (*polderv1.AuditEntry).GetObject},
		{head: "ROLE", cell: func(e e) string { return rootName(e.GetRole()) }},
		{head: "OUTCOME", cell: (*polderv1.AuditEntry).GetOutcome},
		{head: "FROM", wide: true, cell: (*polderv1.AuditEntry).GetRemote},
		{head: "REQUEST", wide: true, cell: (*polderv1.AuditEntry).GetRequest},
		{head: "WHY", cell: (*polderv1.AuditEntry).GetReason},
	}}
}
