package cli

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
)

func (a *app) noticeCmd() *cobra.Command {
	return a.noun("notice", "Show what is being taken back, and answer for a task", "  polder notice watch\n  polder notice done train-1.0",
		a.noticeListCmd(), a.noticeWatchCmd(), a.noticeDoneCmd(), a.noticeReleaseCmd())
}

func (a *app) noticeView() view[*polderv1.Notice] {
	type n = *polderv1.Notice
	return view[n]{(*polderv1.Notice).GetId, []column[n]{
		{head: "NOTICE", wide: true, cell: (*polderv1.Notice).GetId},
		{head: "TASK", cell: (*polderv1.Notice).GetTask},
		{head: "ROLE", cell: (*polderv1.Notice).GetRole},
		{head: "NODE", cell: (*polderv1.Notice).GetNode},
		{head: "STATE", cell: (*polderv1.Notice).GetState},
		{head: "GIVES BACK", cell: func(n n) string { return amounts(n.GetAmount()) }},
		{head: "DEADLINE", cell: func(n n) string { return a.until(n.GetDeadline()) }},
		{head: "PAID BY", wide: true, cell: (*polderv1.Notice).GetFunding},
		{head: "AGE", wide: true, cell: func(n n) string { return a.age(n.GetIssued()) }},
		{head: "FOR", cell: (*polderv1.Notice).GetClaimant},
	}}
}

// notices lists every notice that matches.
func (c *client) notices(ctx context.Context, filter *polderv1.NoticeServiceListRequest) ([]*polderv1.Notice, error) {
	notices, _, err := pages(ctx, func(ctx context.Context, token string) (page[*polderv1.Notice], error) {
		filter.PageSize, filter.PageToken = pageSize, token
		r, err := do(ctx, c.notice.List, filter)
		return page[*polderv1.Notice]{r.GetNotices(), r.GetNextPageToken(), r.GetRevision()}, err
	})
	return notices, err
}

func (a *app) noticeListCmd() *cobra.Command {
	var l listing
	filter := &polderv1.NoticeServiceListRequest{}
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List notices", Args: cobra.NoArgs,
		Example: "  polder notice list\n  polder notice list --all --role corp/analytics",
	}
	cmd.Flags().StringVar(&filter.Role, "role", "", "only notices to tasks of this `role` and below")
	cmd.Flags().BoolVarP(&filter.All, "all", "a", false, "also closed ones that are still remembered")
	a.completeFlag(cmd, "role", roleNames)
	l.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		return showList(ctx, a, l, a.noticeView(), func(ctx context.Context) ([]*polderv1.Notice, error) { return c.notices(ctx, filter) })
	})
	return cmd
}

func (a *app) noticeWatchCmd() *cobra.Command {
	var (
		o    output
		role string
		from int64
	)
	cmd := &cobra.Command{
		Use: "watch", Short: "Print open notices, then every change, until interrupted", Args: cobra.NoArgs,
		Example: "  polder notice watch\n  polder notice watch --role corp/analytics -o json",
	}
	cmd.Flags().StringVar(&role, "role", "", "only notices to tasks of this `role` and below")
	cmd.Flags().Int64Var(&from, "from-revision", 0, "continue after this `revision`")
	a.completeFlag(cmd, "role", roleNames)
	o.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		open := func(ctx context.Context, from int64) (*connect.ServerStreamForClient[polderv1.NoticeServiceWatchResponse], error) {
			return c.notice.Watch(ctx, request(&polderv1.NoticeServiceWatchRequest{Role: role, FromRevision: from}))
		}
		return resume(ctx, a, from, open, (*polderv1.NoticeServiceWatchResponse).GetRevision, func(r *polderv1.NoticeServiceWatchResponse) error {
			defer func() { o.noHeaders = true }()
			return printRows(a, o, a.noticeView(), []*polderv1.Notice{r.GetNotice()})
		})
	})
	return cmd
}

func (a *app) noticeDoneCmd() *cobra.Command {
	return &cobra.Command{
		Use: "done TASK", Short: "Say that a task has saved its work and may be stopped now", Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(leavingNames),
		Example: "  polder notice done train-1.0",
		RunE: a.call(func(ctx context.Context, c *client, args []string) error {
			return a.answer(ctx, c, args[0], &polderv1.AnswerRequest{Done: true})
		}),
	}
}

func (a *app) noticeReleaseCmd() *cobra.Command {
	return &cobra.Command{
		Use: "release TASK KIND=AMOUNT...", Short: "Give back part of a lease; the task goes on smaller", Args: cobra.MinimumNArgs(2), ValidArgsFunction: a.firstArg(leavingNames),
		Example: "  polder notice release train-1.0 cpu=2\n  polder notice release train-1.0 cpu=2 memory=4Gi",
		RunE: func(cmd *cobra.Command, args []string) error {
			released, err := amountArgs(args[1:])
			if err != nil {
				return usageError(cmd, err)
			}
			return a.call(func(ctx context.Context, c *client, args []string) error {
				return a.answer(ctx, c, args[0], &polderv1.AnswerRequest{Released: released})
			})(cmd, args)
		},
	}
}

// leavingNames completes tasks that have an open notice.
func leavingNames(ctx context.Context, c *client) ([]string, error) {
	notices, err := c.notices(ctx, &polderv1.NoticeServiceListRequest{})
	return names(notices, (*polderv1.Notice).GetTask), err
}

func (a *app) answer(ctx context.Context, c *client, task string, r *polderv1.AnswerRequest) error {
	id, err := c.taskID(ctx, task)
	if err != nil {
		return err
	}
	r.Task = id
	res, err := do(ctx, c.notice.Answer, r)
	if err != nil {
		return err
	}
	n := res.GetNotice()
	fmt.Fprintf(a.Out, "notice to %s is %s: %s for %s\n", clean(n.GetTask()), clean(n.GetState()), clean(amounts(n.GetAmount())), clean(n.GetClaimant()))
	return nil
}

// amountArgs reads "cpu=2" "memory=4Gi" and checks the amounts.
func amountArgs(args []string) (map[string]string, error) {
	out, err := keyValues("amount", args)
	if err != nil {
		return nil, err
	}
	for name, value := range out {
		if _, err := resource.ParseValue(name, value); err != nil {
			return nil, err
		}
	}
	return out, nil
}
