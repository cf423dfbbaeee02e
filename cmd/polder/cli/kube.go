package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// KubeFile is the file below the context file's directory that agents read what to start for pods from, once "polder-kube up"
// has written it.
const KubeFile = "kube/node.json"

// kubeConfigFile is the kubeconfig that "polder-kube up" writes below the context file's directory.
const kubeConfigFile = "kube/admin.kubeconfig"

func (a *app) doorKubeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "kube", Short: "For kubectl and other clients of Kubernetes",
		Long: `Print what kubectl needs to reach the Kubernetes of the pool, as a shell export.

The kubeconfig is the one that "polder-kube up" wrote on this machine; with it everything in Kubernetes is allowed.`,
		Example: "  eval \"$(polder door env kube)\"\n  kubectl get nodes",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.kubeEnv() },
	}
}

func (a *app) kubeEnv() error {
	c, err := a.findContext()
	if err != nil {
		return err
	}
	if c.TokenFile == "" {
		return fail(exitUsage, "Start one with \"polder up --kube\", or set POLDER_CONTEXT.", "which server? There is no context file")
	}
	file, err := filepath.Abs(filepath.Join(filepath.Dir(c.TokenFile), kubeConfigFile))
	if err != nil {
		return err
	}
	if _, err := os.Stat(file); err != nil {
		return fail(exitNotFound, "Start it with \"polder-kube up --dir "+filepath.Dir(c.TokenFile)+"\".", "server %s has no Kubernetes door here", c.Server)
	}
	fmt.Fprintf(a.Out, "export KUBECONFIG=%s\n", quote(file))
	return nil
}
