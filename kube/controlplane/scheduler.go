package controlplane

import (
	"context"
	"fmt"
	"path/filepath"

	schedulerapp "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
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
}

// scheduler runs kube-scheduler until ctx is done.
func scheduler(ctx context.Context, f *files) error {
	return Scheduler{Kubeconfig: filepath.Join(f.Dir, schedulerFile), File: filepath.Join(f.Dir, schedulerConf), Name: DefaultScheduler, Plugins: f.Plugins}.Run(ctx)
}

// Run runs it until ctx is done.
func (s Scheduler) Run(ctx context.Context) error {
	if err := writeFile(s.File, []byte(s.config()), 0o600); err != nil {
		return err
	}
	o := scheduleroptions.NewOptions()
	if err := parse("kube-scheduler", *o.Flags, []string{"--config=" + s.File, "--secure-port=0"}); err != nil {
		return err
	}
	var plugins []schedulerapp.Option
	for _, p := range s.Plugins {
		plugins = append(plugins, schedulerapp.WithPlugin(p.Name, p.Factory))
	}
	c, made, err := schedulerapp.Setup(ctx, o, plugins...)
	if err != nil {
		return err
	}
	return schedulerapp.Run(ctx, c, made)
}

// config is a configuration of the scheduler with the plugins. Its own preemption is off: who leaves is for the pool to say.
func (s Scheduler) config() string {
	enabled, binders := "", ""
	for _, p := range s.Plugins {
		enabled += "\n      - name: " + p.Name
		if p.Binds {
			binders += "\n      - name: " + p.Name
		}
	}
	if enabled != "" {
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
leaderElection:
  leaderElect: false
profiles:
- schedulerName: %q
%s`, s.Kubeconfig, s.Name, enabled)
}
