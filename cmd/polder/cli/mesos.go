package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// DefaultMesos is where "polder up" serves the Mesos door.
const DefaultMesos = "127.0.0.1:5050"

// MesosAddressFile is the file beside the context file that says where the Mesos door listens.
const MesosAddressFile = "mesos.addr"

// registerMesos adds the flag that says where the Mesos door listens.
func registerMesos(cmd *cobra.Command, addr *string, def string) {
	cmd.Flags().StringVar(addr, "mesos", def, "`address` of the Mesos door, host:port: plain HTTP on loopback, TLS elsewhere (empty: none)")
}

func (a *app) doorMesosCmd() *cobra.Command {
	return &cobra.Command{
		Use: "mesos", Short: "For Mesos frameworks and tools",
		Long: `Print what clients of the Mesos door need, as shell exports.

A Mesos client authenticates with HTTP basic: the principal is the token's name, the secret is the token. A client on this
machine that can send no credentials needs the token in its environment, as POLDER_TOKEN.`,
		Example: "  eval \"$(polder door env mesos)\"\n  curl -u \"admin:$POLDER_TOKEN\" \"$MESOS_MASTER_URL/state\"",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.mesosEnv() },
	}
}

// mesosEnv finds the door's address beside the token of the server that this process would talk to.
func (a *app) mesosEnv() error {
	c, err := a.findContext()
	if err != nil {
		return err
	}
	if c.TokenFile == "" {
		return fail(exitUsage, "Start one with \"polder up\", or set POLDER_CONTEXT.", "which server? There is no context file")
	}
	addr, err := os.ReadFile(filepath.Join(filepath.Dir(c.TokenFile), MesosAddressFile))
	if err != nil {
		return fail(exitNotFound, "Start the server with --mesos "+DefaultMesos+".", "server %s serves no Mesos door here", c.Server)
	}
	token, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	at := strings.TrimSpace(string(addr))
	fmt.Fprintf(a.Out, "export MESOS_MASTER=%s\nexport MESOS_MASTER_URL=http://%[1]s\nexport MESOS_MASTER_HTTP=http://%[1]s/api/v1/scheduler\nexport POLDER_TOKEN=%s\n",
		at, strings.TrimSpace(string(token)))
	return nil
}
