package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	polderv1 "polder.dev/polder/api/polder/v1"
)

func (a *app) askCmd() *cobra.Command {
	return a.noun("ask", "Submit and follow asks: so many tasks of this shape for this role", "  polder ask submit -f asks.yaml\n  polder ask list --state open",
		a.askSubmitCmd(), a.askListCmd(), a.askGetCmd(), a.askCancelCmd())
}

// asks lists every ask that matches.
func (c *client) asks(ctx context.Context, filter *polderv1.AskServiceListRequest) ([]*polderv1.Ask, error) {
	asks, _, err := pages(ctx, func(ctx context.Context, token string) (page[*polderv1.Ask], error) {
		filter.PageSize, filter.PageToken = pageSize, token
		r, err := do(ctx, c.ask.List, filter)
		return page[*polderv1.Ask]{r.GetAsks(), r.GetNextPageToken(), r.GetRevision()}, err
	})
	return asks, err
}

func (a *app) askView() view[*polderv1.Ask] {
	type k = *polderv1.Ask
	return view[k]{(*polderv1.Ask).GetId, []column[k]{
		{head: "ASK", cell: (*polderv1.Ask).GetId},
		{head: "ROLE", cell: func(k k) string { return k.GetSpec().GetRole() }},
		{head: "STATE", cell: (*polderv1.Ask).GetState},
		{head: "PENDING", cell: func(k k) string { return count(k.GetPending()) }},
		{head: "RUNNING", cell: func(k k) string { return count(k.GetRunning()) }},
		{head: "DONE", cell: func(k k) string { return count(k.GetSucceeded()) }},
		{head: "FAILED", cell: func(k k) string { return count(k.GetFailed()) }},
		{head: "EACH", cell: func(k k) string { return amounts(k.GetSpec().GetTask().GetResources()) }},
		{head: "BY", wide: true, cell: (*polderv1.Ask).GetSubmittedBy},
		{head: "AGE", cell: func(k k) string { return a.age(k.GetSubmitted()) }},
		{head: "WHY IT WAITS", cell: func(k k) string { return why(k.GetReason()) }},
	}}
}

func (a *app) askListCmd() *cobra.Command {
	var l listing
	filter := &polderv1.AskServiceListRequest{}
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List asks with the reason why they wait", Args: cobra.NoArgs,
		Example: "  polder ask list --state open\n  polder ask list --role corp/search --watch",
	}
	cmd.Flags().StringVar(&filter.Role, "role", "", "only asks of this `role` and below")
	cmd.Flags().StringVar(&filter.State, "state", "", "only asks in this `state`: open, finished or cancelled")
	a.completeFlag(cmd, "role", roleNames)
	complete(cmd, "state", "open", "finished", "cancelled")
	l.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		return showList(ctx, a, l, a.askView(), func(ctx context.Context) ([]*polderv1.Ask, error) { return c.asks(ctx, filter) })
	})
	return cmd
}

func (a *app) askGetCmd() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "get ASK", Short: "Show one ask", Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(askNames),
		Example: "  polder ask get train-1\n  polder ask get train-1 -o yaml",
	}
	o.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		id, err := c.askID(ctx, args[0])
		if err != nil {
			return err
		}
		k, err := do(ctx, c.ask.Get, &polderv1.AskServiceGetRequest{Id: id})
		if err != nil {
			return err
		}
		return one(a.Out, o, id, k, askFields(k))
	})
	return cmd
}

func askFields(k *polderv1.Ask) []field {
	t := k.GetSpec().GetTask()
	return []field{
		{"Ask", k.GetId()},
		{"Role", k.GetSpec().GetRole()},
		{"State", k.GetState()},
		{"Tasks", fmt.Sprintf("%d asked: %d pending, %d running, %d succeeded, %d failed", k.GetSpec().GetCount(), k.GetPending(), k.GetRunning(), k.GetSucceeded(), k.GetFailed())},
		{"Why it waits", why(k.GetReason())},
		{"Unblocked by", k.GetReason().GetUnblockedBy()},
		{"Each", amounts(t.GetResources())},
		{"Pool", t.GetPool()},
		{"Image", t.GetImage()},
		{"Command", fmt.Sprintf("%q", t.GetCommand())},
		{"Submitted", stamp(k.GetSubmitted())},
		{"By", k.GetSubmittedBy()},
	}
}

// submitOptions are the flags of "ask submit" beside the ask itself.
type submitOptions struct {
	output
	specFlags
	file   string
	dryRun bool
	key    string
}

func (a *app) askSubmitCmd() *cobra.Command {
	var o submitOptions
	cmd := &cobra.Command{
		Use: "submit (-f FILE | --role ROLE [flags] -- COMMAND...)", Short: "Queue tasks",
		Long: `Queue tasks, described by a file or by flags. The answer comes when they are durable; it does not wait for them to run.

A file holds one ask, several with "---" between them, or a list under "asks". Fields have the names of the API's JSON;
an unknown one is an error. Minimal:

  role: corp/search
  count: 4
  task: {command: [sleep, "60"], resources: {cpu: 1, memory: 256Mi}}`,
		Example: "  polder ask submit -f asks.yaml --dry-run\n  polder ask submit --role corp/search --count 4 --cpu 1 -- sleep 60",
		Args:    cobra.ArbitraryArgs,
	}
	o.specFlags.register(a, cmd, true)
	f := cmd.Flags()
	f.StringVarP(&o.file, "file", "f", "", "`file` with asks in YAML or JSON; - is standard input")
	f.BoolVar(&o.dryRun, "dry-run", false, "only check")
	f.StringVar(&o.key, "idempotency-key", "", "`text` that makes a repeated submit return the first answer")
	o.output.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		asks, err := o.asks(a, cmd, args)
		if err != nil {
			return err
		}
		return a.call(func(ctx context.Context, c *client, _ []string) error {
			return a.submit(ctx, c, &o, asks)
		})(cmd, args)
	}
	return cmd
}

// asks takes the asks from the file or from the flags, never from both.
func (o *submitOptions) asks(a *app, cmd *cobra.Command, args []string) ([]*polderv1.AskSpec, error) {
	if o.file == "" {
		ask, err := o.spec(args)
		if err == nil && ask.GetCount() == 0 {
			err = errAtLeast("--count", 1)
		}
		if err != nil {
			return nil, usageError(cmd, err)
		}
		return []*polderv1.AskSpec{ask}, nil
	}
	if extra := o.described(cmd, args); extra != "" {
		return nil, usageError(cmd, fmt.Errorf("describe the ask in the file or with flags, not both: %s", extra))
	}
	r, err := a.open(o.file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return decodeAsks(o.file, r)
}

// described names the first argument or flag that describes an ask, "" if there is none.
func (o *submitOptions) described(cmd *cobra.Command, args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	found := ""
	cmd.Flags().Visit(func(f *pflag.Flag) {
		beside := slices.Contains([]string{"file", "dry-run", "idempotency-key", "output", "no-headers"}, f.Name)
		if found == "" && !beside && cmd.InheritedFlags().Lookup(f.Name) == nil {
			found = "--" + f.Name
		}
	})
	return found
}

// open opens a file, or standard input for "-".
func (a *app) open(file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(a.In), nil
	}
	return os.Open(file)
}

// submit queues the asks and prints what came of each. One refused ask makes the command fail, after all are printed.
func (a *app) submit(ctx context.Context, c *client, o *submitOptions, asks []*polderv1.AskSpec) error {
	r, err := do(ctx, c.ask.Submit, &polderv1.SubmitRequest{Asks: asks, DryRun: o.dryRun, IdempotencyKey: o.key})
	if err != nil {
		return err
	}
	var accepted []*polderv1.Ask
	var refused []error
	for i, res := range r.GetResults() {
		if res.GetAsk() != nil {
			accepted = append(accepted, res.GetAsk())
			continue
		}
		spec := asks[min(i, len(asks)-1)]
		what := fmt.Sprintf("ask %d (role %s)", i+1, spec.GetRole())
		if spec.GetName() != "" {
			what = fmt.Sprintf("ask %d (%s, role %s)", i+1, spec.GetName(), spec.GetRole())
		}
		refused = append(refused, refusal(what, res.GetRefused()))
	}
	if len(accepted) > 0 {
		if err := list(a.Out, o.output, a.askView(), accepted, a.colour()); err != nil {
			return err
		}
	}
	if o.dryRun {
		fmt.Fprintf(a.Err, "checked only: %d good, %d refused\n", len(accepted), len(refused))
	}
	for i := range max(0, len(refused)-1) {
		fmt.Fprintln(a.Err, clean(refused[i].Error()))
	}
	if len(refused) == 0 {
		return nil
	}
	last := refused[len(refused)-1]
	var f *failure
	if len(accepted) > 0 && !o.dryRun && errors.As(last, &f) {
		f.next = fmt.Sprintf("%s The %d above are queued: repeat only the refused ones, or give --idempotency-key from the first try on.",
			f.next, len(accepted))
	}
	return last
}

func (a *app) askCancelCmd() *cobra.Command {
	r := &polderv1.CancelRequest{}
	cmd := &cobra.Command{
		Use: "cancel ASK...", Short: "Withdraw what waits and stop what runs", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.fromServer(askNames),
		Example: "  polder ask cancel train-1\n  polder ask cancel --keep-running train-1 train-2",
	}
	cmd.Flags().BoolVar(&r.KeepRunning, "keep-running", false, "only withdraw what waits")
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		for _, arg := range args {
			id, err := c.askID(ctx, arg)
			if err != nil {
				return err
			}
			r.Ids = append(r.Ids, id)
		}
		res, err := do(ctx, c.ask.Cancel, r)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "%d withdrawn, %d stopping\n", res.GetWithdrawn(), res.GetStopping())
		return nil
	})
	return cmd
}
