package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/events"
	logsapi "k8s.io/component-base/logs/api/v1"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/kube/attach"
	"polder.dev/polder/kube/claim"
	"polder.dev/polder/kube/controlplane"
	"polder.dev/polder/kube/namespace"
	"polder.dev/polder/kube/pool"
	"polder.dev/polder/kube/reclaim"
	"polder.dev/polder/kube/report"
)

// attachOptions are the flags of "polder-kube attach".
type attachOptions struct {
	dir, context, kubeconfig, scheduler, usual, defaults string
}

func attachCommand() *cobra.Command {
	var o attachOptions
	c := &cobra.Command{
		Use: "attach", Short: "Place pods of a Kubernetes that you have, until Ctrl-C", Args: cobra.NoArgs,
		Long: `Place pods of a Kubernetes that you have on its own machines, on leases of the pool, until Ctrl-C. Its control plane and its
kubelets stay as they are. Pods whose schedulerName is --scheduler-name are ours; all others are counted and never touched. Pods go on
without it.

Every machine that is to share needs an agent: "polder agent --kubelet / --node NAME" with the name of its Node.`,
		Example: "  polder-kube rbac | kubectl apply -f -\n  polder-kube attach --kubeconfig door.kubeconfig --context context.yaml",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runAttach(cmd.Context(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` that says where the cluster is and who is calling")
	f.StringVar(&o.dir, "dir", ".polder", "`directory` for the scheduler's configuration, in kube-attached below it")
	f.StringVar(&o.context, "context", "", "context `file` that says where the pool's server is (default context.yaml in --dir)")
	f.StringVar(&o.scheduler, "scheduler-name", "polder", "`name` that pods give as schedulerName; default-scheduler places all, where no other scheduler of the name runs")
	f.StringVar(&o.usual, "default-role", "default", "`role` of namespaces that have none of their own")
	f.StringVar(&o.defaults, "default-requests", "cpu=50m,memory=64Mi", "`resources` that are leased for pods as far as they request none; empty refuses pods that request nothing")
	_ = c.MarkFlagRequired("kubeconfig")
	return c
}

func rbacCommand() *cobra.Command {
	var ns string
	c := &cobra.Command{
		Use: "rbac", Short: "Print the account and the permissions that attach needs in a cluster", Args: cobra.NoArgs,
		Example: "  polder-kube rbac | kubectl apply -f -\n  kubectl -n polder-system create token polder-kube",
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := attach.Manifest(ns)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
	c.Flags().StringVar(&ns, "namespace", "polder-system", "`namespace` of the account")
	return c
}

// guest is a door that works in a cluster of somebody else's.
type guest struct {
	doorway
	a    attachOptions
	kube kubernetes.Interface
	host string // of the cluster's API
}

// runAttach checks everything before it does anything.
func runAttach(ctx context.Context, a attachOptions) error {
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged // the scheduler wants to set up the logs
	g := &guest{a: a, doorway: doorway{log: slog.New(slog.NewTextHandler(os.Stderr, nil))}}
	var err error
	if g.defaults, err = resource.Parse(a.defaults); err != nil {
		return fmt.Errorf("--default-requests: %w", err)
	}
	if g.a.kubeconfig, err = filepath.Abs(a.kubeconfig); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", g.a.kubeconfig)
	if err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 200, 400
	if g.kube, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	g.host = config.Host
	if err := attach.Check(ctx, g.kube); err != nil {
		return err
	}
	if a.context == "" {
		a.context = filepath.Join(a.dir, "context.yaml")
	}
	address, err := pool.ReadAddress(a.context)
	if err != nil {
		return err
	}
	if g.client, err = pool.Dial(address); err != nil {
		return err
	}
	g.nodes = pool.WatchNodes(g.client, g.log)
	return g.run(ctx)
}

// run works until ctx is done or something fails.
func (g *guest) run(ctx context.Context) error {
	dir, err := filepath.Abs(filepath.Join(g.a.dir, "kube-attached"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	outer := ctx
	g.all, ctx = errgroup.WithContext(ctx)
	g.all.Go(func() error { g.nodes.Run(ctx); return nil })
	g.all.Go(func() error {
		if err := g.controllers(ctx); err != nil {
			return err
		}
		s := controlplane.Scheduler{Kubeconfig: g.a.kubeconfig, File: filepath.Join(dir, "scheduler.yaml"), Name: g.a.scheduler,
			Plugins: []controlplane.Plugin{{Name: claim.Name, Factory: g.plugin, Binds: true}}}
		if err := s.Run(ctx); ctx.Err() == nil {
			return fmt.Errorf("the scheduler ended: %w", errors.Join(err, errors.New("its log is above")))
		}
		return nil
	})
	if err := g.all.Wait(); outer.Err() == nil {
		return err
	}
	return nil
}

// controllers starts what keeps pods and leases together.
func (g *guest) controllers(ctx context.Context) error {
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: g.kube.EventsV1()})
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return err
	}
	recorder := broadcaster.NewRecorder(scheme.Scheme, "polder")
	factory := informers.NewSharedInformerFactory(g.kube, 0)
	pods, namespaces := factory.Core().V1().Pods().Lister(), factory.Core().V1().Namespaces().Lister()
	budgets := factory.Policy().V1().PodDisruptionBudgets().Lister()
	roles := namespace.New(g.client, g.nodes, g.kube, namespaces, g.a.usual, recorder, g.log)
	roles.Guest()
	g.book = claim.NewBook(g.client, g.nodes, roles, g.defaults, g.log)
	g.book.Guest(g.a.scheduler)
	system, err := g.kube.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{}) // it lasts as long as the cluster
	if err != nil {
		return fmt.Errorf("which cluster it is: %w", err)
	}
	g.book.InCluster(string(system.UID))
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	if err := roles.Refresh(ctx); err != nil {
		return fmt.Errorf("reading the plan's roles: %w", err)
	}
	if err := g.meet(ctx); err != nil {
		return err
	}
	g.all.Go(func() error { roles.Run(ctx); return nil })
	g.all.Go(func() error { report.Run(ctx, g.client, g.host, g.log); return nil })
	g.all.Go(func() error {
		g.book.Run(ctx, claim.Cluster{Client: g.kube, Pods: pods, Events: recorder, Queue: &g.queue})
		return nil
	})
	g.all.Go(func() error {
		reclaim.Run(ctx, reclaim.Cluster{Pool: g.client, Book: g.book, Client: g.kube, Pods: pods, Budgets: budgets, Events: recorder, Logger: g.log})
		return nil
	})
	return nil
}

// meet says which Nodes of the cluster share, and which are left alone.
func (g *guest) meet(ctx context.Context) error {
	select {
	case <-g.nodes.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	list, err := g.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("the cluster's Nodes: %w", err)
	}
	var shared, alone []string
	for _, n := range list.Items {
		if _, ok := g.nodes.Get(n.Name); ok {
			shared = append(shared, n.Name)
		} else {
			alone = append(alone, n.Name)
		}
	}
	slices.Sort(shared)
	slices.Sort(alone)
	g.log.Info("attached to Kubernetes", "address", g.host, "schedulerName", g.a.scheduler, "nodes", shared, "without an agent", alone)
	return nil
}
