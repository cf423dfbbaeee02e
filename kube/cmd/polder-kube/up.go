package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/kube/claim"
	"polder.dev/polder/kube/controlplane"
	"polder.dev/polder/kube/identity"
	"polder.dev/polder/kube/metrics"
	"polder.dev/polder/kube/mirror"
	"polder.dev/polder/kube/namespace"
	"polder.dev/polder/kube/network"
	"polder.dev/polder/kube/pool"
	"polder.dev/polder/kube/reclaim"
	"polder.dev/polder/kube/report"
	"polder.dev/polder/kube/volume"
)

// upOptions are the flags of "polder-kube up".
type upOptions struct {
	dir, context, listen, usual, defaults string
	serviceCIDR, podCIDR, sandbox, images string
	containerd, cni, dns                  string
	noSync                                bool
}

func upCommand() *cobra.Command {
	var o upOptions
	c := &cobra.Command{
		Use: "up", Short: "Run the control plane until Ctrl-C", Args: cobra.NoArgs,
		Long: `Run a Kubernetes control plane whose machines are Polder's pool, until Ctrl-C. Pods go on without it.

With the --dir of "polder up --kube" it finds the server there, and the agents find what to start for pods.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return up(cmd.Context(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.dir, "dir", ".polder", "`directory` of \"polder up\"; everything of the door is in kube below it")
	f.StringVar(&o.context, "context", "", "context `file` that says where the server is (default context.yaml in --dir)")
	f.StringVar(&o.listen, "listen", "127.0.0.1:6443", "`address` of the Kubernetes API, host:port")
	f.StringVar(&o.usual, "default-role", "default", "`role` of namespaces that have none of their own")
	f.StringVar(&o.defaults, "default-requests", "cpu=50m,memory=64Mi", "`resources` that are leased for pods as far as they request none; empty refuses pods that request nothing")
	f.StringVar(&o.serviceCIDR, "service-cidr", "10.97.0.0/16", "`range` of services' addresses")
	f.StringVar(&o.podCIDR, "pod-cidr", "10.89.0.0/16", "`range` of pods' addresses on a machine")
	f.StringVar(&o.sandbox, "sandbox-image", "registry.k8s.io/pause:3.10", "`image` that holds pods' namespaces")
	f.StringVar(&o.images, "images", "", "`directory` of image archives that nodes load when they start")
	f.StringVar(&o.containerd, "containerd", "", "`socket` of the machines' containerd; empty starts one for each node")
	f.StringVar(&o.cni, "cni", "/usr/lib/cni", "`directory` of CNI's plugins on the machines")
	f.StringVar(&o.dns, "dns", "", "`address` of a name server for pods (default the machine's own, unless --containerd is given)")
	f.BoolVar(&o.noSync, "unsafe-no-sync", false, "do not wait for the disk; for tests")
	return c
}

func up(ctx context.Context, o upOptions) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var err error
	if o.dir, err = filepath.Abs(filepath.Join(o.dir, "kube")); err != nil {
		return err
	}
	if o.context == "" {
		o.context = filepath.Join(filepath.Dir(o.dir), "context.yaml")
	}
	address, err := pool.ReadAddress(o.context)
	if err != nil {
		return err
	}
	client, err := pool.Dial(address)
	if err != nil {
		return err
	}
	defaults, err := resource.Parse(o.defaults)
	if err != nil {
		return fmt.Errorf("--default-requests: %w", err)
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	callers := identity.NewCallers(client, log)
	d := &doorway{o: o, log: log, client: client, defaults: defaults, nodes: pool.WatchNodes(client, log),
		usage: metrics.NewSource(), callers: callers, requests: identity.NewGate(callers), admission: namespace.NewGate(callers)}
	return d.run(ctx)
}

// doorway is a running door.
type doorway struct {
	o        upOptions
	log      *slog.Logger
	client   *pool.Client
	defaults resource.Resources
	nodes    *pool.Nodes
	usage    *metrics.Source

	callers   *identity.Callers
	requests  *identity.Gate
	admission *namespace.Gate

	book  *claim.Book
	queue queue
	all   *errgroup.Group
}

// run starts the control plane, and the door's controllers once it answers.
func (d *doorway) run(ctx context.Context) error {
	plane := controlplane.Config{Dir: d.o.dir, Listen: d.o.listen, ServiceCIDR: d.o.serviceCIDR, UnsafeNoSync: d.o.noSync,
		Plugins: []controlplane.Plugin{{Name: claim.Name, Factory: d.plugin, Binds: true}, {Name: volume.Name, Factory: volume.Factory(d.nodes)}},
		Install: func(s *genericserver.GenericAPIServer) error { return metrics.Install(s, d.usage) },
		Tokens:  d.callers, Authorize: authorizer.AuthorizerFunc(d.requests.Authorize), Follow: d.requests.Follow, Admission: d.admission}
	if host, _, err := net.SplitHostPort(d.o.listen); err == nil {
		if ip := net.ParseIP(host); ip != nil && !ip.IsLoopback() && !ip.IsUnspecified() {
			plane.Advertise = ip
		}
	}
	if d.o.containerd == "" { // then the network of pods is ours, too
		gateway, err := network.Gateway(d.o.podCIDR)
		if err != nil {
			return err
		}
		plane.Machines = netip.AddrPortFrom(gateway.Addr(), network.RelayPort)
	}
	d.all, ctx = errgroup.WithContext(ctx)
	d.all.Go(func() error { d.nodes.Run(ctx); return nil })
	d.all.Go(func() error {
		return controlplane.Run(ctx, plane, func(ctx context.Context, config *rest.Config) error { return d.ready(ctx, config) })
	})
	return d.all.Wait()
}

// ready starts the controllers.
func (d *doorway) ready(ctx context.Context, config *rest.Config) error {
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: kube.EventsV1()})
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return err
	}
	recorder := broadcaster.NewRecorder(scheme.Scheme, "polder")
	factory := informers.NewSharedInformerFactory(kube, 0)
	podLister, nsLister, nodeLister := factory.Core().V1().Pods().Lister(), factory.Core().V1().Namespaces().Lister(), factory.Core().V1().Nodes().Lister()
	budgets := factory.Policy().V1().PodDisruptionBudgets().Lister()
	roles := namespace.New(d.client, d.nodes, kube, nsLister, d.o.usual, recorder, d.log)
	d.book = claim.NewBook(d.client, d.nodes, roles, d.defaults, d.log)
	d.book.SetVolumes(volume.Mounts{Client: kube, Claims: factory.Core().V1().PersistentVolumeClaims().Lister(), Volumes: factory.Core().V1().PersistentVolumes().Lister()})
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	if err := roles.Refresh(ctx); err != nil {
		return fmt.Errorf("reading the plan's roles: %w", err)
	}
	if err := metrics.Register(ctx, config); err != nil {
		return fmt.Errorf("metrics.k8s.io: %w", err)
	}
	d.usage.Open(metrics.Cluster{Pods: podLister, Nodes: nodeLister, Summary: metrics.Kubelets(kube)})
	d.requests.Open(roles)
	d.admission.Open(roles)
	d.all.Go(func() error { roles.Run(ctx); return nil })
	d.all.Go(func() error { mirror.Run(ctx, kube, d.nodes, d.log); return nil })
	d.all.Go(func() error { report.Run(ctx, d.client, d.o.listen, d.log); return nil })
	d.all.Go(func() error {
		d.book.Run(ctx, claim.Cluster{Client: kube, Pods: podLister, Events: recorder, Queue: &d.queue})
		return nil
	})
	d.all.Go(func() error {
		reclaim.Run(ctx, reclaim.Cluster{Pool: d.client, Book: d.book, Client: kube, Pods: podLister, Budgets: budgets, Events: recorder, Logger: d.log})
		return nil
	})
	d.all.Go(func() error {
		volume.Run(ctx, volume.Cluster{Pool: d.client.Volumes, Roles: roles, Client: kube, Informers: factory, Events: recorder, Logger: d.log})
		return nil
	})
	if err := errors.Join(d.letNodes(), d.letPeople(config)); err != nil {
		return err
	}
	d.log.Info("Kubernetes is up", "address", "https://"+d.o.listen, "kubeconfig", filepath.Join(d.o.dir, controlplane.AdminFile))
	return nil
}

// letNodes writes the file that tells agents what to start for pods.
func (d *doorway) letNodes() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	command := []string{exe, "node", "--join", filepath.Join(d.o.dir, controlplane.JoinFile), "--sandbox-image", d.o.sandbox, "--pod-cidr", d.o.podCIDR, "--cni", d.o.cni}
	for flag, value := range map[string]string{"--images": d.o.images, "--containerd": d.o.containerd, "--dns": d.o.dns} {
		if value != "" {
			command = append(command, flag, value)
		}
	}
	inPod := []string{exe, "exec"}
	if d.o.containerd != "" {
		inPod = append(inPod, "--containerd", d.o.containerd)
	}
	return writeJSON(filepath.Join(d.o.dir, "node.json"), map[string]any{"command": command, "exec": inPod})
}

// letPeople writes the file that "polder door env kube" makes a kubeconfig of. Nothing in it is secret.
func (d *doorway) letPeople(config *rest.Config) error {
	return writeJSON(filepath.Join(d.o.dir, "client.json"), map[string]any{"server": config.Host, "ca": string(config.CAData)})
}

// writeJSON replaces a file.
func writeJSON(file string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
