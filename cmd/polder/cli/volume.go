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

func (a *app) volumeCmd() *cobra.Command {
	cmd := a.noun("volume", "Keep directories that outlast tasks",
		"  polder volume create pg-data --role corp/db --size 10Gi --wait\n  polder run --role corp/db --cpu 1 --volume pg-data:/data -- ./import /data\n  polder volume list",
		a.volumeCreateCmd(), a.volumeListCmd(), a.volumeGetCmd(), a.volumeResizeCmd(), a.volumeDeleteCmd())
	cmd.Long = `A volume is a directory on one node that outlasts the tasks which mount it. It is a lease of disk, paid by its role's own
guarantee: it is never taken back, no drain moves it, and only "polder volume delete" deletes what is in it. A task that mounts it,
with --volume, runs on its node. Its size is what is charged; nothing keeps a task from writing more.`
	return cmd
}

// volumes lists every volume that matches.
func (c *client) volumes(ctx context.Context, filter *polderv1.VolumeServiceListRequest) ([]*polderv1.Volume, error) {
	volumes, _, err := pages(ctx, func(ctx context.Context, token string) (page[*polderv1.Volume], error) {
		filter.PageSize, filter.PageToken = pageSize, token
		r, err := do(ctx, c.volume.List, filter)
		return page[*polderv1.Volume]{r.GetVolumes(), r.GetNextPageToken(), r.GetRevision()}, err
	})
	return volumes, err
}

func (a *app) volumeView() view[*polderv1.Volume] {
	type v = *polderv1.Volume
	return view[v]{(*polderv1.Volume).GetName, []column[v]{
		{head: "VOLUME", cell: (*polderv1.Volume).GetName},
		{head: "ROLE", cell: (*polderv1.Volume).GetRole},
		{head: "STATE", cell: (*polderv1.Volume).GetState},
		{head: "NODE", cell: (*polderv1.Volume).GetNode},
		{head: "SIZE", cell: (*polderv1.Volume).GetSize},
		{head: "USED BY", cell: func(v v) string { return strings.Join(v.GetUsedBy(), ",") }},
		{head: "AGE", cell: func(v v) string { return a.age(v.GetCreated()) }},
		{head: "BY", wide: true, cell: (*polderv1.Volume).GetCreatedBy},
		{head: "LABELS", wide: true, cell: func(v v) string { return pairs(v.GetLabels()) }},
		{head: "LEASE", wide: true, cell: (*polderv1.Volume).GetTask},
		{head: "RESERVATION", wide: true, cell: (*polderv1.Volume).GetReservation},
		{head: "WHY IT WAITS", cell: func(v v) string { return why(v.GetReason()) }},
	}}
}

func volumeFields(v *polderv1.Volume) []field {
	return []field{
		{"Volume", v.GetName()},
		{"Role", v.GetRole()},
		{"State", v.GetState()},
		{"Why it waits", why(v.GetReason())},
		{"Unblocked by", v.GetReason().GetUnblockedBy()},
		{"Node", v.GetNode()},
		{"Size", v.GetSize()},
		{"Used by", strings.Join(v.GetUsedBy(), ", ")},
		{"Labels", pairs(v.GetLabels())},
		{"Lease", v.GetTask()},
		{"Carved out of", v.GetReservation()},
		{"Directory", v.GetPath()},
		{"Created", stamp(v.GetCreated())},
		{"By", v.GetCreatedBy()},
	}
}

func (a *app) volumeCreateCmd() *cobra.Command {
	var (
		o       output
		labels  []string
		wait    bool
		timeout time.Duration
	)
	r := &polderv1.VolumeServiceCreateRequest{}
	cmd := &cobra.Command{
		Use: "create NAME --role ROLE --size SIZE", Short: "Ask for a volume", Args: cobra.ExactArgs(1),
		Long: `Ask for a volume. The answer comes when the ask is durable; with --wait, when the volume is ready to be mounted. A volume of that
name, role and size that is there already is answered as it is.

Without --node it is put where its role's guarantee and a node have room for it, and waits until there is; with --node it is there or
refused at once.`,
		Example: "  polder volume create pg-data --role corp/db --size 10Gi --wait\n  polder volume create scratch --role corp/db --size 500Mi --node node-3\n" +
			"  polder volume create models --role corp/ml --size 1Ti --pool gpu --constraint disk==ssd --label team=ml\n" +
			"  polder volume create pg-log --role corp/db --size 2Gi --reservation pg",
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&r.Role, "role", "", "`role` whose guarantee pays for it (required)")
	f.StringVar(&r.Size, "size", "", "`disk` it is charged with, as in 10Gi (required)")
	f.StringVar(&r.Node, "node", "", "`node` it is on (default any that has room)")
	f.StringVar(&r.Reservation, "reservation", "", "`reservation` of its role that it is carved out of, on that one's node")
	f.StringVar(&r.Pool, "pool", "", "`pool` whose nodes may have it (default the default pool, or the node's)")
	f.StringArrayVar(&r.Constraints, "constraint", nil, "node attribute it needs, as in `zone==a`; repeatable")
	f.StringArrayVar(&labels, "label", nil, "label, `key=value`; repeatable")
	f.BoolVar(&wait, "wait", false, "wait until it is ready")
	f.DurationVar(&timeout, "timeout", 0, "with --wait: wait at most this long, then exit with 6; 0 is for ever")
	o.register(cmd)
	a.completeFlag(cmd, "role", roleNames)
	a.completeFlag(cmd, "node", nodeNames)
	a.completeFlag(cmd, "reservation", reservationNames)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		r.Name = args[0]
		switch r.Labels, err = keyValues("--label", labels); {
		case err != nil:
		case r.Role == "":
			err = errors.New("which role? Give --role")
		case r.Size == "":
			err = errors.New("how large? Give --size")
		}
		if err != nil {
			return usageError(cmd, err)
		}
		return a.call(func(ctx context.Context, c *client, _ []string) error {
			v, err := do(ctx, c.volume.Create, r)
			if err == nil && wait {
				v, err = awaitKept(ctx, a, v, timeout, "volume", "polder volume get ", func(ctx context.Context) (*polderv1.Volume, error) {
					return do(ctx, c.volume.Get, &polderv1.VolumeServiceGetRequest{Name: r.Name, UntilReady: true})
				})
			}
			if err != nil {
				return err
			}
			if err := list(a.Out, o, a.volumeView(), []*polderv1.Volume{v}, a.colour()); err != nil {
				return err
			}
			if v.GetState() == "waiting" {
				fmt.Fprintf(a.Err, "  follow it: polder volume get %s\n", clean(v.GetName()))
			}
			return nil
		})(cmd, args)
	}
	return cmd
}

func (a *app) volumeListCmd() *cobra.Command {
	var l listing
	filter := &polderv1.VolumeServiceListRequest{}
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List volumes, where they are and who uses them", Args: cobra.NoArgs,
		Example: "  polder volume list\n  polder volume list --role corp/db --node node-3 -o wide",
	}
	cmd.Flags().StringVar(&filter.Role, "role", "", "only volumes of this `role` and below")
	cmd.Flags().StringVar(&filter.Node, "node", "", "only volumes on this `node`")
	a.completeFlag(cmd, "role", roleNames)
	a.completeFlag(cmd, "node", nodeNames)
	l.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		return showList(ctx, a, l, a.volumeView(), func(ctx context.Context) ([]*polderv1.Volume, error) { return c.volumes(ctx, filter) })
	})
	return cmd
}

func (a *app) volumeGetCmd() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "get VOLUME", Short: "Show one volume", Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(volumeNames),
		Example: "  polder volume get pg-data\n  polder volume get pg-data -o yaml",
	}
	o.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		v, err := do(ctx, c.volume.Get, &polderv1.VolumeServiceGetRequest{Name: args[0]})
		if err != nil {
			return err
		}
		return one(a.Out, o, v.GetName(), v, volumeFields(v))
	})
	return cmd
}

func (a *app) volumeResizeCmd() *cobra.Command {
	r := &polderv1.VolumeServiceResizeRequest{}
	cmd := &cobra.Command{
		Use: "resize VOLUME --size SIZE", Short: "Change what a volume is charged with", Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(volumeNames),
		Long: `Change what a volume is charged with. More must be idle on its node and left of its role's guarantee; nobody is asked back for it. What is in
the volume is not touched.`,
		Example: "  polder volume resize pg-data --size 20Gi",
	}
	cmd.Flags().StringVar(&r.Size, "size", "", "`disk` it is charged with, as in 20Gi (required)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if r.Size == "" {
			return usageError(cmd, errors.New("how large? Give --size"))
		}
		return a.call(func(ctx context.Context, c *client, args []string) error {
			r.Name = args[0]
			v, err := do(ctx, c.volume.Resize, r)
			if err == nil {
				fmt.Fprintf(a.Out, "%s has %s\n", clean(v.GetName()), clean(v.GetSize()))
			}
			return err
		})(cmd, args)
	}
	return cmd
}

func (a *app) volumeDeleteCmd() *cobra.Command {
	var sure bool
	cmd := &cobra.Command{
		Use: "delete VOLUME...", Aliases: []string{"rm"}, Short: "Delete volumes and what is in them", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.fromServer(volumeNames),
		Long:    "Delete volumes and what is in them, for good. A volume that a task mounts, or an ask waits to, is not deleted.",
		Example: "  polder volume delete pg-data\n  polder volume delete --yes scratch-1 scratch-2",
	}
	cmd.Flags().BoolVar(&sure, "yes", false, "do not ask")
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		if err := a.confirm(ctx, sure, fmt.Sprintf("What is in %s will be gone for good. Delete it?", strings.Join(args, ", "))); err != nil {
			return err
		}
		for _, name := range args {
			if _, err := do(ctx, c.volume.Delete, &polderv1.VolumeServiceDeleteRequest{Name: name}); err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "%s is deleted\n", clean(name))
		}
		return nil
	})
	return cmd
}
