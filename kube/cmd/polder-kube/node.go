package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/kube/controlplane"
	"polder.dev/polder/kube/node"
)

func nodeCommand() *cobra.Command {
	var o node.Options
	var cpu, memory string
	c := &cobra.Command{
		Use: "node", Short: "Run a kubelet and its containerd; agents start this", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := resource.ParseValue("cpu", cpu)
			if err != nil {
				return fmt.Errorf("--cpu: %w", err)
			}
			m, err := resource.ParseValue("memory", memory)
			if err != nil {
				return fmt.Errorf("--memory: %w", err)
			}
			o.MilliCPU, o.MemoryBytes = int64(c), int64(m)
			o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
			return node.Run(cmd.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Name, "node", "", "`name` of the node in the pool")
	f.StringVar(&o.Dir, "dir", "", "`directory` for everything of the node")
	f.StringVar(&o.Cgroup, "cgroup", "", "parent `cgroup` of pods")
	f.StringVar(&cpu, "cpu", "", "`amount` of cpu for pods in all")
	f.StringVar(&memory, "memory", "", "`amount` of memory for pods in all")
	f.StringVar(&o.Join, "join", "", "`kubeconfig` to join with")
	f.StringVar(&o.Containerd, "containerd", "", "`socket` of a running containerd; empty starts one")
	f.StringVar(&o.Sandbox, "sandbox-image", "registry.k8s.io/pause:3.10", "`image` that holds pods' namespaces")
	f.StringVar(&o.Images, "images", "", "`directory` of image archives to load")
	f.StringVar(&o.PodCIDR, "pod-cidr", "10.89.0.0/16", "`range` of pods' addresses")
	f.StringVar(&o.CNI, "cni", "/usr/lib/cni", "`directory` of CNI's plugins")
	f.StringVar(&o.DNS, "dns", "", "`address` of the cluster's DNS")
	return c
}

func envCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "env", Short: "Print what kubectl needs, as shell exports", Args: cobra.NoArgs,
		Example: "  eval \"$(polder-kube env)\"\n  kubectl get nodes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := filepath.Abs(filepath.Join(dir, "kube", controlplane.AdminFile))
			if err != nil {
				return err
			}
			if _, err := os.Stat(file); err != nil {
				return fmt.Errorf("%w; start polder-kube up, or name its --dir", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "export KUBECONFIG=%q\n", file)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", ".polder", "`directory` of \"polder-kube up\"")
	return c
}
