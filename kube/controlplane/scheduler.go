package controlplane

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"

	v1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	schedulerapp "k8s.io/kubernetes/cmd/kube-scheduler/app"
	schedulerconfig "k8s.io/kubernetes/cmd/kube-scheduler/app/config"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	kubescheduler "k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	schedulerruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
)

// Plugin is a plugin for the scheduler.
type Plugin struct {
	Name    string
	Factory schedulerruntime.PluginFactory
	Binds   bool // it binds pods, too
}

// DefaultScheduler is the name that pods have whose owners say nothing.
const DefaultScheduler = "default-scheduler"

// Scheduler is kube-scheduler with plugins, for one name that pods may give.
type Scheduler struct {
	Kubeconfig string
	File       string // its configuration, which is written at the start
	Name       string
	Plugins    []Plugin

	inside *inside // its way to an API server of this process; nil is through the kubeconfig
}

// scheduler runs kube-scheduler until ctx is done.
func scheduler(ctx context.Context, f *files) error {
	s := Scheduler{Kubeconfig: filepath.Join(f.Dir, schedulerFile), File: filepath.Join(f.Dir, schedulerConf), Name: DefaultScheduler, Plugins: f.Plugins}
	if !f.Wire {
		s.inside = &f.inside
	}
	return s.Run(ctx)
}

// Run runs it until ctx is done.
func (s Scheduler) Run(ctx context.Context) error {
	if err := writeFile(s.File, []byte(s.config()), 0o600); err != nil {
		return err
	}
	o := scheduleroptions.NewOptions()
	err := parse("kube-scheduler", *o.Flags, []string{"--config=" + s.File, "--secure-port=0"})
	if err != nil {
		return err
	}
	if o.ComponentConfig, err = latest.Default(); err != nil {
		return err
	}
	if errs := o.Validate(); len(errs) > 0 {
		return utilerrors.NewAggregate(errs)
	}
	c, err := o.Config(ctx)
	if err != nil {
		return err
	}
	if s.inside != nil {
		if err := s.callInside(ctx, c); err != nil {
			return err
		}
	}
	completed := c.Complete()
	made, err := s.new(ctx, c)
	if err != nil {
		return err
	}
	return schedulerapp.Run(ctx, &completed, made)
}

// callInside makes the clients of the scheduler anew, for this process.
func (s Scheduler) callInside(ctx context.Context, c *schedulerconfig.Config) error {
	s.inside.lead(c.KubeConfig, schedulerUser)
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(c.KubeConfig, "scheduler"))
	if err != nil {
		return err
	}
	forEvents, err := kubernetes.NewForConfig(c.KubeConfig)
	if err != nil {
		return err
	}
	forAny, err := dynamic.NewForConfig(c.KubeConfig)
	if err != nil {
		return err
	}
	c.EventBroadcaster.Shutdown()
	c.EventBroadcaster = events.NewEventBroadcasterAdapterWithContext(ctx, forEvents)
	c.Client, c.InformerFactory = client, kubescheduler.NewInformerFactory(client, 0, nil)
	c.DynInformerFactory = dynamicinformer.NewFilteredDynamicSharedInformerFactory(forAny, 0, v1.NamespaceAll, nil)
	return nil
}

// new makes the scheduler as its own command does, with the plugins.
func (s Scheduler) new(ctx context.Context, c *schedulerconfig.Config) (*kubescheduler.Scheduler, error) {
	plugins := schedulerruntime.Registry{}
	for _, p := range s.Plugins {
		if err := plugins.Register(p.Name, p.Factory); err != nil {
			return nil, err
		}
	}
	said := &c.ComponentConfig
	return kubescheduler.New(ctx, c.Client, c.InformerFactory, c.DynInformerFactory,
		func(name string) events.EventRecorderLogger { return c.EventBroadcaster.NewRecorder(name) },
		kubescheduler.WithComponentConfigVersion(said.APIVersion),
		kubescheduler.WithKubeConfig(c.KubeConfig),
		kubescheduler.WithProfiles(said.Profiles...),
		kubescheduler.WithPercentageOfNodesToScore(said.PercentageOfNodesToScore),
		kubescheduler.WithFrameworkOutOfTreeRegistry(plugins),
		kubescheduler.WithPodMaxBackoffSeconds(said.PodMaxBackoffSeconds),
		kubescheduler.WithPodInitialBackoffSeconds(said.PodInitialBackoffSeconds),
		kubescheduler.WithPodMaxInUnschedulablePodsDuration(c.PodMaxInUnschedulablePodsDuration),
		kubescheduler.WithExtenders(said.Extenders...),
		kubescheduler.WithParallelism(said.Parallelism),
	)
}

// Of the scheduler: it looks at no more nodes at once than there are processors, as more only take turns; and of the nodes that take a pod it
// compares as many as Kubernetes does by itself in large clusters, and a hundred at the least.
const (
	usualParallelism = 16 // is the default
	scoredPercentage = 5
)

// config is a configuration of the scheduler with the plugins. Its own preemption is off: who leaves is for the pool to say.
func (s Scheduler) config() string {
	enabled, binders, settings := "", "", ""
	for _, p := range s.Plugins {
		enabled += "\n      - name: " + p.Name
		if p.Binds {
			binders += "\n      - name: " + p.Name
		}
	}
	if enabled != "" {
		settings = fmt.Sprintf("parallelism: %d\npercentageOfNodesToScore: %d\n", min(runtime.GOMAXPROCS(0), usualParallelism), scoredPercentage)
		// Who binds is asked in order, and the first that does is the last.
		enabled = "  plugins:\n    multiPoint:\n      enabled:" + enabled + "\n      disabled:\n      - name: DefaultPreemption" +
			"\n    bind:\n      enabled:" + binders + "\n      - name: DefaultBinder\n      disabled:\n      - name: '*'\n"
	}
	return fmt.Sprintf(`apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection:
  kubeconfig: %q
  qps: 500
  burst: 1000
%sleaderElection:
  leaderElect: false
profiles:
- schedulerName: %q
%s`, s.Kubeconfig, settings, s.Name, enabled)
}
