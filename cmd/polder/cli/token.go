package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	polderv1 "polder.dev/polder/api/polder/v1"
)

func (a *app) tokenCmd() *cobra.Command {
	return a.noun("token", "Make and revoke tokens for people and for new machines", "  polder token create alice\n  polder token create --join rack-7",
		a.tokenCreateCmd(), a.tokenListCmd(), a.tokenRevokeCmd())
}

// tokens lists every token the caller may see.
func (c *client) tokens(ctx context.Context) ([]*polderv1.Token, error) {
	r, err := do(ctx, c.access.ListTokens, &polderv1.ListTokensRequest{})
	return r.GetTokens(), err
}

func (a *app) tokenCreateCmd() *cobra.Command {
	var (
		o        output
		join     bool
		validFor time.Duration
	)
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a token", Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		Long: `Make a token: for a person of that name, or with --join for machines that join the pool. The secret is shown only
now: it is all that goes to standard output, so that it can be put into a file.`,
		Example: "  polder token create alice > alice.token\n  polder token create --join rack-7 --valid-for 1h",
	}
	cmd.Flags().BoolVar(&join, "join", false, "make a join token for agents")
	cmd.Flags().DurationVar(&validFor, "valid-for", 0, "`time` until it expires, as in 24h (default the server's)")
	o.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		kind := "user"
		if join {
			kind = "join"
		}
		r, err := do(ctx, c.access.CreateToken, &polderv1.CreateTokenRequest{Kind: kind, Name: args[0], ValidFor: given(validFor)})
		if err != nil {
			return err
		}
		if o.format != "table" && o.format != "wide" {
			return one(a.Out, o, r.GetToken().GetId(), r, nil)
		}
		fmt.Fprintln(a.Out, clean(r.GetSecret()))
		expires := "never expires"
		if t := r.GetToken().GetExpires(); t != nil {
			expires = "expires " + stamp(t)
		}
		fmt.Fprintf(a.Err, "  %s token %s, %s; it is not shown again\n", kind, clean(r.GetToken().GetId()), expires)
		return nil
	})
	return cmd
}

func (a *app) tokenListCmd() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List tokens, without their secrets", Args: cobra.NoArgs,
		Example: "  polder token list\n  polder token list -o json",
	}
	l.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		return showList(ctx, a, l, a.tokenView(), c.tokens)
	})
	return cmd
}

func (a *app) tokenView() view[*polderv1.Token] {
	type t = *polderv1.Token
	return view[t]{(*polderv1.Token).GetId, []column[t]{
		{head: "TOKEN", cell: (*polderv1.Token).GetId},
		{head: "KIND", cell: (*polderv1.Token).GetKind},
		{head: "NAME", cell: (*polderv1.Token).GetName},
		{head: "AGE", cell: func(t t) string { return a.age(t.GetCreated()) }},
		{head: "EXPIRES", cell: func(t t) string { return a.until(t.GetExpires()) }},
		{head: "REVOKED", cell: func(t t) string { return yes(t.GetRevoked()) }},
	}}
}

func (a *app) tokenRevokeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "revoke TOKEN", Short: "Make a token useless at once", Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(tokenNames),
		Long:    "Make a token useless at once. It is named by its id, which \"polder token list\" shows, and may be shortened.",
		Example: "  polder token revoke c5zq2a7k3m",
		RunE: a.call(func(ctx context.Context, c *client, args []string) error {
			tokens, err := c.tokens(ctx)
			if err != nil {
				return err
			}
			id, err := unique("token", args[0], "polder token list", names(tokens, (*polderv1.Token).GetId))
			if err != nil {
				return err
			}
			if _, err := do(ctx, c.access.RevokeToken, &polderv1.RevokeTokenRequest{Id: id}); err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "%s is revoked\n", clean(id))
			return nil
		}),
	}
}
