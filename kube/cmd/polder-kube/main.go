// Command polder-kube is the Kubernetes door: a stock Kubernetes whose machines are Polder's pool. "polder-kube up" runs the
// control plane, "polder-kube attach" works in one that is there; agents start "polder-kube node" for pods; "polder-kube kubectl" is kubectl.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	proxyapp "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubeletapp "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	// These are commands of Kubernetes, with flags and signal handlers of their own.
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "kubelet":
			os.Exit(stock(kubeletapp.NewKubeletCommand(context.Background())))
		case "kube-proxy":
			os.Exit(stock(proxyapp.NewProxyCommand()))
		case "kubectl":
			os.Exit(stock(cmd.NewDefaultKubectlCommand()))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

// stock runs a command of Kubernetes with the arguments after its name.
func stock(c *cobra.Command) int {
	c.SetArgs(os.Args[2:])
	os.Args = append([]string{c.Name()}, os.Args[2:]...) // some look there themselves
	return cli.Run(c)
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use: "polder-kube", Short: "Kubernetes on Polder's pool", SilenceUsage: true, SilenceErrors: true,
		Example: "  polder-kube up --dir .polder\n  eval \"$(polder-kube env --dir .polder)\"\n  polder-kube kubectl get nodes",
	}
	c.AddCommand(upCommand(), attachCommand(), rbacCommand(), nodeCommand(), execCommand(), envCommand())
	return c
}
