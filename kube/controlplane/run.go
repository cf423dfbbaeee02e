package controlplane

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	logsapi "k8s.io/component-base/logs/api/v1"
)

const readyEvery = 100 * time.Millisecond

// Run starts everything, calls ready with a client's configuration when the API server answers and kubelets may join, and ends
// with ctx or with the first component that fails. The scheduler starts when ready returns.
func Run(ctx context.Context, c Config, ready func(context.Context, *rest.Config) error) error {
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged // every component wants to set up the logs
	lock, err := lockDir(c.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	f, err := prepare(c)
	if err != nil {
		return err
	}
	etcd, at, err := startEtcd(ctx, f)
	if err != nil {
		return err
	}
	defer etcd.Close() // last: the API server uses it until it has ended
	outer := ctx
	all, ctx := errgroup.WithContext(outer)
	all.Go(func() error { return ended(ctx, "kube-apiserver", apiServer(ctx, f, at)) })
	all.Go(func() error {
		client, err := f.await(ctx)
		if err != nil {
			return err
		}
		if err := ready(ctx, client); err != nil {
			return err
		}
		all.Go(func() error { return ended(ctx, "kube-controller-manager", manager(ctx, f)) })
		all.Go(func() error { return ended(ctx, "kube-scheduler", scheduler(ctx, f)) })
		return nil
	})
	if err := all.Wait(); outer.Err() == nil {
		return err
	}
	return nil
}

// ended names a component that did not end because it was told to.
func ended(ctx context.Context, component string, err error) error {
	switch {
	case ctx.Err() != nil:
		return nil
	case err == nil:
		err = errors.New("it ended by itself")
	}
	return fmt.Errorf("%s: %w", component, err)
}

// await waits until the API server is ready, and lets kubelets join.
func (f *files) await(ctx context.Context) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(f.Dir, DoorFile))
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 200, 400
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	for {
		_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err == nil {
			err = f.letJoin(ctx, client)
		}
		if err == nil {
			return config, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(readyEvery):
		}
	}
}

// letJoin keeps the token with which kubelets ask for their certificate, and lets them be granted.
func (f *files) letJoin(ctx context.Context, client kubernetes.Interface) error {
	id, secret, _ := strings.Cut(f.bootstrap, ".")
	token := &v1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "bootstrap-token-" + id}, Type: v1.SecretTypeBootstrapToken,
		StringData: map[string]string{"token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true", "description": "agents of the pool"},
	}
	if _, err := client.CoreV1().Secrets(token.Namespace).Create(ctx, token, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	for _, b := range []struct{ name, role, group string }{
		{"polder:join", "system:node-bootstrapper", "system:bootstrappers"},
		{"polder:join-approved", "system:certificates.k8s.io:certificatesigningrequests:nodeclient", "system:bootstrappers"},
		{"polder:renew-approved", "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "system:nodes"},
	} {
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: b.name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: b.role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: b.group}},
		}
		if _, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}
