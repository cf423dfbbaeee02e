package cli

import "github.com/spf13/cobra"

// DemoOptions are the flags of "polder demo".
type DemoOptions struct {
	// Dir is where the demo keeps its things; empty is a directory that is removed at the end.
	Dir string
	// Runtimes the agents use; empty means docker where there is an engine, and process.
	Runtimes []string
	// DockerHost is the engine's address; empty is the engine's usual one.
	DockerHost string
}

func (a *app) demoCmd() *cobra.Command {
	var o DemoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show two teams sharing this machine",
		Long: `Show two teams sharing this machine: the offline team borrows what the online team does not use, the online team asks,
the offline task is told, saves its work and leaves in time. Prints a timeline and what lending was worth.`,
		Example: "  polder demo\n  polder demo --runtime process",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return process(cmd, a.Processes.Demo, a.Streams, o)
		},
	}
	cmd.Flags().StringVar(&o.Dir, "dir", "", "`directory` to keep everything in (default a temporary one)")
	registerRuntimes(cmd, &o.Runtimes, &o.DockerHost)
	return cmd
}
