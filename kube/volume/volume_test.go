package volume

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"connectrpc.com/connect"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/kube/mirror"
)

// pool has volumes that are ready at once, unless it refuses.
type pool struct {
	polderv1connect.VolumeServiceClient
	volumes map[string]*polderv1.VolumeServiceCreateRequest
	refuses error
	state   string // of volumes; empty is ready
}

func (p *pool) Create(_ context.Context, r *connect.Request[polderv1.VolumeServiceCreateRequest]) (*connect.Response[polderv1.Volume], error) {
	if p.refuses != nil {
		return nil, p.refuses
	}
	p.volumes[r.Msg.Name] = r.Msg
	return connect.NewResponse(&polderv1.Volume{Name: r.Msg.Name}), nil
}

func (p *pool) Get(_ context.Context, r *connect.Request[polderv1.VolumeServiceGetRequest]) (*connect.Response[polderv1.Volume], error) {
	return connect.NewResponse(&polderv1.Volume{Name: r.Msg.Name, State: cmp.Or(p.state, "ready"), Path: "/data/" + r.Msg.Name}), nil
}

func (p *pool) Delete(_ context.Context, r *connect.Request[polderv1.VolumeServiceDeleteRequest]) (*connect.Response[polderv1.VolumeServiceDeleteResponse], error) {
	if p.volumes[r.Msg.Name] == nil {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no such volume"))
	}
	delete(p.volumes, r.Msg.Name)
	return connect.NewResponse(&polderv1.VolumeServiceDeleteResponse{}), nil
}

// RoleOf has a role for one namespace.
func (p *pool) RoleOf(namespace string) (string, error) {
	if namespace != "shop" {
		return "", errors.New("no role pays for namespace " + namespace)
	}
	return "online/shop", nil
}

// world is a claim that the scheduler has found a node for.
type world struct {
	Cluster
	t       *testing.T
	pool    *pool
	kube    *fake.Clientset
	claims  cache.Indexer
	volumes cache.Indexer
	events  *events.FakeRecorder
	claim   *v1.PersistentVolumeClaim
}

func newWorld(t *testing.T) *world {
	index := func(objects ...any) cache.Indexer {
		i := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
		for _, o := range objects {
			_ = i.Add(o)
		}
		return i
	}
	w := &world{t: t, pool: &pool{volumes: map[string]*polderv1.VolumeServiceCreateRequest{}}, events: events.NewFakeRecorder(100), volumes: index()}
	w.claim = &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data", UID: "u1", Annotations: map[string]string{selectedNode: "node_1"}},
		Spec: v1.PersistentVolumeClaimSpec{StorageClassName: new(Class), AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce},
			Resources: v1.VolumeResourceRequirements{Requests: v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}}},
		Status: v1.PersistentVolumeClaimStatus{Phase: v1.ClaimPending},
	}
	w.kube = fake.NewClientset(w.claim)
	if err := Register(t.Context(), w.kube); err != nil {
		t.Fatal(err)
	}
	class, err := w.kube.StorageV1().StorageClasses().Get(t.Context(), Class, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.claims = index(w.claim)
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node_1", Labels: map[string]string{mirror.PoolNodeLabel: "Node_1"}}}
	w.Cluster = Cluster{Pool: w.pool, Roles: w.pool, Client: w.kube, Events: w.events, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Claims: corelisters.NewPersistentVolumeClaimLister(w.claims), Volumes: corelisters.NewPersistentVolumeLister(w.volumes),
		Nodes: corelisters.NewNodeLister(index(node)), Classes: storagelisters.NewStorageClassLister(index(class))}
	return w
}

func (w *world) look() {
	w.t.Helper()
	if err := w.Cluster.look(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// made is the claim's volume in Kubernetes.
func (w *world) made() (*v1.PersistentVolume, error) {
	return w.kube.CoreV1().PersistentVolumes().Get(w.t.Context(), "pvc-u1", metav1.GetOptions{})
}

// TestClaimGetsAVolumeOnItsNode, and its end is the volume's.
func TestClaimGetsAVolumeOnItsNode(t *testing.T) {
	w := newWorld(t)
	w.look()
	w.look() // the lister does not know it yet
	v, err := w.made()
	if err != nil {
		t.Fatal(err)
	}
	asked := w.pool.volumes["pvc-u1"]
	if asked == nil || asked.Role != "online/shop" || asked.Size != "1073741824" || asked.Node != "Node_1" || asked.Labels[claimLabel] != "shop/data" {
		t.Errorf("the pool was asked for %v", asked)
	}
	where := v.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0]
	if v.Spec.Local == nil || v.Spec.Local.Path != "/data/pvc-u1" || where.Key != mirror.PoolNodeLabel || where.Values[0] != "Node_1" || v.Spec.ClaimRef.UID != "u1" || v.Spec.StorageClassName != Class {
		t.Errorf("%+v", v.Spec)
	}
	v.Status.Phase = v1.VolumeReleased
	_ = w.volumes.Add(v)
	_ = w.claims.Delete(w.claim)
	w.look()
	if _, err := w.made(); !apierrors.IsNotFound(err) || len(w.pool.volumes) > 0 {
		t.Errorf("after its claim is deleted: %v, %v", err, w.pool.volumes)
	}
}

// TestRetained: what is to be kept is kept.
func TestRetained(t *testing.T) {
	w := newWorld(t)
	w.look()
	v, err := w.made()
	if err != nil {
		t.Fatal(err)
	}
	v.Status.Phase, v.Spec.PersistentVolumeReclaimPolicy = v1.VolumeReleased, v1.PersistentVolumeReclaimRetain
	_ = w.volumes.Add(v)
	_ = w.claims.Delete(w.claim)
	w.look()
	if _, err := w.made(); err != nil || len(w.pool.volumes) != 1 {
		t.Errorf("%v, %v", err, w.pool.volumes)
	}
}

// TestRefusal: the claim has the reason, and the scheduler may choose another node.
func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(*world)
	}{
		{"by the pool", "the pool refuses: no disk left of the guarantee", func(w *world) {
			w.pool.refuses = connect.NewError(connect.CodeFailedPrecondition, errors.New("no disk left of the guarantee"))
		}},
		{"by the node", "is waiting", func(w *world) { w.pool.state = "waiting" }},
		{"no role", "no role pays", func(w *world) { w.claim.Namespace = "elsewhere" }},
		{"no node of the pool", "not found", func(w *world) { w.claim.Annotations[selectedNode] = "other" }},
		{"a block device", "volumeMode", func(w *world) { w.claim.Spec.VolumeMode = new(v1.PersistentVolumeBlock) }},
		{"many nodes", "ReadWriteOnce", func(w *world) { w.claim.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteMany} }},
	} {
		w := newWorld(t)
		c.change(w)
		w.look()
		if e := <-w.events.Events; !strings.Contains(e, "ProvisioningFailed") || !strings.Contains(e, c.want) {
			t.Errorf("%s: %s", c.name, e)
		}
		if _, err := w.made(); !apierrors.IsNotFound(err) || len(w.pool.volumes) > 0 {
			t.Errorf("%s: %v, %v", c.name, err, w.pool.volumes)
		}
		got, err := w.kube.CoreV1().PersistentVolumeClaims("shop").Get(t.Context(), "data", metav1.GetOptions{})
		if w.claim.Namespace == "shop" && (err != nil || got.Annotations[selectedNode] != "") {
			t.Errorf("%s: the claim still says %v, %v", c.name, got.Annotations, err)
		}
	}
}

// TestNotOurs: claims that wait for somebody else, or for a node.
func TestNotOurs(t *testing.T) {
	for name, change := range map[string]func(*v1.PersistentVolumeClaim){
		"another class": func(c *v1.PersistentVolumeClaim) { c.Spec.StorageClassName = new("fast") },
		"no class":      func(c *v1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil },
		"no node yet":   func(c *v1.PersistentVolumeClaim) { delete(c.Annotations, selectedNode) },
		"bound":         func(c *v1.PersistentVolumeClaim) { c.Spec.VolumeName, c.Status.Phase = "x", v1.ClaimBound },
	} {
		w := newWorld(t)
		change(w.claim)
		w.look()
		if len(w.pool.volumes)+len(w.events.Events) > 0 {
			t.Errorf("%s: %v", name, w.pool.volumes)
		}
	}
}
