package cli

import (
	"context"

	"github.com/spf13/cobra"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// leaseCmd lists leases by itself and as "lease list".
func (a *app) leaseCmd() *cobra.Command {
	cmd := a.leaseListCmd("lease")
	cmd.AddCommand(a.leaseListCmd("list"))
	return cmd
}

func (a *app) leaseListCmd(use string) *cobra.Command {
	var l listing
	filter := &polderv1.LeaseServiceListRequest{}
	cmd := &cobra.Command{
		Use: use, Short: "List leases: who holds what, where, paid by whom", Args: cobra.NoArgs,
		Example: "  polder lease\n  polder lease list --borrowed --role corp/analytics\n  polder lease list --node node-3 -o wide",
	}
	f := cmd.Flags()
	f.StringVar(&filter.Role, "role", "", "only leases of this `role` and below")
	f.StringVar(&filter.Node, "node", "", "only leases on this `node`")
	f.BoolVar(&filter.Borrowed, "borrowed", false, "only leases that borrow")
	a.completeFlag(cmd, "role", roleNames)
	a.completeFlag(cmd, "node", nodeNames)
	l.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		return showList(ctx, a, l, a.leaseView(), func(ctx context.Context) ([]*polderv1.Lease, error) { return c.leases(ctx, filter) })
	})
	return cmd
}

// leases lists every lease that matches.
func (c *client) leases(ctx context.Context, filter *polderv1.LeaseServiceListRequest) ([]*polderv1.Lease, error) {
	leases, _, err := pages(ctx, func(ctx context.Context, token string) (page[*polderv1.Lease], error) {
		filter.PageSize, filter.PageToken = pageSize, token
		r, err := do(ctx, c.lease.List, filter)
		return page[*polderv1.Lease]{r.GetLeases(), r.GetNextPageToken(), r.GetRevision()}, err
	})
	return leases, err
}

func (a *app) leaseView() view[*polderv1.Lease] {
	type l = *polderv1.Lease
	return view[l]{(*polderv1.Lease).GetTask, []column[l]{
		{head: "TASK", cell: (*polderv1.Lease).GetTask},
		{head: "ROLE", cell: (*polderv1.Lease).GetRole},
		{head: "NODE", cell: (*polderv1.Lease).GetNode},
		{head: "RESOURCES", cell: func(l l) string { return amounts(l.GetResources()) }},
		{head: "PAID BY", cell: (*polderv1.Lease).GetFunding},
		{head: "NOTICE", cell: func(l l) string { return span(l.GetReclaimGrace()) }},
		{head: "HOLD", wide: true, cell: func(l l) string { return span(l.GetHold()) }},
		{head: "LEAVES", cell: func(l l) string { return a.until(l.GetLeavesBy()) }},
		{head: "AGE", cell: func(l l) string { return a.age(l.GetSince()) }},
	}}
}
