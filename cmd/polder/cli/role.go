package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	polderv1 "polder.dev/polder/api/polder/v1"
)

func (a *app) roleCmd() *cobra.Command {
	return a.noun("role", "Show who is guaranteed, uses, lends and borrows what", "  polder role tree\n  polder role get corp/search", a.roleTreeCmd(), a.roleGetCmd())
}

// roles lists a role and everything below it, parents first; "" is the whole tree.
func (c *client) roles(ctx context.Context, under string) ([]*polderv1.RoleStatus, error) {
	roles, _, err := pages(ctx, func(ctx context.Context, token string) (page[*polderv1.RoleStatus], error) {
		r, err := do(ctx, c.role.List, &polderv1.RoleServiceListRequest{Under: under, PageSize: pageSize, PageToken: token})
		return page[*polderv1.RoleStatus]{r.GetRoles(), r.GetNextPageToken(), r.GetRevision()}, err
	})
	return roles, err
}

// roleExists fails as not found for a path the plan does not have.
func (c *client) roleExists(ctx context.Context, path string) error {
	_, err := do(ctx, c.role.Get, &polderv1.RoleServiceGetRequest{Path: strings.TrimPrefix(path, "/")})
	return err
}

func rolePath(r *polderv1.RoleStatus) string { return rootName(r.GetEffective().GetPath()) }

// rootName writes the path of a role; the root, whose path is empty, is "/".
func rootName(path string) string { return first(path, "/") }

func (a *app) roleTreeCmd() *cobra.Command {
	var (
		l     listing
		kinds []string
	)
	cmd := &cobra.Command{
		Use: "tree [ROLE]", Aliases: []string{"list", "ls"}, Short: "Draw the role tree with what each role has", Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.firstArg(roleNames),
		Long: `Draw the role tree, one line for each resource of each role. Amounts cover the whole subtree.

  GUARANTEE  what it gets whenever it asks, within T
  USED       what its tasks hold: FUNDED by its own guarantee, the rest BORROWED
  LENT       its idle guarantee that others use now
  DEMAND     running plus waiting, within limits
  T          longest time a claim inside the guarantee waits for borrowed capacity to come back`,
		Example: "  polder role tree\n  polder role tree corp/search --resource cpu --watch\n  polder role tree -o wide",
	}
	cmd.Flags().StringSliceVar(&kinds, "resource", nil, "only these `resources`, as in cpu,memory")
	l.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		under := strings.TrimPrefix(strings.Join(args, ""), "/")
		if under != "" {
			if err := c.roleExists(ctx, under); err != nil {
				return err
			}
		}
		if l.format != "table" && l.format != "wide" {
			return showList(ctx, a, l, roleView(), func(ctx context.Context) ([]*polderv1.RoleStatus, error) { return c.roles(ctx, under) })
		}
		return showList(ctx, a, l, treeView(), func(ctx context.Context) ([]*treeLine, error) {
			roles, err := c.roles(ctx, under)
			return drawTree(roles, kinds), err
		})
	})
	return cmd
}

// roleView names roles for the formats that print whole messages.
func roleView() view[*polderv1.RoleStatus] { return view[*polderv1.RoleStatus]{name: rolePath} }

func (a *app) roleGetCmd() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "get ROLE", Short: "Show one role", Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(roleNames),
		Example: "  polder role get corp/search\n  polder role get corp/search -o json",
	}
	o.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		r, err := do(ctx, c.role.Get, &polderv1.RoleServiceGetRequest{Path: strings.TrimPrefix(args[0], "/")})
		if err != nil {
			return err
		}
		return one(a.Out, o, rolePath(r), r, roleFields(r))
	})
	return cmd
}

func roleFields(r *polderv1.RoleStatus) []field {
	e := r.GetEffective()
	return []field{
		{"Role", rootName(e.GetPath())},
		{"Guarantee", amounts(e.GetGuarantee())},
		{"In packages", packages(r.GetPackages())},
		{"Limit", amounts(e.GetLimit())},
		{"Lend", amounts(e.GetLend())},
		{"Borrow", amounts(e.GetBorrow())},
		{"Kept warm", amounts(e.GetWarm())},
		{"Weight", strconv.FormatFloat(e.GetWeight(), 'g', -1, 64)},
		{"Priority", count(e.GetPriority())},
		{"Notice its tasks get", span(e.GetReclaimGrace())},
		{"Longest hold it lends to", span(e.GetLendGrace())},
		{"Least run time", span(e.GetMinRuntime())},
		{"T", span(e.GetReclaimBound())},
		{"Used", amounts(r.GetUsage())},
		{"Funded", amounts(r.GetFunded())},
		{"Borrowed", amounts(r.GetBorrowed())},
		{"Lent", amounts(r.GetLent())},
		{"Leaving", amounts(r.GetLeaving())},
		{"Entitled to", amounts(r.GetEntitlement())},
		{"Demand", amounts(r.GetDemand())},
		{"Tasks", count(r.GetRunning()) + " running, " + count(r.GetPending()) + " pending"},
	}
}

// packages writes a guarantee in whole packages: "4 × cpu=16,memory=64Gi, kept on n1, n2, n2; 1 finds no node".
func packages(all []*polderv1.Packages) string {
	var parts []string
	for _, p := range all {
		text := fmt.Sprintf("%d × %s", p.GetCount(), amounts(p.GetUnit()))
		if nodes := p.GetNodes(); len(nodes) > 0 {
			text += ", kept on " + strings.Join(nodes, ", ")
		}
		if n := p.GetHomeless(); n > 0 {
			text += fmt.Sprintf("; for %d of them no node has room", n)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// kindsOf lists the resources that matter to a role, in order.
func kindsOf(r *polderv1.RoleStatus, only []string) []string {
	all := map[string]string{}
	e := r.GetEffective()
	for _, m := range []map[string]string{e.GetGuarantee(), r.GetUsage(), r.GetFunded(), r.GetBorrowed(), r.GetLent(), r.GetEntitlement(), r.GetDemand(), r.GetLeaving()} {
		for k := range m {
			all[k] = ""
		}
	}
	kinds := sortedKinds(all)
	if len(only) > 0 {
		kinds = slices.DeleteFunc(kinds, func(k string) bool { return !slices.Contains(only, k) })
	}
	return kinds
}
