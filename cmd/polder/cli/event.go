package cli

import (
	"context"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// eventOptions are the flags of "polder event".
type eventOptions struct {
	output
	role, subject string
	follow        bool
	from          int64
}

func (a *app) eventCmd() *cobra.Command {
	var o eventOptions
	cmd := &cobra.Command{
		Use: "event", Aliases: []string{"events"}, Short: "Print what happened", Args: cobra.NoArgs,
		Long:    "Print what happened, oldest first. With -f go on with what happens until interrupted; nothing in between is missed.",
		Example: "  polder event --role corp/search\n  polder event -f\n  polder event --subject train-1.0 -o json",
	}
	f := cmd.Flags()
	f.StringVar(&o.role, "role", "", "only events of this `role` and below")
	f.StringVar(&o.subject, "subject", "", "only events about this task, ask or node, by its `id`")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what happens")
	f.Int64Var(&o.from, "from-revision", 0, "with -f: start after this `revision` instead of with what is remembered")
	a.completeFlag(cmd, "role", roleNames)
	a.completeFlag(cmd, "subject", taskOrAskNames)
	o.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		if !o.follow {
			events, _, err := c.events(ctx, o)
			if err != nil {
				return err
			}
			return list(a.Out, o.output, eventView(), events, a.colour())
		}
		return a.followEvents(ctx, c, o)
	})
	return cmd
}

// events lists what is remembered, and the revision it is complete up to.
func (c *client) events(ctx context.Context, o eventOptions) ([]*polderv1.Event, int64, error) {
	return pages(ctx, func(ctx context.Context, token string) (page[*polderv1.Event], error) {
		r, err := do(ctx, c.event.List, &polderv1.EventServiceListRequest{Role: o.role, Subject: o.subject, PageSize: pageSize, PageToken: token})
		return page[*polderv1.Event]{r.GetEvents(), r.GetNextPageToken(), r.GetRevision()}, err
	})
}

func (a *app) followEvents(ctx context.Context, c *client, o eventOptions) error {
	from := o.from
	if from == 0 {
		events, revision, err := c.events(ctx, o)
		if err != nil {
			return err
		}
		if err := printRows(a, o.output, eventView(), events); err != nil {
			return err
		}
		o.noHeaders, from = true, revision
		if n := len(events); n > 0 {
			from = max(from, events[n-1].GetRevision()) // later pages may be newer than the first
		}
	}
	open := func(ctx context.Context, from int64) (*connect.ServerStreamForClient[polderv1.Event], error) {
		return c.event.Watch(ctx, request(&polderv1.EventServiceWatchRequest{Role: o.role, FromRevision: from}))
	}
	return resume(ctx, a, from, open, (*polderv1.Event).GetRevision, func(e *polderv1.Event) error {
		if o.subject != "" && e.GetSubject() != o.subject {
			return nil
		}
		defer func() { o.noHeaders = true }()
		return printRows(a, o.output, eventView(), []*polderv1.Event{e})
	})
}

func eventView() view[*polderv1.Event] {
	type e = *polderv1.Event
	return view[e]{func(e e) string { return count(e.GetRevision()) }, []column[e]{
		{head: "REVISION", wide: true, cell: func(e e) string { return count(e.GetRevision()) }},
		{head: "TIME", cell: func(e e) string { return stamp(e.GetTime()) }},
		{head: "KIND", cell: (*polderv1.Event).GetKind},
		{head: "SUBJECT", cell: (*polderv1.Event).GetSubject},
		{head: "ROLE", cell: (*polderv1.Event).GetRole},
		{head: "NODE", wide: true, cell: (*polderv1.Event).GetNode},
		{head: "WHAT", cell: (*polderv1.Event).GetMessage},
	}}
}
