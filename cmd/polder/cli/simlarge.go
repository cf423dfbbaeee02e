package cli

import (
	"time"

	"github.com/spf13/cobra"

	"polder.dev/polder/sim"
)

func (a *app) simLargeCmd() *cobra.Command {
	var (
		o            simOptions
		nodes, roles int
		lasts, turn  time.Duration
	)
	cmd := &cobra.Command{
		Use: "large", Short: "Play a cluster as large as you like, full, with faults", Args: cobra.NoArgs,
		Long: `Play a cluster as large as you like: every node full, a backlog in every role, tasks of some minutes; racks, nodes, agents, connections
and once the leader fail. It shows what the simulator and the core can bear, and that a seed gives the same trace.`,
		Example: "  polder sim large --nodes 10000 --roles 500 --for 5m",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := sim.Large(nodes, roles, lasts, turn)
			if err != nil {
				return usageError(cmd, err)
			}
			return a.play(cmd.Context(), s, o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&nodes, "nodes", 1000, "so many `nodes`")
	f.IntVar(&roles, "roles", 50, "so many `roles` that work, below departments")
	f.DurationVar(&lasts, "for", 5*time.Minute, "so much virtual `time`")
	f.DurationVar(&turn, "turn", 250*time.Millisecond, "the leader decides so `often` at most")
	f.Uint64Var(&o.seed, "seed", 0, "`number` that chance is drawn from (default 1)")
	f.StringVar(&o.trace, "trace", "", "`file` for every event and effect, a line each")
	o.register(cmd)
	return cmd
}
