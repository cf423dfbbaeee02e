package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// completionTimeout bounds a look-up made while somebody waits for the Tab key.
const completionTimeout = time.Second

// source looks up the names that may stand somewhere.
type source func(context.Context, *client) ([]string, error)

func roleNames(ctx context.Context, c *client) ([]string, error) {
	roles, err := c.roles(ctx, "")
	return names(roles, rolePath), err
}

func nodeNames(ctx context.Context, c *client) ([]string, error) {
	nodes, err := c.nodes(ctx, &polderv1.NodeServiceListRequest{})
	return names(nodes, (*polderv1.Node).GetName), err
}

func taskNames(ctx context.Context, c *client) ([]string, error) {
	tasks, err := c.tasks(ctx, &polderv1.TaskServiceListRequest{})
	return names(tasks, (*polderv1.Task).GetId), err
}

func askNames(ctx context.Context, c *client) ([]string, error) {
	asks, err := c.asks(ctx, &polderv1.AskServiceListRequest{State: "open"})
	return names(asks, (*polderv1.Ask).GetId), err
}

func volumeNames(ctx context.Context, c *client) ([]string, error) {
	volumes, err := c.volumes(ctx, &polderv1.VolumeServiceListRequest{})
	return names(volumes, (*polderv1.Volume).GetName), err
}

func reservationNames(ctx context.Context, c *client) ([]string, error) {
	reservations, err := c.reservations(ctx, &polderv1.ReservationServiceListRequest{})
	return names(reservations, (*polderv1.Reservation).GetName), err
}

func tokenNames(ctx context.Context, c *client) ([]string, error) {
	tokens, err := c.tokens(ctx)
	return names(tokens, (*polderv1.Token).GetId), err
}

// taskOrAskNames is for commands that take either.
func taskOrAskNames(ctx context.Context, c *client) ([]string, error) {
	tasks, err := taskNames(ctx, c)
	if err != nil {
		return nil, err
	}
	asks, err := askNames(ctx, c)
	return append(tasks, asks...), err
}

// fromServer completes with names from the server; when it does not answer in time there is nothing to offer.
func (a *app) fromServer(s source) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		c, err := a.dial()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		all, err := s(ctx, c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, n := range all {
			if strings.HasPrefix(n, typed) {
				out = append(out, clean(n))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// firstArg completes only the first argument.
func (a *app) firstArg(s source) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.fromServer(s)(cmd, args, typed)
	}
}

// completeFlag lets a flag complete from the server. It panics for a flag that does not exist: a mistake in this package.
func (a *app) completeFlag(cmd *cobra.Command, flag string, s source) {
	if err := cmd.RegisterFlagCompletionFunc(flag, a.fromServer(s)); err != nil {
		panic(err)
	}
}

// complete lets a flag complete from a fixed list.
func complete(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err)
	}
}
