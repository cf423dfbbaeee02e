package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	polderv1 "polder.dev/polder/api/polder/v1"
)

func (a *app) nodeCmd() *cobra.Command {
	return a.noun("node", "Show machines and take them out of service", "  polder node list\n  polder node drain node-3 --deadline 10m",
		a.nodeListCmd(), a.nodeGetCmd(), a.cordonCmd("cordon", true), a.cordonCmd("uncordon", false), a.nodeDrainCmd(), a.nodeRemoveCmd())
}

// nodes lists every node that matches.
func (c *client) nodes(ctx context.Context, filter *polderv1.NodeServiceListRequest) ([]*polderv1.Node, error) {
	nodes, _, err := pages(ctx, func(ctx context.Context, token string) (page[*polderv1.Node], error) {
		filter.PageSize, filter.PageToken = pageSize, token
		r, err := do(ctx, c.node.List, filter)
		return page[*polderv1.Node]{r.GetNodes(), r.GetNextPageToken(), r.GetRevision()}, err
	})
	return nodes, err
}

func (a *app) nodeView() view[*polderv1.Node] {
	type n = *polderv1.Node
	return view[n]{(*polderv1.Node).GetName, []column[n]{
		{head: "NODE", cell: (*polderv1.Node).GetName},
		{head: "STATE", cell: (*polderv1.Node).GetState},
		{head: "POOL", cell: (*polderv1.Node).GetPool},
		{head: "TASKS", cell: func(n n) string { return count(runs(n)) }},
		{head: "VOLUMES", wide: true, cell: func(n n) string { return count(n.GetVolumes()) }},
		{head: "RESERVATIONS", wide: true, cell: func(n n) string { return count(n.GetReservations()) }},
		{head: "CAPACITY", cell: func(n n) string { return amounts(n.GetCapacity()) }},
		{head: "AVAILABLE", cell: func(n n) string { return amounts(n.GetAvailable()) }},
		{head: "USED", wide: true, cell: func(n n) string { return amounts(n.GetUsed()) }},
		{head: "KEPT", wide: true, cell: func(n n) string { return amounts(n.GetEarmarked()) }},
		{head: "ATTRIBUTES", wide: true, cell: func(n n) string { return pairs(n.GetAttributes()) }},
		{head: "RUNTIMES", wide: true, cell: func(n n) string { return strings.Join(n.GetRuntimes(), ",") }},
		{head: "SEEN", cell: func(n n) string { return a.age(n.GetLastSeen()) }},
		{head: "VERSION", wide: true, cell: (*polderv1.Node).GetVersion},
		{head: "WARNINGS", cell: func(n n) string {
			if len(n.GetWarnings()) == 0 {
				return none
			}
			return count(int32(len(n.GetWarnings())))
		}},
	}}
}

func (a *app) nodeFields(n *polderv1.Node) []field {
	return []field{
		{"Node", n.GetName()},
		{"State", n.GetState()},
		{"Pool", n.GetPool()},
		{"Tasks", count(runs(n))},
		{"Volumes", stayingCount(n.GetVolumes())},
		{"Reservations", stayingCount(n.GetReservations())},
		{"Capacity", amounts(n.GetCapacity())},
		{"Used", amounts(n.GetUsed())},
		{"Available", amounts(n.GetAvailable())},
		{"Kept for claimants", amounts(n.GetEarmarked())},
		{"Ports", n.GetPorts()},
		{"Attributes", pairs(n.GetAttributes())},
		{"Runtimes", strings.Join(n.GetRuntimes(), ", ")},
		{"Registered", stamp(n.GetRegistered())},
		{"Last seen", a.age(n.GetLastSeen()) + " ago"},
		{"Version", n.GetVersion()},
		{"Warnings", strings.Join(n.GetWarnings(), "; ")},
	}
}

func (a *app) nodeListCmd() *cobra.Command {
	var l listing
	filter := &polderv1.NodeServiceListRequest{}
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List nodes", Args: cobra.NoArgs,
		Example: "  polder node list\n  polder node list --state draining --constraint zone==a -o wide",
	}
	f := cmd.Flags()
	f.StringVar(&filter.State, "state", "", "only nodes in this `state`: ready, cordoned, draining or unreachable")
	f.StringVar(&filter.Pool, "pool", "", "only nodes of this `pool`")
	f.StringArrayVar(&filter.Constraints, "constraint", nil, "only nodes whose attributes meet this `constraint`, as in zone==a; repeatable")
	complete(cmd, "state", "ready", "cordoned", "draining", "unreachable")
	l.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		return showList(ctx, a, l, a.nodeView(), func(ctx context.Context) ([]*polderv1.Node, error) { return c.nodes(ctx, filter) })
	})
	return cmd
}

func (a *app) nodeGetCmd() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "get NODE", Short: "Show one node", Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(nodeNames),
		Example: "  polder node get node-3\n  polder node get node-3 -o yaml",
	}
	o.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		n, err := do(ctx, c.node.Get, &polderv1.NodeServiceGetRequest{Name: args[0]})
		if err != nil {
			return err
		}
		return one(a.Out, o, n.GetName(), n, a.nodeFields(n))
	})
	return cmd
}

// cordonCmd is "cordon" or "uncordon".
func (a *app) cordonCmd(verb string, cordoned bool) *cobra.Command {
	short := "Keep new tasks off nodes; what runs goes on"
	if !cordoned {
		short = "Let new tasks on nodes again, also after a drain"
	}
	return &cobra.Command{
		Use: verb + " NODE...", Short: short, Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.fromServer(nodeNames),
		Example: "  polder node " + verb + " node-3\n  polder node " + verb + " node-3 node-4",
		RunE: a.call(func(ctx context.Context, c *client, args []string) error {
			for _, name := range args {
				n, err := do(ctx, c.node.Cordon, &polderv1.CordonRequest{Name: name, Cordoned: cordoned})
				if err != nil {
					return err
				}
				fmt.Fprintf(a.Out, "%s is %s, with %s\n", clean(n.GetName()), clean(n.GetState()), tasksAndStaying(n))
			}
			return nil
		}),
	}
}

func (a *app) nodeDrainCmd() *cobra.Command {
	var (
		deadline time.Duration
		force    bool
	)
	cmd := &cobra.Command{
		Use: "drain NODE", Short: "Ask every task on a node to leave by a deadline", Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(nodeNames),
		Long: `Cordon a node and ask every task on it to leave. Each task gets its own notice even when that is longer than the
deadline, unless --force. Volumes and reservations stay. "polder node uncordon" puts the node back into service.`,
		Example: "  polder node drain node-3 --deadline 10m\n  polder node drain node-3 --deadline 30s --force",
	}
	cmd.Flags().DurationVar(&deadline, "deadline", 5*time.Minute, "`time` every task gets at most")
	cmd.Flags().BoolVar(&force, "force", false, "hold the deadline even against tasks whose own notice is longer")
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		n, err := do(ctx, c.node.Drain, &polderv1.DrainRequest{Name: args[0], Deadline: durationpb.New(deadline), Force: force})
		if err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "%s is %s, with %s to leave in %s\n", clean(n.GetName()), clean(n.GetState()), taskCount(runs(n)), shortDuration(deadline))
		if n.GetVolumes() > 0 {
			fmt.Fprintf(a.Out, "%s on it will stay; see polder volume list --node %s\n", volumeCount(n.GetVolumes()), clean(n.GetName()))
		}
		if n.GetReservations() > 0 {
			fmt.Fprintf(a.Out, "%s on it will stay; see polder reservation list --node %s\n", reservationCount(n.GetReservations()), clean(n.GetName()))
		}
		if !force && runs(n) > 0 {
			fmt.Fprintln(a.Err, "  a task whose own notice is longer keeps that one; --force holds the deadline against it")
		}
		fmt.Fprintf(a.Err, "  see them go: polder ps --node %s --watch\n", clean(n.GetName()))
		return nil
	})
	return cmd
}

func (a *app) nodeRemoveCmd() *cobra.Command {
	var sure, lose bool
	cmd := &cobra.Command{
		Use: "remove NODE", Aliases: []string{"rm"}, Short: "Forget a node that will not come back", Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(nodeNames),
		Long:    "Forget a node that will not come back. Its tasks count as lost and, where their asks say so, run elsewhere. One that has volumes or\nreservations is not forgotten unless --lose-volumes says that they, and what is in them, are lost, too.",
		Example: "  polder node remove node-3\n  polder node remove node-3 --yes --lose-volumes",
	}
	cmd.Flags().BoolVar(&sure, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&lose, "lose-volumes", false, "its volumes are lost with all that is in them, and its reservations")
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		n, err := do(ctx, c.node.Get, &polderv1.NodeServiceGetRequest{Name: args[0]})
		if err != nil {
			return err
		}
		if stays := staying(n); len(stays) > 0 && !lose {
			return fail(exitConflict, "Bring it back, or say that they are lost, with all that is in them: --lose-volumes.", "node %s has %s", n.GetName(), strings.Join(stays, " and "))
		}
		question := fmt.Sprintf("%s is %s with %s, which will count as lost. Forget it?", n.GetName(), n.GetState(), tasksAndStaying(n))
		if err := a.confirm(ctx, sure, question); err != nil {
			return err
		}
		if _, err := do(ctx, c.node.Remove, &polderv1.NodeServiceRemoveRequest{Name: n.GetName(), LoseVolumes: lose}); err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "%s is forgotten\n", clean(n.GetName()))
		return nil
	})
	return cmd
}

func taskCount(n int32) string {
	if n == 1 {
		return "1 task"
	}
	return fmt.Sprintf("%d tasks", n)
}

// runs is how many tasks of a node run something.
func runs(n *polderv1.Node) int32 { return n.GetTasks() - n.GetVolumes() - n.GetReservations() }

func volumeCount(n int32) string {
	if n == 1 {
		return "1 volume"
	}
	return fmt.Sprintf("%d volumes", n)
}

func reservationCount(n int32) string {
	if n == 1 {
		return "1 reservation"
	}
	return fmt.Sprintf("%d reservations", n)
}

// stayingCount is how many of something no drain moves; nothing when there is none.
func stayingCount(n int32) string {
	if n == 0 {
		return ""
	}
	return count(n) + ", no drain moves them"
}

// staying is what no drain moves, for sentences.
func staying(n *polderv1.Node) (out []string) {
	if n.GetVolumes() > 0 {
		out = append(out, volumeCount(n.GetVolumes()))
	}
	if n.GetReservations() > 0 {
		out = append(out, reservationCount(n.GetReservations()))
	}
	return out
}

func tasksAndStaying(n *polderv1.Node) string {
	stays := staying(n)
	if len(stays) == 2 {
		return taskCount(runs(n)) + ", " + strings.Join(stays, " and ")
	}
	return strings.Join(append([]string{taskCount(runs(n))}, stays...), " and ")
}
