package controlplane

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	cliflag "k8s.io/component-base/cli/flag"
	apiapp "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apioptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	managerapp "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	manageroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	schedulerapp "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	schedulerruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
)

// Plugin is a plugin for the scheduler.
type Plugin struct {
	Name    string
	Factory schedulerruntime.PluginFactory
}

// parse reads the flags a component's command line would have.
func parse(component string, sets cliflag.NamedFlagSets, args []string) error {
	all := pflag.NewFlagSet(component, pflag.ContinueOnError)
	for _, s := range sets.FlagSets {
		all.AddFlagSet(s)
	}
	if err := all.Parse(args); err != nil {
		return fmt.Errorf("%s: %w", component, err)
	}
	return nil
}

// apiServer runs kube-apiserver until ctx is done.
func apiServer(ctx context.Context, f *files, etcd string) error {
	host, port, err := net.SplitHostPort(f.Listen)
	if err != nil {
		return err
	}
	args := []string{
		"--bind-address=" + host, "--secure-port=" + port, "--tls-cert-file=" + f.server[0], "--tls-private-key-file=" + f.server[1],
		"--client-ca-file=" + f.ca.file, "--etcd-servers=" + etcd, "--etcd-cafile=" + f.etcdCA.file,
		"--etcd-certfile=" + f.etcdClient[0], "--etcd-keyfile=" + f.etcdClient[1],
		"--kubelet-client-certificate=" + f.kubelet[0], "--kubelet-client-key=" + f.kubelet[1],
		"--kubelet-preferred-address-types=InternalIP,Hostname",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + strings.TrimSuffix(f.serviceAccounts, ".key") + ".crt",
		"--service-account-signing-key-file=" + f.serviceAccounts, "--service-cluster-ip-range=" + f.ServiceCIDR,
		"--authorization-mode=Node,RBAC", "--enable-bootstrap-token-auth", "--allow-privileged",
		"--enable-admission-plugins=NodeRestriction", "--disable-admission-plugins=ResourceQuota", "--profiling=false",
	}
	if f.Advertise != nil {
		args = append(args, "--advertise-address="+f.Advertise.String())
	} else { // a service may not lead to loopback: there is none
		args = append(args, "--endpoint-reconciler-type=none")
	}
	s := apioptions.NewServerRunOptions()
	if err := parse("kube-apiserver", s.Flags(), args); err != nil {
		return err
	}
	if err := s.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	c, err := s.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := c.Validate(); len(errs) > 0 {
		return utilerrors.NewAggregate(errs)
	}
	return apiapp.Run(ctx, c)
}

// manager runs kube-controller-manager until ctx is done.
func manager(ctx context.Context, f *files) error {
	pki := filepath.Join(f.Dir, pkiDir)
	o, err := manageroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	known, off, aliases := managerapp.KnownControllers(), managerapp.ControllersDisabledByDefault(), managerapp.ControllerAliases()
	err = parse("kube-controller-manager", o.Flags(known, off, aliases), []string{
		"--kubeconfig=" + filepath.Join(f.Dir, managerFile), "--secure-port=0", "--leader-elect=false", "--profiling=false",
		"--root-ca-file=" + f.ca.file, "--service-account-private-key-file=" + f.serviceAccounts,
		"--cluster-signing-cert-file=" + f.ca.file, "--cluster-signing-key-file=" + filepath.Join(pki, "ca.key"),
		"--controllers=*,-node-lifecycle-controller,-resourcequota-controller",
	})
	if err != nil {
		return err
	}
	c, err := o.Config(ctx, known, off, aliases)
	if err != nil {
		return err
	}
	return managerapp.Run(ctx, c.Complete())
}

// scheduler runs kube-scheduler until ctx is done.
func scheduler(ctx context.Context, f *files) error {
	if err := f.writeSchedulerConfig(); err != nil {
		return err
	}
	o := scheduleroptions.NewOptions()
	err := parse("kube-scheduler", *o.Flags, []string{"--config=" + filepath.Join(f.Dir, schedulerConf), "--secure-port=0"})
	if err != nil {
		return err
	}
	var plugins []schedulerapp.Option
	for _, p := range f.Plugins {
		plugins = append(plugins, schedulerapp.WithPlugin(p.Name, p.Factory))
	}
	c, s, err := schedulerapp.Setup(ctx, o, plugins...)
	if err != nil {
		return err
	}
	return schedulerapp.Run(ctx, c, s)
}

// writeSchedulerConfig writes a configuration of the scheduler with the plugins. Its own preemption is off: who leaves is for
// the pool to say.
func (f *files) writeSchedulerConfig() error {
	enabled := ""
	for _, p := range f.Plugins {
		enabled += "\n      - name: " + p.Name
	}
	if enabled != "" {
		enabled = "\n    multiPoint:\n      enabled:" + enabled + "\n      disabled:\n      - name: DefaultPreemption"
	}
	text := fmt.Sprintf(`apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection:
  kubeconfig: %q
  qps: 500
  burst: 1000
leaderElection:
  leaderElect: false
profiles:
- schedulerName: default-scheduler
  plugins:%s
`, filepath.Join(f.Dir, schedulerFile), enabled)
	if enabled == "" {
		text = text[:len(text)-len("  plugins:\n")]
	}
	return writeFile(filepath.Join(f.Dir, schedulerConf), []byte(text), 0o600)
}
