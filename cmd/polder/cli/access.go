package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	polderv1 "polder.dev/polder/api/polder/v1"
)

func (a *app) accessCmd() *cobra.Command {
	return a.noun("access", "Show and change who may do what", "  polder access whoami\n  polder access can-i run corp/search",
		a.whoamiCmd(), a.canICmd(), a.accessGetCmd(), a.accessSetCmd())
}

func (a *app) whoamiCmd() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "whoami", Short: "Say who the server takes you for", Args: cobra.NoArgs,
		Example: "  polder access whoami\n  POLDER_TOKEN=... polder access whoami -o json",
	}
	o.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		r, err := do(ctx, c.access.WhoAmI, &polderv1.WhoAmIRequest{})
		if err != nil {
			return err
		}
		return one(a.Out, o, r.GetName(), r, []field{
			{"You are", r.GetKind() + ":" + r.GetName()},
			{"Cluster", r.GetCluster()},
			{"Server", a.conn.resolved},
			{"Server version", r.GetVersion()},
		})
	})
	return cmd
}

// verbs are what one may be allowed to do on a role.
var verbs = []string{"view", "logs", "run", "exec", "host", "plan", "node", "token", "admin"}

func (a *app) canICmd() *cobra.Command {
	return &cobra.Command{
		Use: "can-i VERB [ROLE]", Short: "Say whether you may do something; exit 4 if not", Args: cobra.RangeArgs(1, 2),
		Long:    "Say whether you may do something on a role (default the root). Verbs: " + strings.Join(verbs, ", ") + ".",
		Example: "  polder access can-i run corp/search\n  polder access can-i plan",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			switch len(args) {
			case 0:
				return verbs, cobra.ShellCompDirectiveNoFileComp
			case 1:
				return a.fromServer(roleNames)(cmd, args, typed)
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: a.call(func(ctx context.Context, c *client, args []string) error {
			role := strings.TrimPrefix(append(args, "")[1], "/")
			r, err := do(ctx, c.access.CanI, &polderv1.CanIRequest{Verb: args[0], Role: role})
			if err != nil {
				return err
			}
			if !r.GetAllowed() {
				return fail(exitDenied, "Ask an admin to add a rule with \"polder access set\".", "no: %s", r.GetReason())
			}
			fmt.Fprintln(a.Out, "yes")
			return nil
		}),
	}
}

func (a *app) accessGetCmd() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "get", Short: "Print the permission table", Args: cobra.NoArgs,
		Long:    "Print the permission table. With -o yaml it is what \"access set -f\" takes, its revision included.",
		Example: "  polder access get\n  polder access get -o yaml > access.yaml",
	}
	o.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		r, err := do(ctx, c.access.GetPermissions, &polderv1.GetPermissionsRequest{})
		if err != nil {
			return err
		}
		if o.format == "json" || o.format == "yaml" {
			return one(a.Out, o, "", r, nil)
		}
		return list(a.Out, o, permissionView(), r.GetPermissions(), a.colour())
	})
	return cmd
}

func permissionView() view[*polderv1.Permission] {
	type p = *polderv1.Permission
	return view[p]{(*polderv1.Permission).GetSubject, []column[p]{
		{head: "SUBJECT", cell: (*polderv1.Permission).GetSubject},
		{head: "MAY", cell: func(p p) string { return strings.Join(p.GetVerbs(), ",") }},
		{head: "ON ROLE", cell: (*polderv1.Permission).GetRole},
	}}
}

func (a *app) accessSetCmd() *cobra.Command {
	var (
		file string
		base int64
	)
	cmd := &cobra.Command{
		Use: "set -f FILE", Short: "Replace the permission table", Args: cobra.NoArgs,
		Long: `Replace the permission table by the one in a file:

  revision: 7          # from "access get -o yaml"; without it the newest
  permissions:
    - {subject: "user:alice", verbs: [view, run], role: corp/search/**}

When somebody else changed the table since that revision, the command exits with 5 and nothing has changed.`,
		Example: "  polder access get -o yaml > access.yaml\n  polder access set -f access.yaml",
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "`file` with the table in YAML or JSON; - is standard input (required)")
	cmd.Flags().Int64Var(&base, "base-revision", 0, "`revision` the change was made from (default the file's, then the newest)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if file == "" {
			return usageError(cmd, errors.New("which table? Give -f FILE"))
		}
		r, err := a.open(file)
		if err != nil {
			return err
		}
		defer r.Close()
		var table polderv1.GetPermissionsResponse
		if err := decodeOne(file, r, &table); err != nil {
			return err
		}
		if base != 0 {
			table.Revision = base
		}
		return a.call(func(ctx context.Context, c *client, _ []string) error { return a.setAccess(ctx, c, &table) })(cmd, args)
	}
	return cmd
}

func (a *app) setAccess(ctx context.Context, c *client, table *polderv1.GetPermissionsResponse) error {
	if table.Revision == 0 {
		now, err := do(ctx, c.access.GetPermissions, &polderv1.GetPermissionsRequest{})
		if err != nil {
			return err
		}
		table.Revision = now.GetRevision()
	}
	r, err := do(ctx, c.access.SetPermissions, &polderv1.SetPermissionsRequest{BaseRevision: table.Revision, Permissions: table.Permissions})
	if conflict(err) {
		return fail(exitConflict, "Read it again with \"polder access get -o yaml\", repeat your change, and set it.",
			"the table is not at revision %d any more; nothing was changed", table.Revision)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%d rules set, revision %d\n", len(table.Permissions), r.GetRevision())
	return nil
}
