package controlplane

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/user"
	authorizerunion "k8s.io/apiserver/pkg/authorization/union"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	cliflag "k8s.io/component-base/cli/flag"
	apiapp "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apioptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	managerapp "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	manageroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
)

// lastCalls is how long the API server waits at its end for what is open. The stock minute is for answers; a log that is followed never ends by
// itself.
const lastCalls = 3 * time.Second

// admissionName is the name of [Config.Admission] among the plugins of the API server.
const admissionName = "Polder"

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
		"--client-ca-file=" + f.ca.file, "--etcd-servers=" + etcd,
		"--kubelet-client-certificate=" + f.kubelet[0], "--kubelet-client-key=" + f.kubelet[1],
		"--kubelet-preferred-address-types=InternalIP,Hostname",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-jwks-uri=https://kubernetes.default.svc/openid/v1/jwks", "--service-account-key-file=" + strings.TrimSuffix(f.serviceAccounts, ".key") + ".crt",
		"--service-account-signing-key-file=" + f.serviceAccounts, "--service-cluster-ip-range=" + f.ServiceCIDR,
		"--authorization-mode=Node,RBAC", "--enable-bootstrap-token-auth", "--allow-privileged",
		"--enable-admission-plugins=NodeRestriction,DenyServiceExternalIPs", "--disable-admission-plugins=ResourceQuota", "--profiling=false",
	}
	if strings.HasPrefix(etcd, "https:") {
		args = append(args, "--etcd-cafile="+f.etcdCA.file, "--etcd-certfile="+f.etcdClient[0], "--etcd-keyfile="+f.etcdClient[1])
	}
	if f.Advertise != nil {
		args = append(args, "--advertise-address="+f.Advertise.String())
	} else { // a service may not lead to loopback: there is none
		args = append(args, "--endpoint-reconciler-type=none")
	}
	s := apioptions.NewServerRunOptions()
	if f.Admission != nil { // among the last, as what is asked by webhooks is
		admissions := s.Admission.GenericAdmission
		admissions.Plugins.Register(admissionName, func(io.Reader) (admission.Interface, error) { return f.Admission, nil })
		admissions.RecommendedPluginOrder = append(slices.Clone(admissions.RecommendedPluginOrder), admissionName)
	}
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
	return serve(ctx, f, c)
}

// serve is what the API server's own command does, with callers and permissions of the pool beside those of Kubernetes.
func serve(ctx context.Context, f *files, o apioptions.CompletedOptions) error {
	var err error
	if o.InformerName, err = cache.NewInformerName("kube-apiserver"); err != nil {
		return err
	}
	c, err := apiapp.NewConfig(o)
	if err != nil {
		return err
	}
	for _, g := range []*genericserver.Config{c.KubeAPIs.ControlPlane.Generic, &c.ApiExtensions.GenericConfig.Config, &c.Aggregator.GenericConfig.Config} {
		if err := f.letCallers(g); err != nil {
			return err
		}
	}
	f.inside.open(&c.Aggregator.GenericConfig.Config)
	completed, err := c.Complete()
	if err != nil {
		return err
	}
	server, err := apiapp.CreateServerChain(completed)
	if err != nil {
		return err
	}
	if f.Install != nil {
		if err := f.Install(server.GenericAPIServer); err != nil {
			return err
		}
	}
	server.GenericAPIServer.ShutdownTimeout = lastCalls
	prepared, err := server.PrepareRun()
	if err != nil {
		return err
	}
	return prepared.Run(ctx)
}

// letCallers asks the pool first: who has a token, and what its callers may do.
func (f *files) letCallers(c *genericserver.Config) error {
	if f.Tokens != nil {
		c.Authentication.Authenticator = union.New(bearertoken.New(f.Tokens), c.Authentication.Authenticator)
	}
	if f.Authorize == nil {
		return nil
	}
	var err error
	c.Authorization.Authorizer, err = authorizerunion.New(
		authorizerunion.NamedAuthorizer{AuthorizerName: "polder", Authorizer: f.Authorize},
		authorizerunion.NamedAuthorizer{AuthorizerName: "kubernetes", Authorizer: c.Authorization.Authorizer},
	)
	if err != nil || f.Follow == nil {
		return err
	}
	build, rules := c.BuildHandlerChainFunc, c.Authorization.Authorizer
	c.BuildHandlerChainFunc = func(h http.Handler, c *genericserver.Config) http.Handler {
		return build(f.Follow(h, rules, c.LongRunningFunc), c)
	}
	return nil
}

// manager runs kube-controller-manager until ctx is done.
func manager(ctx context.Context, f *files) error {
	pki := filepath.Join(f.Dir, pkiDir)
	o, err := manageroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	known, off, aliases := managerapp.KnownControllers(), managerapp.ControllersDisabledByDefault(), managerapp.ControllerAliases()
	controllers := "*,-resourcequota-controller"
	if !f.Lifecycle {
		controllers += ",-node-lifecycle-controller"
	}
	err = parse("kube-controller-manager", o.Flags(known, off, aliases), []string{
		"--kubeconfig=" + filepath.Join(f.Dir, managerFile), "--secure-port=0", "--leader-elect=false", "--profiling=false",
		"--root-ca-file=" + f.ca.file, "--service-account-private-key-file=" + f.serviceAccounts,
		"--cluster-signing-cert-file=" + f.ca.file, "--cluster-signing-key-file=" + filepath.Join(pki, "ca.key"),
		"--controllers=" + controllers,
	})
	if err != nil {
		return err
	}
	c, err := o.Config(ctx, known, off, aliases)
	if err != nil {
		return err
	}
	if !f.Wire {
		f.inside.lead(c.Kubeconfig, managerUser, user.SystemPrivilegedGroup)
		if c.Client, err = kubernetes.NewForConfig(rest.AddUserAgent(c.Kubeconfig, manageroptions.KubeControllerManagerUserAgent)); err != nil {
			return err
		}
	}
	return managerapp.Run(ctx, c.Complete())
}
