package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	polderv1 "polder.dev/polder/api/polder/v1"
)

func (a *app) whyCmd() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "why ID", Short: "Say why an ask or a task is where it is", Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(taskOrAskNames),
		Long: `Say why an ask or a task is where it is: why it waits and what would unblock it, why it runs where it runs and who
pays, or why it was taken back. The id may be shortened when it stays unique.`,
		Example: "  polder why train-1\n  polder why train-1.0 -o json",
	}
	o.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		id, r, err := c.explain(ctx, args[0])
		if err != nil {
			return err
		}
		if o.format != "table" && o.format != "wide" {
			return one(a.Out, o, id, r, nil)
		}
		a.printWhy(id, r)
		return nil
	})
	return cmd
}

// explain asks for an id as it is, then for the one ask or task it is short for.
func (c *client) explain(ctx context.Context, id string) (string, *polderv1.ExplainResponse, error) {
	r, err := do(ctx, c.ask.Explain, &polderv1.ExplainRequest{Id: id})
	if err == nil || !notFound(err) {
		return id, r, err
	}
	asks, err := c.asks(ctx, &polderv1.AskServiceListRequest{})
	if err != nil {
		return "", nil, err
	}
	full, err := unique("ask or task", id, "polder ask list", names(asks, (*polderv1.Ask).GetId))
	if err != nil {
		tasks, listErr := c.tasks(ctx, &polderv1.TaskServiceListRequest{All: true})
		if listErr != nil {
			return "", nil, listErr
		}
		if full, err = unique("ask or task", id, "polder ps --all", names(tasks, (*polderv1.Task).GetId)); err != nil {
			return "", nil, err
		}
	}
	r, err = do(ctx, c.ask.Explain, &polderv1.ExplainRequest{Id: full})
	return full, r, err
}

func (a *app) printWhy(id string, r *polderv1.ExplainResponse) {
	reason := r.GetReason()
	fmt.Fprintf(a.Out, "%s: %s\n", clean(id), clean(sentence(reason.GetMessage())))
	if reason.GetCode() != "" {
		fmt.Fprintf(a.Out, "  code: %s\n", clean(reason.GetCode()))
	}
	if reason.GetUnblockedBy() != "" {
		fmt.Fprintf(a.Out, "  unblocked by: %s\n", clean(reason.GetUnblockedBy()))
	}
	if reason.GetExpected() != nil {
		fmt.Fprintf(a.Out, "  expected: %s (%s)\n", a.until(reason.GetExpected()), stamp(reason.GetExpected()))
	}
	for _, d := range r.GetDetails() {
		fmt.Fprintf(a.Out, "  - %s\n", clean(d))
	}
}
