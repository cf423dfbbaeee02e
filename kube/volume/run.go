package volume

import (
	"context"
	"log/slog"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"

	"polder.dev/polder/api/polder/v1/polderv1connect"
)

const (
	workers   = 4
	callLimit = 25 * time.Second       // for one object: the pool makes a directory meanwhile
	soonest   = 250 * time.Millisecond // between two tries
	latest    = time.Minute
)

// Roles says which role pays for what is in a namespace, or why none does.
type Roles interface {
	RoleOf(namespace string) (role string, why error)
}

// Cluster is what [Run] works with.
type Cluster struct {
	Pool      polderv1connect.VolumeServiceClient
	Roles     Roles
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Events    events.EventRecorder
	Logger    *slog.Logger
}

// object is what is brought up to date: a claim, a PersistentVolume, or the class.
type object struct{ kind, namespace, name string }

const (
	kindClaim  = "claim"
	kindVolume = "PersistentVolume"
	kindClass  = "StorageClass"
)

type keeper struct {
	Cluster
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	nodes   corelisters.NodeLister
	classes storagelisters.StorageClassLister
	queue   workqueue.TypedRateLimitingInterface[object]
}

func newKeeper(c Cluster) *keeper {
	core := c.Informers.Core().V1()
	return &keeper{
		Cluster: c, claims: core.PersistentVolumeClaims().Lister(), volumes: core.PersistentVolumes().Lister(), nodes: core.Nodes().Lister(),
		classes: c.Informers.Storage().V1().StorageClasses().Lister(),
		queue:   workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[object](soonest, latest)),
	}
}

// Run keeps the class, the claims and the volumes true until ctx is done.
func Run(ctx context.Context, c Cluster) {
	k := newKeeper(c)
	if err := k.follow(); err != nil {
		c.Logger.Error("claims of volumes are not served", "error", err)
		return
	}
	c.Informers.Start(ctx.Done())
	c.Informers.WaitForCacheSync(ctx.Done())
	k.queue.Add(object{kind: kindClass})
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for k.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	k.queue.ShutDown()
	all.Wait()
}

// follow has everything that changes looked at.
func (k *keeper) follow() error {
	for kind, informer := range map[string]cache.SharedIndexInformer{
		kindClaim:  k.Informers.Core().V1().PersistentVolumeClaims().Informer(),
		kindVolume: k.Informers.Core().V1().PersistentVolumes().Informer(),
		kindClass:  k.Informers.Storage().V1().StorageClasses().Informer(),
	} {
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { k.changed(kind, o) },
			UpdateFunc: func(_, o any) { k.changed(kind, o) },
			DeleteFunc: func(o any) { k.changed(kind, o) },
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// changed has an object looked at, and with a PersistentVolume, which may have grown, its claim.
func (k *keeper) changed(kind string, o any) {
	if kind == kindClass {
		k.queue.Add(object{kind: kindClass})
		return
	}
	name, err := cache.DeletionHandlingObjectToName(o)
	if err != nil {
		return // it has no name: nothing that a server sends
	}
	k.queue.Add(object{kind, name.Namespace, name.Name})
	if pv, ok := o.(*v1.PersistentVolume); ok && pv.Spec.ClaimRef != nil {
		k.queue.Add(object{kindClaim, pv.Spec.ClaimRef.Namespace, pv.Spec.ClaimRef.Name})
	}
}

// next takes one object of the queue; it reports whether there will be more.
func (k *keeper) next(ctx context.Context) bool {
	o, over := k.queue.Get()
	if over {
		return false
	}
	defer k.queue.Done(o)
	err := k.sync(ctx, o)
	if err == nil {
		k.queue.Forget(o)
		return true
	}
	if ctx.Err() == nil && !apierrors.IsConflict(err) && err != errDeleting {
		k.Logger.Warn("a volume could not be brought up to date; trying again", "kind", o.kind, "namespace", o.namespace, "name", o.name, "error", err)
	}
	k.queue.AddRateLimited(o)
	return true
}

// sync brings one object up to date. An error is a reason to try again.
func (k *keeper) sync(ctx context.Context, o object) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	switch o.kind {
	case kindClaim:
		return k.claim(ctx, o.namespace, o.name)
	case kindVolume:
		return k.volume(ctx, o.name)
	}
	return k.keepClass(ctx)
}

// classOf is the class of a claim, when it is ours; else nil.
func classOf(claim *v1.PersistentVolumeClaim, classes storagelisters.StorageClassLister) *storagev1.StorageClass {
	if claim.Spec.StorageClassName == nil {
		return nil
	}
	class, err := classes.Get(*claim.Spec.StorageClassName)
	if err != nil || class.Provisioner != Provisioner {
		return nil
	}
	return class
}

// warn tells the owner of an object what is wrong.
func (k *keeper) warn(o runtime.Object, reason, action, text string) {
	k.Events.Eventf(o, nil, v1.EventTypeWarning, reason, action, "%s", text)
}
