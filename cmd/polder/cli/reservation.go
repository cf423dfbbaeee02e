package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	polderv1 "polder.dev/polder/api/polder/v1"
)

func (a *app) reservationCmd() *cobra.Command {
	cmd := a.noun("reservation", "Keep resources of a node for a role",
		"  polder reservation create pg --role corp/db --cpu 2 --memory 8Gi --disk 50Gi --wait\n  polder run --role corp/db --reservation pg --cpu 1 --memory 4Gi -- ./server\n  polder reservation list",
		a.reservationCreateCmd(), a.reservationListCmd(), a.reservationGetCmd(), a.reservationResizeCmd(), a.reservationDeleteCmd())
	cmd.Long = `A reservation keeps resources of one node for one role, whether anything runs on them or not. Tasks and volumes that name it are carved
out of it. It is paid, as a whole, by its role's own guarantee: it is never taken back, no drain moves it, it is lent to nobody, and only
"polder reservation delete" ends it.`
	return cmd
}

// reservations lists every reservation that matches.
func (c *client) reservations(ctx context.Context, filter *polderv1.ReservationServiceListRequest) ([]*polderv1.Reservation, error) {
	out, _, err := pages(ctx, func(ctx context.Context, token string) (page[*polderv1.Reservation], error) {
		filter.PageSize, filter.PageToken = pageSize, token
		r, err := do(ctx, c.reservation.List, filter)
		return page[*polderv1.Reservation]{r.GetReservations(), r.GetNextPageToken(), r.GetRevision()}, err
	})
	return out, err
}

func (a *app) reservationView() view[*polderv1.Reservation] {
	type r = *polderv1.Reservation
	return view[r]{(*polderv1.Reservation).GetName, []column[r]{
		{head: "RESERVATION", cell: (*polderv1.Reservation).GetName},
		{head: "ROLE", cell: (*polderv1.Reservation).GetRole},
		{head: "STATE", cell: (*polderv1.Reservation).GetState},
		{head: "NODE", cell: (*polderv1.Reservation).GetNode},
		{head: "POOL", wide: true, cell: (*polderv1.Reservation).GetPool},
		{head: "WHOLE", cell: func(r r) string { return amounts(r.GetResources()) }},
		{head: "FREE", cell: func(r r) string { return amounts(r.GetFree()) }},
		{head: "USED BY", cell: func(r r) string { return strings.Join(r.GetUsedBy(), ",") }},
		{head: "AGE", cell: func(r r) string { return a.age(r.GetCreated()) }},
		{head: "BY", wide: true, cell: (*polderv1.Reservation).GetCreatedBy},
		{head: "LABELS", wide: true, cell: func(r r) string { return pairs(r.GetLabels()) }},
		{head: "LEASE", wide: true, cell: (*polderv1.Reservation).GetTask},
		{head: "WHY IT WAITS", cell: func(r r) string { return why(r.GetReason()) }},
	}}
}

func reservationFields(r *polderv1.Reservation) []field {
	return []field{
		{"Reservation", r.GetName()},
		{"Role", r.GetRole()},
		{"State", r.GetState()},
		{"Why it waits", why(r.GetReason())},
		{"Unblocked by", r.GetReason().GetUnblockedBy()},
		{"Node", r.GetNode()},
		{"Pool", r.GetPool()},
		{"Whole", amounts(r.GetResources())},
		{"Carved out", amounts(r.GetCarved())},
		{"Free", amounts(r.GetFree())},
		{"Used by", strings.Join(r.GetUsedBy(), ", ")},
		{"Labels", pairs(r.GetLabels())},
		{"Lease", r.GetTask()},
		{"Created", stamp(r.GetCreated())},
		{"By", r.GetCreatedBy()},
	}
}

func (a *app) reservationCreateCmd() *cobra.Command {
	var (
		o       output
		of      resourceFlags
		labels  []string
		wait    bool
		timeout time.Duration
	)
	r := &polderv1.ReservationServiceCreateRequest{}
	cmd := &cobra.Command{
		Use: "create NAME --role ROLE [--cpu N] [--memory SIZE] [--disk SIZE]", Short: "Ask for a reservation", Args: cobra.ExactArgs(1),
		Long: `Ask for a reservation. The answer comes when the ask is durable; with --wait, when there is room for it. A reservation of that name, role and
size that is there already is answered as it is.

Without --node it is put where its role's guarantee and a node have room for it, and waits until there is; with --node it is there or
refused at once.`,
		Example: "  polder reservation create pg --role corp/db --cpu 2 --memory 8Gi --disk 50Gi --wait\n" +
			"  polder reservation create cache --role corp/web --memory 16Gi --node node-3\n" +
			"  polder reservation create train --role corp/ml --gpu 2 --cpu 8 --pool gpu --constraint zone==a --label team=ml",
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&r.Role, "role", "", "`role` whose guarantee pays for it (required)")
	of.register(f)
	f.StringVar(&r.Node, "node", "", "`node` it is on (default any that has room)")
	f.StringVar(&r.Pool, "pool", "", "`pool` whose nodes may have it (default the default pool, or the node's)")
	f.StringArrayVar(&r.Constraints, "constraint", nil, "node attribute it needs, as in `zone==a`; repeatable")
	f.StringArrayVar(&labels, "label", nil, "label, `key=value`; repeatable")
	f.BoolVar(&wait, "wait", false, "wait until there is room for it")
	f.DurationVar(&timeout, "timeout", 0, "with --wait: wait at most this long, then exit with 6; 0 is for ever")
	o.register(cmd)
	a.completeFlag(cmd, "role", roleNames)
	a.completeFlag(cmd, "node", nodeNames)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		r.Name = args[0]
		if r.Labels, err = keyValues("--label", labels); err == nil {
			r.Resources, err = of.read()
		}
		switch {
		case err != nil:
		case r.Role == "":
			err = errors.New("which role? Give --role")
		case len(r.Resources) == 0:
			err = errors.New("how much? Give --cpu, --memory, --disk, --gpu or --resource")
		}
		if err != nil {
			return usageError(cmd, err)
		}
		return a.call(func(ctx context.Context, c *client, _ []string) error {
			v, err := do(ctx, c.reservation.Create, r)
			if err == nil && wait {
				v, err = awaitKept(ctx, a, v, timeout, "reservation", "polder reservation get ", func(ctx context.Context) (*polderv1.Reservation, error) {
					return do(ctx, c.reservation.Get, &polderv1.ReservationServiceGetRequest{Name: r.Name, UntilReady: true})
				})
			}
			if err != nil {
				return err
			}
			if err := list(a.Out, o, a.reservationView(), []*polderv1.Reservation{v}, a.colour()); err != nil {
				return err
			}
			if v.GetState() == "waiting" {
				fmt.Fprintf(a.Err, "  follow it: polder reservation get %s\n", clean(v.GetName()))
			}
			return nil
		})(cmd, args)
	}
	return cmd
}

func (a *app) reservationListCmd() *cobra.Command {
	var l listing
	filter := &polderv1.ReservationServiceListRequest{}
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List reservations, where they are and what is left of them", Args: cobra.NoArgs,
		Example: "  polder reservation list\n  polder reservation list --role corp/db --node node-3 -o wide",
	}
	cmd.Flags().StringVar(&filter.Role, "role", "", "only reservations of this `role` and below")
	cmd.Flags().StringVar(&filter.Node, "node", "", "only reservations on this `node`")
	a.completeFlag(cmd, "role", roleNames)
	a.completeFlag(cmd, "node", nodeNames)
	l.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		return showList(ctx, a, l, a.reservationView(), func(ctx context.Context) ([]*polderv1.Reservation, error) { return c.reservations(ctx, filter) })
	})
	return cmd
}

func (a *app) reservationGetCmd() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "get RESERVATION", Short: "Show one reservation", Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(reservationNames),
		Example: "  polder reservation get pg\n  polder reservation get pg -o yaml",
	}
	o.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		r, err := do(ctx, c.reservation.Get, &polderv1.ReservationServiceGetRequest{Name: args[0]})
		if err != nil {
			return err
		}
		return one(a.Out, o, r.GetName(), r, reservationFields(r))
	})
	return cmd
}

func (a *app) reservationResizeCmd() *cobra.Command {
	var of resourceFlags
	r := &polderv1.ReservationServiceResizeRequest{}
	cmd := &cobra.Command{
		Use: "resize RESERVATION [--cpu N] [--memory SIZE] [--disk SIZE]", Short: "Make a reservation larger or smaller", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.firstArg(reservationNames),
		Long: `Make a reservation larger or smaller. Kinds that are not named stay as they are. More must be idle on its node and left of its role's
guarantee; nobody is asked back for it. It is not made smaller than what is carved out of it.`,
		Example: "  polder reservation resize pg --memory 16Gi\n  polder reservation resize pg --cpu 1 --disk 20Gi",
	}
	of.register(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if r.Resources, err = of.read(); err == nil && len(r.Resources) == 0 {
			err = errors.New("how much? Give --cpu, --memory, --disk, --gpu or --resource")
		}
		if err != nil {
			return usageError(cmd, err)
		}
		return a.call(func(ctx context.Context, c *client, args []string) error {
			r.Name = args[0]
			v, err := do(ctx, c.reservation.Resize, r)
			if err == nil {
				fmt.Fprintf(a.Out, "%s has %s\n", clean(v.GetName()), clean(amounts(v.GetResources())))
			}
			return err
		})(cmd, args)
	}
	return cmd
}

func (a *app) reservationDeleteCmd() *cobra.Command {
	var sure bool
	cmd := &cobra.Command{
		Use: "delete RESERVATION...", Aliases: []string{"rm"}, Short: "End reservations", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.fromServer(reservationNames),
		Long:    "End reservations: what they keep is anybody's then. One that something is carved out of, or waits to be, is not ended.",
		Example: "  polder reservation delete pg\n  polder reservation delete --yes cache-1 cache-2",
	}
	cmd.Flags().BoolVar(&sure, "yes", false, "do not ask")
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		if err := a.confirm(ctx, sure, fmt.Sprintf("What %s keeps will be anybody's. Delete it?", strings.Join(args, ", "))); err != nil {
			return err
		}
		for _, name := range args {
			if _, err := do(ctx, c.reservation.Delete, &polderv1.ReservationServiceDeleteRequest{Name: name}); err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "%s is deleted\n", clean(name))
		}
		return nil
	})
	return cmd
}
