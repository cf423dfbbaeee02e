package controlplane

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"
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
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	if !f.Wire {
		f.inside.lead(config, doorUser, user.SystemPrivilegedGroup)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	said := ""
	for {
		_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err == nil {
			if err = errors.Join(f.letJoin(ctx, client), f.letFind(ctx, client)); err == nil {
				return config, nil
			}
			if said != err.Error() && ctx.Err() == nil {
				said = err.Error()
				klog.ErrorS(err, "the API server is ready, but nodes cannot join and pods find nothing yet; trying again")
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(readyEvery):
		}
	}
}
