package cli

import (
	"context"

	"github.com/spf13/cobra"
)

// UpOptions are the flags of "polder up".
type UpOptions struct {
	// Dir holds everything: the server's data, the agents' data, tokens, and context.yaml.
	Dir string
	// Agents is the number of agents, at least 1; each gets an equal slice of this machine.
	Agents int
	// Simulate is the number of nodes that exist only in this process; zero starts real agents instead.
	Simulate int
	// Listen is the address of the API, host:port; port 0 chooses a free one.
	Listen string
	// Mesos is the address of the Mesos door, host:port; empty is no door.
	Mesos string
	// Docker is the address of the Docker door, host:port; empty opens only the socket in Dir.
	Docker string
	// Mounts are the host directories tasks may mount; empty is none.
	Mounts []string
	// TaskUser is whom process tasks run as that name nobody; unless it is root no task may be.
	TaskUser string
	// Runtimes the agents use, in order of preference; empty means docker where there is an engine, and process.
	Runtimes []string
	// DockerHost is the engine's address; empty is the engine's usual one.
	DockerHost string
	// Kube lets the agents run pods, with the program that the file [KubeFile] in Dir names once it is there.
	Kube bool
}

func (a *app) upCmd() *cobra.Command {
	var o UpOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a server and agents on this machine",
		Long: `Start a server and agents on this machine, with TLS and a token, until Ctrl-C stops all of them.

The agents offer slices of this machine. Everything is kept in --dir, so "polder up" again continues where it was: plan,
asks, and tasks. Other commands find the server through the context file in --dir.`,
		Example: "  polder up\n  polder up --agents 5 --dir /var/lib/polder\n  polder up --runtime process\n  polder up --simulate 1000",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Agents < 1 {
				return usageError(cmd, errAtLeast("--agents", 1))
			}
			if o.Simulate < 0 {
				return usageError(cmd, errAtLeast("--simulate", 1))
			}
			return process(cmd, a.Processes.Up, a.Streams, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", ".polder", "`directory` that holds everything")
	f.IntVar(&o.Agents, "agents", 3, "`number` of agents, each with an equal slice of this machine")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:7070", "`address` of the API, host:port")
	f.IntVar(&o.Simulate, "simulate", 0, "`number` of nodes that are only simulated, with busy teams, instead of agents; nothing is kept")
	registerMesos(cmd, &o.Mesos, DefaultMesos)
	registerDocker(cmd, &o.Docker, DefaultDocker)
	registerMounts(cmd, &o.Mounts)
	registerTaskUser(cmd, &o.TaskUser)
	registerRuntimes(cmd, &o.Runtimes, &o.DockerHost)
	f.BoolVar(&o.Kube, "kube", false, "let the agents run pods, once \"polder-kube up\" has started with the same directory")
	return cmd
}

// DefaultDocker is where "polder up" serves the Docker door.
const DefaultDocker = "127.0.0.1:7071"

// registerDocker adds the flag that opens the Docker door.
func registerDocker(cmd *cobra.Command, address *string, usual string) {
	cmd.Flags().StringVar(address, "docker", usual, "`address` where docker and everything that speaks its API reaches the pool, host:port; empty opens none")
}

// registerMounts adds the flag that says which host directories tasks may mount.
func registerMounts(cmd *cobra.Command, mounts *[]string) {
	cmd.Flags().StringSliceVar(mounts, "allow-mount", nil, "host `directories` that tasks may mount, with all below them (default none)")
}

// registerRuntimes defines the flags that say what agents start tasks with.
func registerRuntimes(cmd *cobra.Command, runtimes *[]string, dockerHost *string) {
	cmd.Flags().StringSliceVar(runtimes, "runtime", nil, "`runtimes` to use: docker, process (default docker where there is an engine, and process)")
	cmd.Flags().StringVar(dockerHost, "docker-host", "", "`address` of the container engine (default its usual socket)")
	complete(cmd, "runtime", "docker", "process")
}

// process runs one of the long-running commands.
func process[O any](cmd *cobra.Command, run func(context.Context, Streams, O) error, s Streams, o O) error {
	if run == nil {
		return fail(exitError, "Use a complete build of polder.", "this program was built without %q", cmd.Name())
	}
	return run(cmd.Context(), s, o)
}

// registerTaskUser adds the flag that says whom process tasks run as.
func registerTaskUser(cmd *cobra.Command, user *string) {
	cmd.Flags().StringVar(user, "task-user", "nobody", "`user` process tasks run as when the agent is root and they name none; unless it is root, none may be root")
}
