package volume

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"

	"polder.dev/polder/agent"
	agentruntime "polder.dev/polder/agent/runtime"
	agentfake "polder.dev/polder/agent/runtime/fake"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/api/polder/v1/polderv1connect"
	polder "polder.dev/polder/core/resource"
	"polder.dev/polder/kube/mirror"
	"polder.dev/polder/kube/pool"
	"polder.dev/polder/server/servertest"
)

const plan = "roles: {shop: {guarantee: {disk: 10Gi}}, other: {}}"

// roles are what the tests' namespaces belong to.
type roles map[string]string

func (r roles) RoleOf(namespace string) (string, error) {
	if role := r[namespace]; role != "" {
		return role, nil
	}
	return "", errors.New("no role pays for namespace " + namespace)
}

// world is a server with one node of 12Gi that a real agent speaks for, and a Kubernetes of objects only, in which the test is scheduler and binder.
type world struct {
	t      *testing.T
	client *pool.Client
	kube   *fake.Clientset
	events *events.FakeRecorder
	said   []string
	keeper *keeper

	cut int // calls that change something until one fails; negative is never
}

var errCut = errors.New("cut off")

// change counts calls that change something.
func (w *world) change() error {
	w.cut--
	if w.cut == 0 {
		return errCut
	}
	return nil
}

// cutPool is the pool, cut off when the world says so.
type cutPool struct {
	polderv1connect.VolumeServiceClient
	w *world
}

func (p cutPool) Create(ctx context.Context, r *connect.Request[polderv1.VolumeServiceCreateRequest]) (*connect.Response[polderv1.Volume], error) {
	if err := p.w.change(); err != nil {
		return nil, err
	}
	return p.VolumeServiceClient.Create(ctx, r)
}

func (p cutPool) Resize(ctx context.Context, r *connect.Request[polderv1.VolumeServiceResizeRequest]) (*connect.Response[polderv1.Volume], error) {
	if err := p.w.change(); err != nil {
		return nil, err
	}
	return p.VolumeServiceClient.Resize(ctx, r)
}

func (p cutPool) Delete(ctx context.Context, r *connect.Request[polderv1.VolumeServiceDeleteRequest]) (*connect.Response[polderv1.VolumeServiceDeleteResponse], error) {
	if err := p.w.change(); err != nil {
		return nil, err
	}
	return p.VolumeServiceClient.Delete(ctx, r)
}

func newWorld(t *testing.T) *world {
	server := servertest.Start(t, nil)
	w := &world{t: t, client: pool.NewClient(server.HTTP(t), "https://"+server.Addr, server.Admin), events: events.NewFakeRecorder(1000), cut: -1}
	if _, err := w.client.Plans.Apply(t.Context(), connect.NewRequest(&polderv1.ApplyRequest{Plan: plan, BaseRevision: 1})); err != nil {
		t.Fatal(err)
	}
	startAgent(t, w.client, server.Addr)
	w.await("the node", func() bool {
		res, err := w.client.Nodes.List(t.Context(), connect.NewRequest(&polderv1.NodeServiceListRequest{}))
		return err == nil && len(res.Msg.Nodes) == 1 && res.Msg.Nodes[0].State == pool.Ready
	})
	w.kube = fake.NewClientset(node("n1", map[string]string{mirror.PoolNodeLabel: "n1", v1.LabelHostname: "n1"}), node("stranger", nil))
	w.kube.PrependReactor("*", "*", func(a kubetesting.Action) (bool, runtime.Object, error) {
		if slices.Contains([]string{"get", "list", "watch"}, a.GetVerb()) {
			return false, nil, nil
		}
		err := w.change()
		return err != nil, nil, err
	})
	w.restart()
	w.run(object{kind: kindClass})
	return w
}

func node(name string, labels map[string]string) *v1.Node {
	return &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

// lessor is a runtime for pods without any machine.
type lessor struct{ *agentfake.Runtime }

// Name is that of the runtime it stands for.
func (lessor) Name() string { return pool.KubeRuntime }

// startAgent runs an agent of node n1 that ends with the test.
func startAgent(t *testing.T, client *pool.Client, server string) {
	res, err := client.Access.CreateToken(t.Context(), connect.NewRequest(&polderv1.CreateTokenRequest{Kind: "join", Name: "n1"}))
	if err != nil {
		t.Fatal(err)
	}
	a, err := agent.New(agent.Config{Node: "n1", Dir: t.TempDir(), Server: server, Token: res.Msg.Secret, Version: "test", Capacity: polder.Resources{"cpu": 1000, "memory": 1 << 30, "disk": 12 << 30}, Runtimes: []agentruntime.Runtime{lessor{agentfake.New(nil)}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the agent ended: %v", err)
		}
	})
}

// restart begins with a controller that remembers nothing.
func (w *world) restart() {
	w.keeper = newKeeper(Cluster{
		Pool: cutPool{w.client.Volumes, w}, Roles: roles{"shop": "shop", "other": "other"}, Client: w.kube, Informers: informers.NewSharedInformerFactory(w.kube, 0),
		Events: w.events, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
}

// look shows the controller everything that Kubernetes has.
func (w *world) look() {
	w.t.Helper()
	core, storage := w.keeper.Informers.Core().V1(), w.keeper.Informers.Storage().V1()
	var claims, volumes, nodes, classes []any
	list := func(err error) {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	c, err := w.kube.CoreV1().PersistentVolumeClaims("").List(w.t.Context(), metav1.ListOptions{})
	list(err)
	for i := range c.Items {
		claims = append(claims, &c.Items[i])
	}
	v, err := w.kube.CoreV1().PersistentVolumes().List(w.t.Context(), metav1.ListOptions{})
	list(err)
	for i := range v.Items {
		volumes = append(volumes, &v.Items[i])
	}
	n, err := w.kube.CoreV1().Nodes().List(w.t.Context(), metav1.ListOptions{})
	list(err)
	for i := range n.Items {
		nodes = append(nodes, &n.Items[i])
	}
	s, err := w.kube.StorageV1().StorageClasses().List(w.t.Context(), metav1.ListOptions{})
	list(err)
	for i := range s.Items {
		classes = append(classes, &s.Items[i])
	}
	for informer, all := range map[cache.SharedIndexInformer][]any{
		core.PersistentVolumeClaims().Informer(): claims, core.PersistentVolumes().Informer(): volumes, core.Nodes().Informer(): nodes, storage.StorageClasses().Informer(): classes,
	} {
		list(informer.GetIndexer().Replace(all, ""))
	}
}

// try brings one object up to date once.
func (w *world) try(o object) error {
	w.t.Helper()
	w.look()
	return w.keeper.sync(w.t.Context(), o)
}

// run brings one object up to date, however long the pool takes to delete.
func (w *world) run(o object) {
	w.t.Helper()
	var err error
	w.await("an end of "+o.kind+" "+o.name, func() bool {
		if err = w.try(o); err != nil && err != errDeleting {
			w.t.Fatal(err)
		}
		return err == nil
	})
}

// await waits for what comes by itself.
func (w *world) await(what string, is func() bool) {
	w.t.Helper()
	for until := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			w.t.Fatalf("%s did not come within a minute", what)
		}
	}
}

// newClaim makes a claim of the class, for which the scheduler has chosen n1.
func (w *world) newClaim(namespace, name, size string, change func(*v1.PersistentVolumeClaim)) *v1.PersistentVolumeClaim {
	w.t.Helper()
	c := &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + namespace + "-" + name), Annotations: map[string]string{selectedNode: "n1"}},
		Spec: v1.PersistentVolumeClaimSpec{
			StorageClassName: new(Class), AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce},
			Resources: v1.VolumeResourceRequirements{Requests: v1.ResourceList{v1.ResourceStorage: quantity.MustParse(size)}},
		},
	}
	if change != nil {
		change(c)
	}
	if err := w.kube.Tracker().Add(c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func claimed(c *v1.PersistentVolumeClaim) object { return object{kindClaim, c.Namespace, c.Name} }

// claim is a claim as Kubernetes has it; nil is none.
func (w *world) claim(c *v1.PersistentVolumeClaim) *v1.PersistentVolumeClaim {
	w.t.Helper()
	got, err := w.kube.CoreV1().PersistentVolumeClaims(c.Namespace).Get(w.t.Context(), c.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// persistent is the PersistentVolume of a claim; nil is none.
func (w *world) persistent(c *v1.PersistentVolumeClaim) *v1.PersistentVolume {
	w.t.Helper()
	got, err := w.kube.CoreV1().PersistentVolumes().Get(w.t.Context(), nameOf(c), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// set changes an object behind the controller's back.
func (w *world) set(resource string, o metav1.Object) {
	w.t.Helper()
	gv := v1.SchemeGroupVersion
	if resource == "storageclasses" {
		gv = storagev1.SchemeGroupVersion
	}
	if err := w.kube.Tracker().Update(gv.WithResource(resource), o.(runtime.Object), o.GetNamespace()); err != nil {
		w.t.Fatal(err)
	}
}

// bind does what the binder of Kubernetes does.
func (w *world) bind(c *v1.PersistentVolumeClaim) {
	w.t.Helper()
	claim, pv := w.claim(c), w.persistent(c)
	claim.Spec.VolumeName, claim.Status.Phase, claim.Status.Capacity = pv.Name, v1.ClaimBound, maps.Clone(pv.Spec.Capacity)
	pv.Status.Phase = v1.VolumeBound
	w.set("persistentvolumeclaims", claim)
	w.set("persistentvolumes", pv)
}

// release deletes a claim, as the binder shows it on its PersistentVolume.
func (w *world) release(c *v1.PersistentVolumeClaim) {
	w.t.Helper()
	pv := w.persistent(c)
	pv.Status.Phase = v1.VolumeReleased
	w.set("persistentvolumes", pv)
	if err := w.kube.Tracker().Delete(v1.SchemeGroupVersion.WithResource("persistentvolumeclaims"), c.Namespace, c.Name); err != nil {
		w.t.Fatal(err)
	}
}

// provided is a claim that is bound to its volume.
func (w *world) provided(name, size string, change func(*v1.PersistentVolumeClaim)) *v1.PersistentVolumeClaim {
	w.t.Helper()
	c := w.newClaim("shop", name, size, change)
	w.run(claimed(c))
	w.bind(c)
	w.run(claimed(c))
	return c
}

// inPool is a claim's volume in the pool; nil is none.
func (w *world) inPool(c *v1.PersistentVolumeClaim) *polderv1.Volume {
	w.t.Helper()
	res, err := w.client.Volumes.Get(w.t.Context(), connect.NewRequest(&polderv1.VolumeServiceGetRequest{Name: nameOf(c)}))
	if connect.CodeOf(err) == connect.CodeNotFound {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return res.Msg
}

// heard reports whether an event had these words.
func (w *world) heard(words ...string) bool {
	for {
		select {
		case e := <-w.events.Events:
			w.said = append(w.said, e)
			continue
		default:
		}
		break
	}
	return slices.ContainsFunc(w.said, func(e string) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(e, word) })
	})
}
