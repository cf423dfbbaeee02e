// Command stock is a Kubernetes control plane that knows nothing of Polder, for tests: etcd, API server, controller manager and the stock
// scheduler in one process, as anybody might have them.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/rest"

	"polder.dev/polder/kube/controlplane"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: stock DIRECTORY ADDRESS")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	c := controlplane.Config{Dir: os.Args[1], Listen: os.Args[2], ServiceCIDR: "10.97.0.0/16", UnsafeNoSync: true, Wire: true, Lifecycle: true}
	err := controlplane.Run(ctx, c, func(context.Context, *rest.Config) error {
		fmt.Fprintln(os.Stderr, "The stock control plane is up")
		return nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
