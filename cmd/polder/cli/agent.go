package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"polder.dev/polder/core/resource"
)

// AgentOptions are the flags of "polder agent".
type AgentOptions struct {
	// Server is host:port of the server; of several servers of a cluster, all of them with commas between.
	Server string
	// Token is the join token; empty when this node has joined before. It also authenticates the server.
	Token string
	// Dir holds the node's certificate, the checkpoint and the sandboxes.
	Dir string
	// Node is the node's name; empty is the host's name.
	Node string
	// Attributes are what constraints select nodes by.
	Attributes map[string]string
	// Capacity declares resources; what is missing is detected.
	Capacity resource.Resources
	// GPUs are those that tasks may have, by number or UUID; empty are the first ones, as many as Capacity has.
	GPUs []string
	// Ports are the host ports tasks may have; empty is none declared.
	Ports resource.PortSet
	// Mounts are the host directories tasks may mount; empty is none.
	Mounts []string
	// TaskUser is whom process tasks run as that name nobody; unless it is root no task may be.
	TaskUser string
	// Runtimes to start tasks with, in order of preference; empty means docker where there is an engine, and process.
	Runtimes []string
	// DockerHost is the engine's address; empty is the engine's usual one.
	DockerHost string
	// Kube is the file that names the node's program for pods; empty is no runtime for pods.
	Kube string
	// Kubelet is the cgroupRoot of a kubelet that others run on this machine; empty is none. With it there is no Kube.
	Kubelet string
}

// agentFlags are the texts behind AgentOptions until they are checked.
type agentFlags struct {
	AgentOptions
	tokenFile, capacity, ports string
	attributes                 []string
}

func (a *app) agentCmd() *cobra.Command {
	var o agentFlags
	cmd := &cobra.Command{
		Use:     "agent",
		Aliases: []string{"join"},
		Short:   "Join this machine to the pool and run its tasks",
		Long: `Join this machine to the pool and run its tasks.

The join token comes from "polder token create --join NAME". It proves the server to the agent and the agent to the server,
and is needed only the first time: afterwards the certificate in --dir is enough. When the agent stops or is killed, its
tasks keep running and are taken over by the next one.`,
		Example: "  polder agent --server 10.0.0.1:7070 --token polder-join-...\n" +
			"  polder join --server 10.0.0.1:7070 --token-file join.token --attr zone=a --capacity cpu=8,memory=32Gi --ports 31000-32000",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := o.options(a.Getenv)
			if err != nil {
				return usageError(cmd, err)
			}
			return process(cmd, a.Processes.Agent, a.Streams, options)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Server, "server", "", "`address` of the server, host:port; several of one cluster with commas between (default $POLDER_ADDR)")
	f.StringVar(&o.Token, "token", "", "join `token` (default $POLDER_JOIN_TOKEN); other users of this machine may see it here, so prefer --token-file")
	f.StringVar(&o.tokenFile, "token-file", "", "`file` with the join token")
	f.StringVar(&o.Dir, "dir", "/var/lib/polder-agent", "`directory` for the certificate, the checkpoint and the sandboxes")
	f.StringVar(&o.Node, "node", "", "`name` of this node (default the host's name)")
	f.StringArrayVar(&o.attributes, "attr", nil, "attribute `key=value` that constraints may select; repeatable")
	f.StringVar(&o.capacity, "capacity", "", "`resources` to offer, as in cpu=8,memory=32Gi (default detected)")
	f.StringSliceVar(&o.GPUs, "gpus", nil, "`GPUs` that tasks may have, by number or UUID as in nvidia-smi -L, with commas between (default the first, as many as --capacity says)")
	f.StringVar(&o.ports, "ports", "", "host `ports` tasks may have, as in 31000-32000")
	registerMounts(cmd, &o.Mounts)
	registerTaskUser(cmd, &o.TaskUser)
	registerRuntimes(cmd, &o.Runtimes, &o.DockerHost)
	f.StringVar(&o.Kube, "kube", "", "run pods of the Kubernetes door: `file` that polder-kube wrote, or will write")
	f.StringVar(&o.Kubelet, "kubelet", "", "hold leases of the pods of a kubelet that runs here already, for \"polder-kube attach\": its `cgroupRoot`, mostly /; --node must be the name of its Node")
	return cmd
}

// options checks the texts and fills what comes from elsewhere.
func (o agentFlags) options(getenv func(string) string) (AgentOptions, error) {
	out := o.AgentOptions
	if out.Server = first(out.Server, getenv("POLDER_ADDR")); out.Server == "" {
		return out, fmt.Errorf("which server? Give --server host:port")
	}
	if out.Kube != "" && out.Kubelet != "" {
		return out, fmt.Errorf("--kube starts a kubelet, and --kubelet is for one that runs already; give one of them")
	}
	var err error
	if out.Token, err = o.joinToken(getenv); err != nil {
		return out, err
	}
	if out.Attributes, err = keyValues("--attr", o.attributes); err != nil {
		return out, err
	}
	if out.Capacity, err = resource.Parse(o.capacity); err != nil {
		return out, fmt.Errorf("--capacity: %w", err)
	}
	if out.Ports, err = resource.ParsePorts(o.ports); err != nil {
		return out, fmt.Errorf("--ports: %w", err)
	}
	return out, nil
}

func (o agentFlags) joinToken(getenv func(string) string) (string, error) {
	if o.Token != "" && o.tokenFile != "" {
		return "", fmt.Errorf("give --token or --token-file, not both")
	}
	if o.tokenFile == "" {
		return first(o.Token, getenv("POLDER_JOIN_TOKEN")), nil
	}
	data, err := os.ReadFile(o.tokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
