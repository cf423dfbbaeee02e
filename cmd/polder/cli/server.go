package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// ServerOptions are the flags of "polder server".
type ServerOptions struct {
	// Dir holds the CA, the first token, and the embedded store's data.
	Dir string
	// Listen is the address of the API, host:port.
	Listen string
	// Advertise lists the names and addresses others reach this server by; they go into its certificate.
	Advertise []string
	// Name tells servers of one cluster apart; empty is the host's name.
	Name string
	// Store is "embedded", "memory" or "etcd".
	Store string
	// Mesos is the address of the Mesos door, host:port; empty is no door.
	Mesos string
	// OneMachine says that every node is on this machine.
	OneMachine bool
	// Docker is the address of the Docker door, host:port; empty opens none.
	Docker string
	// DockerSocket opens the Docker door on a socket in Dir, for whoever owns that.
	DockerSocket bool
	// NodeLostAfter is how long a node may stay away before its tasks count as lost; zero is the server's own default.
	NodeLostAfter time.Duration
	// Etcd is the external store; used only when Store is "etcd".
	Etcd EtcdOptions
}

// EtcdOptions say how to reach an external etcd. The files are PEM; all empty means the system's roots and no client
// certificate.
type EtcdOptions struct {
	Endpoints     []string
	CA, Cert, Key string
}

func (a *app) serverCmd() *cobra.Command {
	o := ServerOptions{Store: "embedded"}
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the server: the leader, its store and the API",
		Long: `Run the server: the leader that knows who holds what, its store, and the API.

Several servers may share an external etcd: one leads, and another takes over when it is gone. Each has a --dir of its own; copy
the directory ca of the first into those of the others before they start, and give agents all addresses. A server that does not
lead answers nothing but that.

The first start makes the cluster's own CA and an administrator's token in --dir and says where they are. A restart loses
nothing and stops no task. With --store memory nothing is kept; it is for trying things out.`,
		Example: "  polder server --dir /var/lib/polder --listen 0.0.0.0:7070 --advertise polder.example.com\n" +
			"  polder server --store etcd --etcd-endpoints https://10.0.0.5:2379 --etcd-ca ca.pem --etcd-cert me.pem --etcd-key me-key.pem",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return usageError(cmd, err)
			}
			return process(cmd, a.Processes.Server, a.Streams, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "/var/lib/polder", "`directory` for the CA, the first token and the embedded store")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:7070", "`address` of the API, host:port")
	registerMesos(cmd, &o.Mesos, "")
	registerDocker(cmd, &o.Docker, "")
	f.StringSliceVar(&o.Advertise, "advertise", nil, "`names` and addresses others reach this server by")
	f.StringVar(&o.Name, "name", "", "`name` of this server in the cluster (default the host's name)")
	f.DurationVar(&o.NodeLostAfter, "node-lost-after", 0, "`time` that a node may stay away before its tasks count as lost and wait again (default 5m)")
	f.Var(&choice{&o.Store, []string{"embedded", "memory", "etcd"}}, "store", "`kind` of store: embedded, memory or etcd")
	f.StringSliceVar(&o.Etcd.Endpoints, "etcd-endpoints", nil, "`URLs` of the external etcd")
	f.StringVar(&o.Etcd.CA, "etcd-ca", "", "`file` with etcd's CA in PEM")
	f.StringVar(&o.Etcd.Cert, "etcd-cert", "", "`file` with the client certificate for etcd in PEM")
	f.StringVar(&o.Etcd.Key, "etcd-key", "", "`file` with the key of --etcd-cert in PEM")
	complete(cmd, "store", "embedded", "memory", "etcd")
	return cmd
}

// check refuses options that contradict each other.
func (o ServerOptions) check() error {
	external := len(o.Etcd.Endpoints) > 0 || o.Etcd.CA != "" || o.Etcd.Cert != "" || o.Etcd.Key != ""
	switch {
	case o.NodeLostAfter < 0:
		return fmt.Errorf("--node-lost-after %v: want a time, such as 5m", o.NodeLostAfter)
	case o.Store == "etcd" && len(o.Etcd.Endpoints) == 0:
		return fmt.Errorf("--store etcd needs --etcd-endpoints")
	case o.Store != "etcd" && external:
		return fmt.Errorf("the --etcd flags need --store etcd, not %s", o.Store)
	case (o.Etcd.Cert == "") != (o.Etcd.Key == ""):
		return fmt.Errorf("--etcd-cert and --etcd-key belong together")
	}
	return nil
}

func errAtLeast(flag string, n int) error { return fmt.Errorf("%s must be at least %d", flag, n) }
